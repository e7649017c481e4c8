/** Latents of a video that a model makes while it is trained, or of the model as it was before. */
import { initialNoise } from "../../diffusion/noise.js";
import { sample } from "../../diffusion/sampler.js";
import { flowSchedule } from "../../diffusion/schedule.js";
import { ditVelocity } from "../../diffusion/velocity.js";
import type { HunyuanDit } from "../../models/dit/model.js";
import { latentFrames } from "../../models/vae/config.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { TextCondition } from "../../train/objective.js";
import type { LoadedModel } from "../loaded-model.js";

export interface SampledVideo {
  readonly width: number;
  readonly height: number;
  readonly numFrames: number;
  readonly steps: number;
  /** Scale for models that take it; true guidance for others. */
  readonly guidance: number;
  readonly shift: number;
  readonly seed: number;
}

export interface SampledBy {
  /** Whose autoencoder the latents are for. */
  readonly model: LoadedModel;
  readonly dit: HunyuanDit;
  /** Made in the scope that is open. */
  readonly conditions: (captions: readonly string[]) => TextCondition;
  readonly signal?: AbortSignal | undefined;
}

/** Clean latents for a caption, as the transformer takes them: [1, T, H, W, C], the caller's to dispose of. */
export async function sampleLatents(caption: string, video: SampledVideo, by: SampledBy): Promise<Tensor<"f32">> {
  const { model, dit, conditions, signal } = by;
  const { device, dtypes, vae } = model;
  const { width, height, numFrames, steps, guidance, shift, seed } = video;
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
    return await sample(
      start,
      {
        model: (input) => withoutRecording(() => velocity(input)),
        schedule: flowSchedule(steps, shift),
        ...{ prompt, negative, guidance: embedded ? guidance : undefined },
        trueCfgScale: embedded ? 1 : guidance,
      },
      { signal },
    );
  } finally {
    for (const tensor of all) tensor.dispose();
  }
}
