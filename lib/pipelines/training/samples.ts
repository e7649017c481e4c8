/** Videos of a model that is being trained, as strips for the report. */
import { encodeImage } from "../../io/media/picture.js";
import { stripOf } from "../../train/eval/sheet.js";
import type { SampleStrip } from "../../train/task.js";
import { decodeToBytes } from "../decode.js";
import type { SamplesConfig } from "./config.js";
import { type SampledBy, sampleLatents } from "./sampled-latents.js";

export interface SampleOptions extends SampledBy {
  readonly config: SamplesConfig;
  readonly seed: number;
}

/** A strip for each prompt; the same noise each time, so that strips of one run show what has changed. */
export async function sampleStrips(options: SampleOptions): Promise<readonly SampleStrip[]> {
  const strips: SampleStrip[] = [];
  for (const [i, prompt] of options.config.prompts.entries()) strips.push(await stripFor(prompt, i, options));
  return strips;
}

async function stripFor(caption: string, index: number, options: SampleOptions): Promise<SampleStrip> {
  const { model, config } = options;
  const { width, height, numFrames, steps = 20, guidance = 1, shift = 7 } = config;
  const video = { width, height, numFrames, steps, guidance, shift, seed: options.seed + index };
  const latents = await sampleLatents(caption, video, options);
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
