/** How close reconstructions are to their clips, in decibels. */

import { noGrad } from "../../autograd/backward.js";
import { CausalVae, type VaeWaitOptions } from "../../models/vae/model.js";
import { cast } from "../../ops/copy.js";
import { sub } from "../../ops/pointwise.js";
import { mean } from "../../ops/reduce.js";
import { clamp, square } from "../../ops/unary.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { frozenParams } from "./frozen.js";

/** Values span −1 … 1. */
const peak = 2;
/** What 8-bit pixels can show; a perfect reconstruction would be infinite and swallow every mean. */
const most = 100;

/**
 * Peak signal-to-noise ratio of each sample of a batch, 10 log₁₀(2² / mean squared difference), 100 dB at most.
 *
 * @param reconstruction, clip [B, …] with values in −1 … 1; the reconstruction is clamped to that
 * @returns decibels, one for each sample
 */
export async function psnrOf(reconstruction: Tensor<FloatDType>, clip: Tensor<FloatDType>): Promise<readonly number[]> {
  const errors = noGrad(() =>
    scope(() => {
      const shown = clamp(cast(reconstruction, "f32"), { min: -1, max: 1 });
      const axes = Array.from({ length: clip.rank - 1 }, (_, i) => i + 1);
      return mean(square(sub(shown, cast(clip, "f32"))), { axes });
    }),
  );
  try {
    return Array.from(await errors.read(), (error) => Math.min(most, 10 * Math.log10(peak ** 2 / error)));
  } finally {
    errors.dispose();
  }
}

export interface PsnrReport {
  readonly mean: number;
  readonly median: number;
  readonly worst: number;
  /** In the order of the clips. */
  readonly clips: readonly number[];
}

/**
 * PSNR of clips through the autoencoder and back, by the mode of their latents.
 *
 * @param clips batches [B, T, H, W, 3]; each is disposed of when it has been measured
 * @example const { mean } = await reconstructionPsnr(vae, heldOutBatches());
 */
export async function reconstructionPsnr(
  vae: CausalVae,
  clips: Iterable<Tensor<FloatDType>> | AsyncIterable<Tensor<FloatDType>>,
  options: VaeWaitOptions = {},
): Promise<PsnrReport> {
  using still = new CausalVae(vae.config, frozenParams(vae.params));
  const all: number[] = [];
  for await (const clip of clips) {
    try {
      const { mean: latents, logvar } = await still.encodeTiled(clip, options);
      logvar.dispose();
      const again = await still.decodeTiled(latents, options).finally(() => latents.dispose());
      all.push(...(await psnrOf(again, clip).finally(() => again.dispose())));
    } finally {
      clip.dispose();
    }
  }
  return summary(all);
}

function summary(clips: readonly number[]): PsnrReport {
  const sorted = [...clips].sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor(part)] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    mean: clips.reduce((sum, value) => sum + value, 0) / clips.length,
    median: (at(middle) + at(middle + 0.5)) / 2,
    worst: at(0),
    clips,
  };
}
