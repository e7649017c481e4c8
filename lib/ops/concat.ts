/** Concatenation: parts side by side along one axis, zeros where there is none. */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkTensorList } from "../tensor/check.js";
import { type DType, dtypeNames, isFloat } from "../tensor/dtype.js";
import { sliceGeometry } from "../tensor/geometry.js";
import { checkAxis, type Shape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, list } from "./define.js";

const concatOp = defineOp({
  name: "concat",
  doc: "parts placed along an axis of `size` elements, each from its start on; zeros between them",
  inputs: { parts: list({ dtypes: dtypeNames, layout: "rows" }) },
  attrs: { axis: "i64", size: "i64", starts: "i64[]" },
  outputs: ["y"],
  shape({ parts }, { axis, size }) {
    const [first, ...others] = parts;
    if (first === undefined) {
      throw new HunyuanError("INVALID_ARGUMENT", "concat: no tensors given", { op: "concat", argument: "parts" });
    }
    for (const part of others) checkPart(part, first, axis);
    return { y: { dtype: first.dtype, shape: withAxis(first.shape, axis, size) } };
  },
  vjp({ grads, attrs, specLists }) {
    const dy = grads.y;
    if (dy === undefined || !isFloat(dy.dtype)) return {};
    const { axis, starts } = attrs;
    return {
      parts: specLists.parts.map(({ shape }, i) =>
        dy.viewAs(sliceGeometry(dy, axis, starts[i] as number, shape[axis] as number)),
      ),
    };
  },
  cost: ({ parts }) => ({ bytes: 2 * parts.reduce((sum, part) => sum + part.bytes, 0), flops: 0 }),
});

const withAxis = (shape: Shape, axis: number, size: number): Shape => shape.map((n, i) => (i === axis ? size : n));

function checkPart(part: Tensor, first: Tensor, axis: number): void {
  if (part.dtype !== first.dtype) {
    throw new HunyuanError(
      "DTYPE_UNSUPPORTED",
      `concat: a part is ${part.dtype}, the first is ${first.dtype}; cast() one of them`,
      {
        op: "concat",
        argument: "parts",
        dtype: part.dtype,
      },
    );
  }
  if (part.rank === first.rank && part.shape.every((n, i) => i === axis || n === first.shape[i])) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `concat: a part is ${showShape(part.shape)}, expected the shape of the first, ${showShape(first.shape)}, but for axis ${axis}`,
    { op: "concat", argument: "parts", shapes: [first.shape, part.shape] },
  );
}

/**
 * Places parts along an axis of `size` elements, each from its start on, and zeros elsewhere: the gradient of slices.
 * Parts must not overlap.
 *
 * @internal
 */
export function placeParts<D extends DType>(
  parts: readonly Tensor<D>[],
  { axis, size, starts }: { readonly axis: number; readonly size: number; readonly starts: readonly number[] },
): Tensor<D> {
  return runOp<{ y: D }>(concatOp, { parts }, { axis, size, starts }).y;
}

/**
 * Tensors joined along an axis (default 0); negative axes count from the end. The parts may be strided views.
 *
 * @param parts at least one; same type, same shape but for the axis
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT for no parts or an axis outside the shape
 * @example concat([img, txt], 1) // [B, S1, C] and [B, S2, C] give [B, S1 + S2, C]
 */
export function concat<D extends DType>(parts: readonly Tensor<D>[], axis = 0): Tensor<D> {
  checkTensorList("concat", "parts", parts);
  const along = checkAxis("concat", axis, parts[0]?.rank ?? 1);
  let size = 0;
  const starts = parts.map((part) => {
    const start = size;
    size += part.shape[along] ?? 0;
    return start;
  });
  return placeParts(parts, { axis: along, size, starts });
}
