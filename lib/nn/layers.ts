/** The few layers that all models share: an op with its parameters found by name. */
import { type Conv3dOptions, conv3d } from "../ops/conv3d.js";
import type { LinearOptions } from "../ops/linear.js";
import { groupNorm, layerNorm } from "../ops/norm.js";
import type { FloatDType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { adaptedLinear } from "./adapter.js";
import type { Params } from "./params.js";

/**
 * x Wᵀ + b with `weight` [N, K], `bias` [N] where there is one, and `weight_scale` where the weight is f8e4m3; and with the
 * layer's adapter while one is trained.
 */
export function dense<D extends FloatDType>(p: Params, x: Tensor<D>, options: LinearOptions<D> = {}): Tensor<D> {
  const layer = { bias: p.find("bias"), weightScale: p.find<"f32">("weight_scale"), ...options };
  return adaptedLinear(x, p.get("weight"), layer, p.adapter);
}

/** LayerNorm over the last axis, with `weight` and `bias` where there are such. */
export function affineLayerNorm<D extends FloatDType>(p: Params, x: Tensor<D>, eps: number): Tensor<D> {
  return layerNorm(x, { weight: p.find("weight"), bias: p.find("bias"), eps });
}

/** GroupNorm over all positions, followed by SiLU when asked. */
export function affineGroupNorm<D extends FloatDType>(
  p: Params,
  x: Tensor<D>,
  options: { readonly groups: number; readonly eps: number; readonly silu?: boolean },
): Tensor<D> {
  return groupNorm(x, { weight: p.get("weight"), bias: p.get("bias"), ...options });
}

/** Convolution with `weight` [O, t, h, w, I] and `bias`. */
export function convolution<D extends FloatDType>(p: Params, x: Tensor<D>, options: Conv3dOptions = {}): Tensor<D> {
  return conv3d(x, p.get("weight"), { bias: p.find("bias"), ...options });
}
