/** Changing the size of frames and clips: nearest upsampling with the first-frame rule, bilinear resizing. */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkNumber, checkOptions, checkTensor, checkWholes } from "../tensor/check.js";
import type { FloatDType } from "../tensor/dtype.js";
import { type Shape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, one } from "./define.js";

/** [B, T, H, W, C] made larger by whole factors. */
function upsampledShape(x: Shape, factors: readonly number[], firstFrame: boolean): Shape {
  const [batch, frames, height, width, channels] = x as readonly [number, number, number, number, number];
  const [ft, fh, fw] = factors as readonly [number, number, number];
  const t = frames === 0 ? 0 : firstFrame ? 1 + (frames - 1) * ft : frames * ft;
  return [batch, t, height * fh, width * fw, channels];
}

const upsampleNearestOp = defineOp({
  name: "upsample_nearest",
  doc: "repeats the voxels of [B, T, H, W, C]; with firstFrame, frame 0 is not repeated in time",
  inputs: { x: one({ layout: "rows" }) },
  attrs: { factors: "i64[]", firstFrame: "bool" },
  outputs: ["y"],
  shape: ({ x }, { factors, firstFrame }) => ({
    y: { dtype: x.dtype, shape: upsampledShape(x.shape, factors, firstFrame) },
  }),
  vjp({ grads, specs, attrs }) {
    if (grads.y === undefined) return {};
    const size = specs.x.shape.slice(1, -1);
    return { x: runOp<{ dx: FloatDType }>(upsampleNearestBackwardOp, { dy: grads.y }, { ...attrs, size }).dx };
  },
  cost: ({ x }, { factors }) => ({ bytes: x.bytes * (1 + factors.reduce((a, b) => a * b, 1)), flops: 0 }),
});

const upsampleNearestBackwardOp = defineOp({
  name: "upsample_nearest_backward",
  doc: "gradient of upsample_nearest for x of T, H, W = size: the sum over the copies of a voxel",
  inputs: { dy: one({ layout: "rows" }) },
  attrs: { factors: "i64[]", firstFrame: "bool", size: "i64[]" },
  outputs: ["dx"],
  shape: ({ dy }, { size }) => ({
    dx: { dtype: dy.dtype, shape: [dy.shape[0] as number, ...size, dy.shape.at(-1) as number] },
  }),
  cost: ({ dy }) => ({ bytes: dy.bytes, flops: dy.size }),
});

const resizeBilinearOp = defineOp({
  name: "resize_bilinear",
  doc: "bilinear resizing of [..., H, W, C]; with antialias a triangle filter as wide as the reduction",
  inputs: { x: one({ layout: "rows" }) },
  attrs: { height: "i64", width: "i64", alignCorners: "bool", antialias: "bool" },
  outputs: ["y"],
  shape: ({ x }, { height, width }) => ({ y: { dtype: x.dtype, shape: withSize(x.shape, height, width) } }),
  vjp({ grads, specs, attrs }) {
    if (grads.y === undefined) return {};
    const [height, width] = specs.x.shape.slice(-3, -1) as [number, number];
    const size = { ...attrs, height, width };
    return { x: runOp<{ dx: FloatDType }>(resizeBilinearBackwardOp, { dy: grads.y }, size).dx };
  },
  cost: ({ x }, { height, width }) => ({ bytes: x.bytes, flops: 8 * height * width * (x.shape.at(-1) ?? 0) }),
});

const resizeBilinearBackwardOp = defineOp({
  name: "resize_bilinear_backward",
  doc: "gradient of resize_bilinear for x of the given height and width",
  inputs: { dy: one({ layout: "rows" }) },
  attrs: { height: "i64", width: "i64", alignCorners: "bool", antialias: "bool" },
  outputs: ["dx"],
  shape: ({ dy }, { height, width }) => ({ dx: { dtype: dy.dtype, shape: withSize(dy.shape, height, width) } }),
  cost: ({ dy }) => ({ bytes: dy.bytes, flops: 8 * dy.size }),
});

const withSize = (shape: Shape, height: number, width: number): Shape => [
  ...shape.slice(0, -3),
  height,
  width,
  shape.at(-1) as number,
];

function badShape(op: string, x: Tensor, expected: string): HunyuanError {
  return new HunyuanError("SHAPE_MISMATCH", `${op}: x is ${showShape(x.shape)}, expected ${expected}`, {
    op,
    argument: "x",
    shapes: [x.shape],
  });
}

export interface UpsampleOptions {
  /**
   * Frame 0 stays one frame and only grows in height and width, as in HunyuanVideo's causal decoder: T frames become
   * 1 + (T − 1) · ft. Default true.
   */
  readonly firstFrame?: boolean;
}

/**
 * Repeats each voxel by whole factors.
 *
 * @param x [B, T, H, W, C], any strides of the outer axes
 * @param factors of t, h, w, each ≥ 1
 * @returns [B, 1 + (T − 1) ft, H fh, W fw, C], or [B, T ft, …] without `firstFrame`
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example upsampleNearest(x, [2, 2, 2]) // T = 5 → 9
 * @see Kong et al. 2024, HunyuanVideo (UpsampleCausal3D of the released autoencoder)
 */
export function upsampleNearest<D extends FloatDType>(
  x: Tensor<D>,
  factors: readonly [t: number, h: number, w: number],
  options: UpsampleOptions = {},
): Tensor<D> {
  const op = "upsampleNearest";
  checkTensor(op, "x", x);
  checkOptions(op, options);
  const { firstFrame = true } = options;
  if (x.rank !== 5) throw badShape(op, x, "[B, T, H, W, C]");
  checkWholes(op, "factors", factors, 3, 1);
  return runOp<{ y: D }>(upsampleNearestOp, { x }, { factors, firstFrame }).y;
}

export interface ResizeOptions {
  /** Size of the result, in pixels. */
  readonly height: number;
  readonly width: number;
  /** Whether the centres of the corner pixels, not the outer borders, of input and output coincide. Default false. */
  readonly alignCorners?: boolean;
  /** Widens the filter when shrinking, so that every input pixel counts. Default false. */
  readonly antialias?: boolean;
}

/**
 * Bilinear resizing, as PyTorch's `F.interpolate(mode="bilinear")` with the same `align_corners` and `antialias`.
 *
 * @param x [B, H, W, C] or [B, T, H, W, C] (each frame alone), any strides of the outer axes
 * @returns the same with the given height and width
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example resizeBilinear(frames, { height: 720, width: 1280, antialias: true })
 */
export function resizeBilinear<D extends FloatDType>(x: Tensor<D>, options: ResizeOptions): Tensor<D> {
  const op = "resizeBilinear";
  checkTensor(op, "x", x);
  checkOptions(op, options);
  const { height, width, alignCorners = false, antialias = false } = options;
  checkNumber(op, "height", height, { whole: true, min: 1 });
  checkNumber(op, "width", width, { whole: true, min: 1 });
  if (x.rank !== 4 && x.rank !== 5) throw badShape(op, x, "[B, H, W, C] or [B, T, H, W, C]");
  if (x.shape.at(-3) === 0 || x.shape.at(-2) === 0) throw badShape(op, x, "height and width ≥ 1");
  return runOp<{ y: D }>(resizeBilinearOp, { x }, { height, width, alignCorners, antialias }).y;
}
