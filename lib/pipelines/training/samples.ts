/** Videos of a model that is being trained, as strips for the report. */

import { initialNoise } from "../../diffusion/noise.js";
import { sample } from "../../diffusion/sampler.js";
import { flowSchedule } from "../../diffusion/schedule.js";
import { ditVelocity } from "../../diffusion/velocity.js";
import { encodeImage } from "../../io/media/picture.js";
import type { HunyuanDit } from "../../models/dit/model.js";
import { latentFrames } from "../../models/vae/config.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import { stripOf } from "../../train/eval/sheet.js";
import type { TextCondition } from "../../train/objective.js";
import type { SampleStrip } from "../../train/task.js";
import { decodeToBytes } from "../decode.js";
import type { LoadedModel } from "../loaded-model.js";
import type { SamplesConfig } from "./config.js";

export interface SampleOptions {
  readonly model: LoadedModel;
  /** The one that is trained. */
  readonly dit: HunyuanDit;
  readonly config: SamplesConfig;
  readonly seed: number;
  /** Made in the scope that is open. */
  readonly conditions: (captions: readonly string[]) => TextCondition;
}

/** A strip for each prompt; the same noise each time, so that strips of one run show what has changed. */
export async function sampleStrips(options: SampleOptions): Promise<readonly SampleStrip[]> {
  const strips: SampleStrip[] = [];
  for (const [i, prompt] of options.config.prompts.entries()) strips.push(await stripFor(prompt, i, options));
  return strips;
}

async function stripFor(caption: string, index: number, options: SampleOptions): Promise<SampleStrip> {
  const { model, config, seed } = options;
  const { width, height, numFrames } = config;
  const latents = await latentsFor(caption, seed + index, options);
  try {
    const data = await decodeToBytes(model.vae, latents, {
      ...{ dtype: model.dtypes.vae, tiling: "auto", signal: undefined, onTile: () => {} },
    });
    const picture = stripOf({ data, width, height, numFrames }, { frames: 5 });
    return { caption, type: "image/png", bytes: await encodeImage(picture, { format: "png", metadata: false }) };
  } finally {
    latents.dispose();
  }
}

async function latentsFor(caption: string, seed: number, { model, dit, config, conditions }: SampleOptions) {
  const { device, vae, dtypes } = model;
  const { width, height, numFrames, steps = 20, guidance = 1, shift = 7 } = config;
  const side = vae.config.spatialRatio;
  const shape = [latentFrames(vae.config, numFrames), height / side, width / side, dit.config.outChannels] as const;
  const embedded = dit.config.guidanceEmbed;
  const given = withoutRecording(() =>
    scope(() => ({
      start: initialNoise({ device, seeds: [seed], shape }),
      prompt: conditions([caption]),
      negative: !embedded && guidance > 1 ? conditions([""]) : undefined,
      rope: dit.ropeTables([1, ...shape], device),
    })),
  );
  const { start, prompt, negative, rope } = given;
  const all = [start, prompt, negative, rope].flatMap((one) =>
    one === undefined ? [] : "dispose" in one ? [one] : "cos" in one ? [one.cos, one.sin] : [one.text, one.pooled],
  );
  for (const tensor of all) tensor.moveTo(undefined);
  try {
    const velocity = ditVelocity(dit, dtypes.dit, rope);
    return await sample(start, {
      model: (input) => withoutRecording(() => velocity(input)),
      schedule: flowSchedule(steps, shift),
      ...{ prompt, negative, guidance: embedded ? guidance : undefined },
      trueCfgScale: embedded ? 1 : guidance,
    });
  } finally {
    for (const tensor of all) tensor.dispose();
  }
}
