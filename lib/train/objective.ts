/**
 * The training objective of flow matching: latents on the way to noise in, the direction of the way out.
 *
 * B samples, T H W frames, rows and columns of latents, C channels, L text tokens.
 */
import { flowLoss, noisedEach, timestepScale, velocityTarget } from "../models/dit/flow-matching.js";
import type { HunyuanDit } from "../models/dit/model.js";
import { concat } from "../ops/concat.js";
import { cast } from "../ops/copy.js";
import { pad } from "../ops/layout.js";
import { slice } from "../ops/views.js";
import type { FloatDType } from "../tensor/dtype.js";
import { tensor } from "../tensor/host.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";

/** Text as the transformer takes it. */
export interface TextCondition {
  /** [B, L, textDim], padding last. */
  readonly text: Tensor<FloatDType>;
  /** How many of the L are text, for each sample. */
  readonly textLengths: readonly number[];
  /** [B, pooledDim] */
  readonly pooled: Tensor<FloatDType>;
}

export interface FlowSample extends TextCondition {
  /** Clean, scaled as the model takes them: [B, T, H, W, C]. */
  readonly latents: Tensor<"f32">;
  /** Of the latents' shape. */
  readonly noise: Tensor<"f32">;
  /** A level in [0, 1] for each sample. */
  readonly sigmas: Float32Array<ArrayBuffer>;
  /** The guidance scale for each sample; for models that take it. */
  readonly guidance?: readonly number[] | undefined;
  /** What the transformer computes in. */
  readonly dtype: FloatDType;
  /** Recomputes each block in the backward pass instead of keeping what it needs. */
  readonly checkpoint?: boolean | undefined;
}

/**
 * What the model predicts of the sample at its noise levels, [B, T, H, W, C], recorded on the tape.
 *
 * @example const velocity = noGrad(() => predictVelocity(dit, sample));
 */
export function predictVelocity(dit: HunyuanDit, sample: FlowSample): Tensor<"f32"> {
  const { latents, noise, sigmas, guidance, dtype, checkpoint = false, text, textLengths, pooled } = sample;
  const { device } = latents;
  return scope(() => {
    const levels = tensor(sigmas, { device });
    const noisy = noisedEach(latents, noise, levels);
    const predicted = dit.forward(
      {
        latents: cast(noisy, dtype),
        timestep: tensor(
          sigmas.map((sigma) => sigma * timestepScale),
          { device },
        ),
        text,
        textLengths,
        pooled,
        guidance:
          guidance &&
          tensor(
            Float32Array.from(guidance, (scale) => scale * 1000),
            { device },
          ),
      },
      { checkpoint },
    );
    return cast(predicted, "f32");
  });
}

/**
 * The mean squared error of the predicted velocity, for each sample: [B], recorded on the tape.
 *
 * @example backward(mean(velocityLosses(dit, sample)));
 */
export function velocityLosses(dit: HunyuanDit, sample: FlowSample): Tensor<"f32"> {
  return scope(() => flowLoss(predictVelocity(dit, sample), velocityTarget(sample.latents, sample.noise)));
}

/**
 * Text with some samples' captions replaced by the empty one, so that the model also learns what video looks like without
 * text: what true guidance, and distillation from it, need.
 *
 * @param empty of one sample
 * @param dropped whether each sample loses its caption
 */
export function withoutCaptions(
  given: TextCondition,
  empty: TextCondition,
  dropped: readonly boolean[],
): TextCondition {
  if (!dropped.includes(true)) return given;
  const longest = Math.max(given.text.shape[1] ?? 0, empty.text.shape[1] ?? 0);
  const { dtype } = given.text;
  return scope(() => {
    const [padded, emptyPadded] = [given.text, cast(empty.text, dtype)].map((text) => padTo(text, longest)) as [
      Tensor<FloatDType>,
      Tensor<FloatDType>,
    ];
    const emptyPooled = cast(empty.pooled, given.pooled.dtype);
    const rows = (drops: boolean, i: number): Tensor<FloatDType> => (drops ? emptyPadded : slice(padded, 0, i, i + 1));
    return {
      text: concat(dropped.map(rows), 0),
      textLengths: given.textLengths.map((length, i) => (dropped[i] ? (empty.textLengths[0] ?? 0) : length)),
      pooled: concat(
        dropped.map((drops, i) => (drops ? emptyPooled : slice(given.pooled, 0, i, i + 1))),
        0,
      ),
    };
  });
}

function padTo(text: Tensor<FloatDType>, length: number): Tensor<FloatDType> {
  const missing = length - (text.shape[1] ?? 0);
  if (missing === 0) return text;
  return pad(text, [
    [0, 0],
    [0, missing],
    [0, 0],
  ]);
}
