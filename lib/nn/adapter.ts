/**
 * Low-rank adapters beside linear layers: y = act(x Wᵀ + b + scale · (x Aᵀ) Bᵀ), where only A and B learn.
 *
 * n rows, K inputs and N outputs of the layer, r rank.
 *
 * @see Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685)
 */
import { cast, copyInto } from "../ops/copy.js";
import { activated, type LinearOptions, linear } from "../ops/linear.js";
import { gateResidual } from "../ops/norm.js";
import { add, mul } from "../ops/pointwise.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";

export interface Adapter {
  /** A, [r, K] */
  readonly down: Tensor<FloatDType>;
  /** B, [N, r] */
  readonly up: Tensor<FloatDType>;
  /** alpha / r */
  readonly scale: number;
}

/**
 * A linear layer with its adapter, if it has one, and the epilogue over both. The adapter may be of another float type
 * than the layer: it is converted on the way, so that f32 adapters learn beside bf16 or f8e4m3 weights.
 *
 * @throws what `linear` throws
 */
export function adaptedLinear<D extends FloatDType>(
  x: Tensor<D>,
  weight: Tensor,
  options: LinearOptions<D>,
  adapter: Adapter | undefined,
): Tensor<D> {
  if (adapter === undefined) return linear(x, weight, options);
  const { bias, weightScale, activation = "none", residual, gate, into } = options;
  return scope(() => {
    const low = mul(linear(x, cast(adapter.down, x.dtype)), adapter.scale);
    const plain = linear(x, weight, { bias, weightScale });
    const y = activated(linear(low, cast(adapter.up, x.dtype), { residual: plain }), activation);
    const out = residual === undefined ? y : gate === undefined ? add(residual, y) : gateResidual(residual, y, gate);
    if (into === undefined) return out;
    if (out.requiresGrad) {
      const message = "adaptedLinear: `into` is given while gradients are recorded; they would be lost";
      throw new HunyuanError("GRADIENT_UNAVAILABLE", message, { op: "adaptedLinear" });
    }
    copyInto(out, into);
    return into;
  });
}
