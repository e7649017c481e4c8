/** Max and mean pooling over windows of [B, T, H, W, C] or [B, H, W, C]. */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkOptions, checkTensor, checkWholes, invalid } from "../tensor/check.js";
import type { FloatDType } from "../tensor/dtype.js";
import { type Shape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, one } from "./define.js";

/** Along t, h, w; for the 2d forms the first is that of a single frame. */
const windows = { kernel: "i64[]", stride: "i64[]", padding: "i64[]" } as const;

type Windows = {
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
};

function pooledShape(op: string, x: Shape, { kernel, stride, padding }: Windows): Shape {
  const skip = 5 - x.length;
  const sizes = x.slice(1, -1).map((size, i) => {
    const axis = i + skip;
    const room = size + 2 * (padding[axis] as number) - (kernel[axis] as number);
    if (size === 0) return 0;
    if (room >= 0) return Math.floor(room / (stride[axis] as number)) + 1;
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op}: x ${showShape(x)} is smaller than the window (${kernel[axis]} along ${"thw"[axis]})`,
      { op, argument: "x", shapes: [x] },
    );
  });
  return [x[0] as number, ...sizes, x.at(-1) as number];
}

const maxPool3dOp = defineOp({
  name: "max_pool3d",
  doc: "largest value of each window; padding never wins, a NaN does",
  inputs: { x: one({ layout: "rows" }) },
  attrs: windows,
  outputs: ["y"],
  shape: ({ x }, attrs) => ({ y: { dtype: x.dtype, shape: pooledShape("maxPool", x.shape, attrs) } }),
  saves: ["x"],
  vjp({ saved, grads, attrs }) {
    if (grads.y === undefined) return {};
    return { x: runOp<{ dx: FloatDType }>(maxPool3dBackwardOp, { dy: grads.y, x: saved.x }, attrs).dx };
  },
  cost: ({ x }) => ({ bytes: x.bytes, flops: x.size }),
});

const maxPool3dBackwardOp = defineOp({
  name: "max_pool3d_backward",
  doc: "gradient of max_pool3d: dy goes to the first maximum of each window",
  inputs: { dy: one({ layout: "rows" }), x: one({ layout: "rows" }) },
  attrs: windows,
  outputs: ["dx"],
  shape: ({ x }) => ({ dx: { dtype: x.dtype, shape: x.shape } }),
  cost: ({ dy, x }) => ({ bytes: 2 * x.bytes + dy.bytes, flops: 2 * x.size }),
});

const avgPool3dOp = defineOp({
  name: "avg_pool3d",
  doc: "mean of each window, over all its places or only those outside the padding",
  inputs: { x: one({ layout: "rows" }) },
  attrs: { ...windows, countPadding: "bool" },
  outputs: ["y"],
  shape: ({ x }, attrs) => ({ y: { dtype: x.dtype, shape: pooledShape("avgPool", x.shape, attrs) } }),
  vjp({ grads, specs, attrs }) {
    if (grads.y === undefined) return {};
    const size = specs.x.shape.slice(1, -1);
    return { x: runOp<{ dx: FloatDType }>(avgPool3dBackwardOp, { dy: grads.y }, { ...attrs, size }).dx };
  },
  cost: ({ x }) => ({ bytes: x.bytes, flops: x.size }),
});

const avgPool3dBackwardOp = defineOp({
  name: "avg_pool3d_backward",
  doc: "gradient of avg_pool3d for x of T, H, W = size",
  inputs: { dy: one({ layout: "rows" }) },
  attrs: { ...windows, countPadding: "bool", size: "i64[]" },
  outputs: ["dx"],
  shape: ({ dy }, { size }) => ({
    dx: { dtype: dy.dtype, shape: [dy.shape[0] as number, ...size, dy.shape.at(-1) as number] },
  }),
  cost: ({ dy }) => ({ bytes: 2 * dy.bytes, flops: dy.size }),
});

export interface PoolOptions<Sizes extends readonly number[]> {
  /** Size of the window. */
  readonly kernel: Sizes;
  /** Distance of windows. Default: `kernel`, so that they do not overlap. */
  readonly stride?: Sizes;
  /** Zeros (for max: nothing) on both sides of each axis, at most half a window. Default 0. */
  readonly padding?: Sizes;
}

export interface AvgPoolOptions<Sizes extends readonly number[]> extends PoolOptions<Sizes> {
  /** Whether padding counts as places that hold 0. Default true, as in PyTorch. */
  readonly countIncludePad?: boolean;
}

/** Checks the options and brings them to three axes. */
function windowsOf(op: string, rank: number, x: Tensor, options: PoolOptions<readonly number[]>): Windows {
  const axes = rank - 2;
  checkTensor(op, "x", x);
  checkOptions(op, options);
  if (x.rank !== rank) {
    const expected = rank === 5 ? "[B, T, H, W, C]" : "[B, H, W, C]";
    throw new HunyuanError("SHAPE_MISMATCH", `${op}: x is ${showShape(x.shape)}, expected ${expected}`, {
      op,
      argument: "x",
      shapes: [x.shape],
    });
  }
  const { kernel, stride = kernel, padding = new Array<number>(axes).fill(0) } = options;
  checkWholes(op, "kernel", kernel, axes, 1);
  checkWholes(op, "stride", stride, axes, 1);
  checkWholes(op, "padding", padding, axes, 0);
  if (padding.some((n, i) => n > (kernel[i] as number) / 2)) {
    throw invalid(op, "padding", padding, `at most half the kernel, ${showShape(kernel)}`);
  }
  const frame = rank === 5 ? [] : [1];
  return {
    kernel: [...frame, ...kernel],
    stride: [...frame, ...stride],
    padding: [...frame.map(() => 0), ...padding],
  };
}

/**
 * The largest value of each window, for each channel. The gradient goes to the first maximum of a window.
 *
 * @param x [B, T, H, W, C], any strides of the outer axes
 * @returns [B, T', H', W', C], T' = ⌊(T + 2 padding − kernel) / stride⌋ + 1, and so on
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example maxPool3d(x, { kernel: [1, 2, 2] })
 */
export function maxPool3d<D extends FloatDType>(
  x: Tensor<D>,
  options: PoolOptions<readonly [t: number, h: number, w: number]>,
): Tensor<D> {
  return runOp<{ y: D }>(maxPool3dOp, { x }, windowsOf("maxPool3d", 5, x, options)).y;
}

/**
 * The largest value of each window of an image: maxPool3d of a single frame.
 *
 * @param x [B, H, W, C], any strides of the outer axes
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 */
export function maxPool2d<D extends FloatDType>(
  x: Tensor<D>,
  options: PoolOptions<readonly [h: number, w: number]>,
): Tensor<D> {
  return runOp<{ y: D }>(maxPool3dOp, { x }, windowsOf("maxPool2d", 4, x, options)).y;
}

/**
 * The mean of each window, for each channel.
 *
 * @param x [B, T, H, W, C], any strides of the outer axes
 * @returns [B, T', H', W', C], T' = ⌊(T + 2 padding − kernel) / stride⌋ + 1, and so on
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 */
export function avgPool3d<D extends FloatDType>(
  x: Tensor<D>,
  options: AvgPoolOptions<readonly [t: number, h: number, w: number]>,
): Tensor<D> {
  const attrs = { ...windowsOf("avgPool3d", 5, x, options), countPadding: options.countIncludePad ?? true };
  return runOp<{ y: D }>(avgPool3dOp, { x }, attrs).y;
}

/**
 * The mean of each window of an image: avgPool3d of a single frame.
 *
 * @param x [B, H, W, C], any strides of the outer axes
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 */
export function avgPool2d<D extends FloatDType>(
  x: Tensor<D>,
  options: AvgPoolOptions<readonly [h: number, w: number]>,
): Tensor<D> {
  const attrs = { ...windowsOf("avgPool2d", 4, x, options), countPadding: options.countIncludePad ?? true };
  return runOp<{ y: D }>(avgPool3dOp, { x }, attrs).y;
}
