/**
 * What a reconstruction is judged by. Letters: B batch, T frames, H height, W width, C channels; clips are
 * [B, T, H, W, C] with values in −1 … 1. Each loss is one number.
 */
import { noGrad } from "../../autograd/backward.js";
import { pad } from "../../ops/layout.js";
import { l1 } from "../../ops/loss.js";
import { add, maximum, mul, sub } from "../../ops/pointwise.js";
import { max, mean } from "../../ops/reduce.js";
import { abs, neg, relu } from "../../ops/unary.js";
import { slice } from "../../ops/views.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";

/** The types in which losses are computed. */
export type LossDType = "f32" | "f64";

/** Height and width of [B, T, H, W, C]. */
const spatialAxes = [2, 3] as const;

/**
 * How much of an edge each pixel is part of, 0 … 1: the largest step to one of its four neighbours, in the colour that
 * steps most. Both sides of an edge count.
 *
 * @param clip [B, T, H, W, C], values in −1 … 1
 * @returns [B, T, H, W, 1], without a gradient
 */
export function edgesOf<D extends LossDType>(clip: Tensor<D>): Tensor<D> {
  return noGrad(() =>
    scope(() => {
      // Twice 1 is the largest step there is, black to white.
      let most = mul(max(abs(clip), { axes: -1, keepDims: true }), 0) as Tensor<D>;
      for (const axis of spatialAxes) {
        const size = clip.shape[axis] as number;
        if (size < 2) continue;
        const steps = abs(sub(slice(clip, axis, 1), slice(clip, axis, 0, size - 1)));
        const largest = mul(max(steps, { axes: -1, keepDims: true }) as Tensor<D>, 0.5);
        const beside = (before: number, after: number) =>
          pad(
            largest,
            clip.shape.map((_, i) => (i === axis ? [before, after] : [0, 0]) as [number, number]),
          );
        most = maximum(most, maximum(beside(1, 0), beside(0, 1)));
      }
      return most;
    }),
  );
}

/**
 * Mean absolute difference in which a pixel counts 1 + `edge` times its part in an edge of the target: small shapes on
 * plain backgrounds are mostly background, and what makes a shape is its outline.
 *
 * @param edge 0 gives the plain mean
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 */
export function edgeWeightedL1<D extends LossDType>(prediction: Tensor<D>, target: Tensor<D>, edge: number): Tensor<D> {
  // The plain loss checks the shapes; one pass is cheap beside the model.
  if (edge === 0) return l1(prediction, target) as Tensor<D>;
  return scope(() => {
    const weight = add(mul(edgesOf(target), edge), 1);
    return mean(mul(abs(sub(prediction, target)), weight));
  });
}

/**
 * What the discriminator minimises: (mean max(0, 1 − real) + mean max(0, 1 + fake)) / 2.
 *
 * @param real, fake its answers to clips of the data and of the autoencoder, any shape
 * @see Lim and Ye, "Geometric GAN" (arXiv 1705.02894), §3
 */
export function hingeLoss<D extends LossDType>(real: Tensor<D>, fake: Tensor<D>): Tensor<D> {
  return scope(() => mul(add(mean(relu(sub(1, real))), mean(relu(add(fake, 1)))), 0.5));
}

/** What the autoencoder minimises against it: −mean fake. */
export function adversarialLoss<D extends LossDType>(fake: Tensor<D>): Tensor<D> {
  return scope(() => neg(mean(fake)));
}
