/** What the encoder answers: a normal distribution over latents. */
import { cast } from "../../ops/copy.js";
import { add, mul, sub } from "../../ops/pointwise.js";
import { randn } from "../../ops/random.js";
import { sum } from "../../ops/reduce.js";
import { clamp, exp, square } from "../../ops/unary.js";
import { split } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";

/** The logarithm of the variance is kept in this range. */
const logvarRange = { min: -30, max: 20 } as const;

/** A normal distribution for each latent, [B, T, H, W, C]. Its mean is its mode. */
export interface Posterior<D extends FloatDType = FloatDType> {
  readonly mean: Tensor<D>;
  /** Natural logarithm of the variance, in −30 … 20. */
  readonly logvar: Tensor<D>;
}

/** @internal Takes apart what `quant_conv` gives: [B, T, H, W, 2 C]. */
export function posteriorOf<D extends FloatDType>(moments: Tensor<D>): Posterior<D> {
  return scope(() => {
    const [mean, logvar] = split(moments, 2) as [Tensor<D>, Tensor<D>];
    return { mean, logvar: clamp(logvar, logvarRange) };
  });
}

/**
 * A draw: mean + exp(logvar / 2) · noise.
 *
 * @param from the noise, [B, T, H, W, C] in the posterior's type, or a seed for it (Philox, in that order of axes)
 * @example samplePosterior(vae.encode(video), { seed: 7 })
 */
export function samplePosterior<D extends FloatDType>(
  { mean, logvar }: Posterior<D>,
  from: { readonly seed: number } | { readonly noise: Tensor<D> },
): Tensor<D> {
  return scope(() => {
    const { device, dtype, shape } = mean;
    const noise = "noise" in from ? from.noise : randn(shape, { seed: from.seed, dtype, device });
    return add(mean, mul(exp(mul(logvar, 0.5)), noise));
  });
}

/**
 * Distance of each sample's posterior from the standard normal, Σ (mean² + variance − 1 − logvar) / 2 over all but the
 * batch: [B], f32 (f64 for f64).
 */
export function klDivergence<D extends FloatDType>({ mean, logvar }: Posterior<D>): Tensor<"f32" | "f64"> {
  return scope(() => {
    const as = mean.dtype === "f64" ? "f64" : "f32";
    const [m, l] = [cast(mean, as), cast(logvar, as)];
    const terms = sub(add(square(m), exp(l)), add(l, 1));
    return mul(sum(terms, { axes: [1, 2, 3, 4] }), 0.5);
  });
}
