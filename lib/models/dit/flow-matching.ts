/**
 * Flow matching: noisy latents lie on the straight line from data (σ = 0) to noise (σ = 1), and the model is taught the
 * line's direction, noise − data. B samples of any further axes.
 */
import { add, mul, sub } from "../../ops/pointwise.js";
import { mean } from "../../ops/reduce.js";
import { square } from "../../ops/unary.js";
import { reshape } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";

/** The timesteps that the model is told run from 0 to this: 1000 σ. */
export const timestepScale = 1000;

const f32 = Math.fround;

/**
 * Moves a noise level towards noise: shift · σ / (1 + (shift − 1) · σ), in f32. 1 leaves it as it is; the fewer steps,
 * the larger the shift should be (7 at 50 steps, 17 below 20).
 */
export function shiftSigma(sigma: number, shift: number): number {
  return f32(f32(f32(shift) * sigma) / f32(1 + f32(f32(shift - 1) * sigma)));
}

/** (1 − σ) · data + σ · noise, with one σ for all. */
export function noised<D extends FloatDType>(data: Tensor<D>, noise: Tensor<D>, sigma: number): Tensor<D> {
  return scope(() => add(mul(data, f32(1 - f32(sigma))), mul(noise, sigma)));
}

/**
 * The same with a σ for each sample.
 *
 * @param sigmas [B]
 */
export function noisedEach<D extends FloatDType>(data: Tensor<D>, noise: Tensor<D>, sigmas: Tensor<D>): Tensor<D> {
  return scope(() => {
    const each = reshape(sigmas, [sigmas.size, ...data.shape.slice(1).map(() => 1)]);
    return add(mul(data, sub(1, each)), mul(noise, each));
  });
}

/** What the model is to predict: noise − data. */
export function velocityTarget<D extends FloatDType>(data: Tensor<D>, noise: Tensor<D>): Tensor<D> {
  return sub(noise, data);
}

/** Mean squared error of each sample: [B]. */
export function flowLoss<D extends FloatDType>(predicted: Tensor<D>, target: Tensor<D>): Tensor<D> {
  return scope(() => mean(square(sub(predicted, target)), { axes: predicted.shape.map((_, i) => i).slice(1) }));
}

/** The noise level to train at for a draw u ~ N(0, 1): sigmoid(u), shifted as in sampling, in f32. */
export function logitNormalSigma(u: number, shift: number): number {
  return shiftSigma(f32(1 / (1 + f32(Math.exp(-u)))), shift);
}
