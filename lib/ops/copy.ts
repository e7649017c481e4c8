/** The copy that everything else falls back on: any strides in, another type if wanted, dense out. */
import { runOp } from "../tensor/apply.js";
import { checkDTypeName, checkTensor } from "../tensor/check.js";
import { bytesOf, type DType, dtypeNames, isFloat } from "../tensor/dtype.js";
import type { KernelView } from "../tensor/op.js";
import { recordView } from "../tensor/record-view.js";
import { denseStrides, type Shape, sizeOf } from "../tensor/shape.js";
import { withoutRecording } from "../tensor/tape.js";
import { Tensor } from "../tensor/tensor.js";
import { defineOp, one } from "./define.js";

/** No gradient rule of its own: it depends on the view that was walked, which the callers know and record. */
const copyOp = defineOp({
  name: "copy",
  doc: "dense copy of x as it is walked (any strides, repeated or permuted axes), converted to `dtype`",
  inputs: { x: one({ dtypes: dtypeNames, layout: "rows" }) },
  attrs: { dtype: dtypeNames, shape: "i64[]" },
  outputs: ["y"],
  shape: (_, { dtype, shape }) => ({ y: { dtype, shape } }),
  cost: ({ x }, { dtype, shape }) => ({
    bytes: bytesOf(x.dtype, sizeOf(shape)) + bytesOf(dtype, sizeOf(shape)),
    flops: 0,
  }),
});

/**
 * A dense copy of x walked by `view` (strides may be 0 or in any order), as `dtype`. Records no gradient.
 *
 * @internal
 */
export function copyView<D extends DType>(x: Tensor, view: KernelView, dtype: D): Tensor<D> {
  return withoutRecording(() => runOp<{ y: D }>(copyOp, { x }, { dtype, shape: view.shape }, { views: { x: view } }).y);
}

/**
 * Copies the elements of x into a tensor of the same shape: a part of a larger one, say. Records no gradient.
 *
 * @internal
 */
export function copyInto<D extends DType>(x: Tensor<D>, into: Tensor<D>): void {
  const { dtype, shape } = into;
  withoutRecording(() => runOp<{ y: D }>(copyOp, { x }, { dtype, shape }, { views: { x }, into: { y: into } }));
}

/**
 * The elements of x, walked by `view`, into a dense tensor of the view's shape, in that tensor's type.
 *
 * @internal
 */
export function copyViewInto(x: Tensor, view: KernelView, into: Tensor): void {
  const attrs = { dtype: into.dtype, shape: view.shape };
  withoutRecording(() => runOp<{ y: DType }>(copyOp, { x }, attrs, { views: { x: view }, into: { y: into } }));
}

/**
 * The same under another shape of as many elements.
 *
 * @internal
 */
export function copyAs<D extends DType>(x: Tensor<D>, view: KernelView, shape: Shape): Tensor<D> {
  const copy = copyView(x, view, x.dtype);
  const y = copy.viewAs({ shape, strides: denseStrides(shape), offset: 0 });
  copy.dispose(); // outside of scopes nobody else would
  return y;
}

/**
 * The elements of x, as if x were dense, walked by `walk` and put under a shape. Records no gradient.
 *
 * @internal
 */
export function rearranged<D extends DType>(x: Tensor<D>, walk: Omit<KernelView, "offset">, shape: Shape): Tensor<D> {
  const dense = x.isDense ? x : copyView(x, x, x.dtype);
  const y = copyAs(dense, { ...walk, offset: dense.offset }, shape);
  if (dense !== x) dense.dispose();
  return y;
}

Tensor.toDense = (from, dtype) => {
  const dense = copyView(from, from, dtype);
  dense.moveTo(undefined);
  return dense;
};

/**
 * The elements of x in another type; x itself when it has that type. Floats round to nearest even; floats to integers
 * truncate and saturate (NaN gives 0); anything to bool is "not zero". Gradients pass between float types.
 *
 * @throws DTYPE_UNSUPPORTED
 * @example cast(x, "bf16")
 */
export function cast<D extends DType>(x: Tensor, dtype: D): Tensor<D> {
  checkTensor("cast", "x", x);
  if (isOfType(x, dtype)) return x;
  checkDTypeName("cast", dtype);
  const y = copyView(x, x, dtype);
  const { dtype: from } = x;
  if (isFloat(from) && isFloat(dtype)) recordView("cast", x, [y], ([dy]) => dy && cast(dy, from));
  return y;
}

function isOfType<D extends DType>(x: Tensor, dtype: D): x is Tensor<D> {
  return x.dtype === dtype;
}

/** x without gaps between its rows, each axis after the one before: x itself when it is so already, else a copy. */
export function contiguous<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor("contiguous", "x", x);
  if (x.isDense) return x;
  const y = copyView(x, x, x.dtype);
  recordView("contiguous", x, [y], ([dy]) => dy);
  return y;
}
