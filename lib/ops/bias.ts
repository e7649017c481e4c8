/** The gradient of a bias that was added to every row: shared by linear and conv3d. */
import { runOp } from "../tensor/apply.js";
import { type DType, sumDType } from "../tensor/dtype.js";
import { sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, one } from "./define.js";

const biasBackwardOp = defineOp({
  name: "bias_backward",
  doc: "gradient of a bias over the last axis: dy summed over all rows in a fixed order, f32 (f64 for f64)",
  inputs: { dy: one({ layout: "rows" }) },
  attrs: {},
  outputs: ["dbias"],
  shape: ({ dy }) => ({ dbias: { dtype: sumDType(dy), shape: dy.shape.slice(-1) } }),
  cost: ({ dy }) => ({ bytes: dy.bytes, flops: sizeOf(dy.shape) }),
});

/**
 * Σ over rows of dy [..., C]: [C], f32 (f64 for f64).
 * @internal
 */
export function biasGradient(dy: Tensor): Tensor {
  return runOp<{ dbias: DType }>(biasBackwardOp, { dy }, {}).dbias;
}
