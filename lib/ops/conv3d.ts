/**
 * Convolution over [B, T, H, W, C], channels last. Padding is index arithmetic inside the kernels: neither a padded input
 * nor an im2col buffer is ever in memory. Letters: B batch, T frames, H height, W width, k kernel size along an axis.
 */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkOneOf, checkOptions, checkTensors, invalid } from "../tensor/check.js";
import { type FloatDType, sumDType } from "../tensor/dtype.js";
import { type Shape, showShape, sizeOf } from "../tensor/shape.js";
import { withoutRecording } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";
import { biasGradient } from "./bias.js";
import { defineOp, one, optional } from "./define.js";

/** Numbers for the axes t, h, w. */
export type Triple = readonly [t: number, h: number, w: number];

/** Stride and padding as the kernels take them. */
const geometry = {
  stride: "i64[]",
  before: "i64[]",
  after: "i64[]",
  padMode: ["replicate", "zero"],
} as const;

type Geometry = {
  readonly stride: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly padMode: "replicate" | "zero";
};

/** T, H, W of [B, T, H, W, C], or 1, H, W of [B, H, W, C]; so also the kernel sizes of a weight. */
const spatial = (shape: Shape): Triple =>
  shape.length === 5
    ? [shape[1] as number, shape[2] as number, shape[3] as number]
    : [1, shape[1] as number, shape[2] as number];

/** The shape with other sizes between its first and last axis; without frames when it had none. */
function withSpatial(like: Shape, first: number, sizes: readonly number[], last: number): Shape {
  return [first, ...sizes.slice(like.length === 5 ? 0 : 1), last];
}

function mismatch(op: string, message: string, argument: string, shapes: readonly Shape[]): HunyuanError {
  return new HunyuanError("SHAPE_MISMATCH", `${op}: ${message}`, { op, argument, shapes });
}

/** Positions that a kernel finds along a padded axis. */
function outputSize(op: string, x: Shape, axis: number, kernel: number, { stride, before, after }: Geometry): number {
  const size = spatial(x)[axis] as number;
  if (size === 0) return 0;
  const room = size + (before[axis] as number) + (after[axis] as number) - kernel;
  if (room < 0)
    throw mismatch(op, `x ${showShape(x)} is smaller than the kernel (${kernel} along ${"thw"[axis]})`, "x", [x]);
  return Math.floor(room / (stride[axis] as number)) + 1;
}

const conv3dOp = defineOp({
  name: "conv3d",
  doc: "convolution over [B, T, H, W, C] or [B, H, W, C], weight [Cout, kt, kh, kw, Cin], padding by index",
  inputs: { x: one({ layout: "rows" }), weight: one(), bias: optional() },
  attrs: geometry,
  outputs: ["y"],
  shape({ x, weight, bias }, attrs) {
    const op = x.rank === 5 ? "conv3d" : "conv2d";
    const channels = weight.shape[0] as number;
    if (weight.shape.at(-1) !== x.shape.at(-1)) {
      const message = `weight ${showShape(weight.shape)} takes ${weight.shape.at(-1)} channels, x ${showShape(x.shape)} has ${x.shape.at(-1)}`;
      throw mismatch(op, message, "weight", [weight.shape, x.shape]);
    }
    if (bias !== undefined && (bias.rank !== 1 || bias.shape[0] !== channels)) {
      const message = `bias is ${showShape(bias.shape)}, expected [${channels}] (first axis of weight ${showShape(weight.shape)})`;
      throw mismatch(op, message, "bias", [bias.shape, weight.shape]);
    }
    const sizes = spatial(weight.shape).map((kernel, axis) => outputSize(op, x.shape, axis, kernel, attrs));
    return { y: { dtype: x.dtype, shape: withSpatial(x.shape, x.shape[0] as number, sizes, channels) } };
  },
  saves: ["x", "weight"],
  vjp({ saved, given, needs, grads, specs, attrs }) {
    const dy = grads.y;
    if (dy === undefined) return {};
    const size = [...spatial(specs.x.shape)];
    const kernel = [...spatial(specs.weight.shape)];
    return {
      x: needs.x
        ? runOp<{ dx: FloatDType }>(conv3dBackwardInputOp, { dy, weight: saved.weight }, { ...attrs, size }).dx
        : undefined,
      weight: needs.weight
        ? runOp<{ dweight: FloatDType }>(conv3dBackwardWeightOp, { dy, x: saved.x }, { ...attrs, kernel }).dweight
        : undefined,
      bias: given.bias && needs.bias ? biasGradient(dy) : undefined,
    };
  },
  cost({ x, weight }, attrs) {
    const sizes = spatial(weight.shape).map((kernel, axis) => outputSize("conv3d", x.shape, axis, kernel, attrs));
    const voxels = sizeOf(sizes) * (x.shape[0] as number);
    const perElement = x.size === 0 ? 0 : x.bytes / x.size;
    const bytes = x.bytes + weight.bytes + voxels * (weight.shape[0] as number) * perElement;
    return { bytes, flops: 2 * voxels * sizeOf(weight.shape) };
  },
});

const conv3dBackwardInputOp = defineOp({
  name: "conv3d_backward_input",
  doc: "gradient of conv3d for x of T, H, W = size; what the replicated rim received is folded into the edge",
  inputs: { dy: one({ layout: "rows" }), weight: one() },
  attrs: { ...geometry, size: "i64[]" },
  outputs: ["dx"],
  shape: ({ dy, weight }, { size }) => ({
    dx: { dtype: dy.dtype, shape: withSpatial(dy.shape, dy.shape[0] as number, size, weight.shape.at(-1) as number) },
  }),
  cost: ({ dy, weight }) => ({ bytes: 2 * dy.bytes + weight.bytes, flops: flopsOf(dy, sizeOf(weight.shape)) }),
});

const conv3dBackwardWeightOp = defineOp({
  name: "conv3d_backward_weight",
  doc: "gradient of conv3d for its weight: a sum over voxels in a fixed order, f32 (f64 for f64)",
  inputs: { dy: one(), x: one({ layout: "rows" }) },
  attrs: { ...geometry, kernel: "i64[]" },
  outputs: ["dweight"],
  shape: ({ dy, x }, { kernel }) => ({
    dweight: {
      dtype: sumDType(x),
      shape: withSpatial(x.shape, dy.shape.at(-1) as number, kernel, x.shape.at(-1) as number),
    },
  }),
  cost: ({ dy, x }, { kernel }) => ({
    bytes: dy.bytes + x.bytes,
    flops: flopsOf(dy, sizeOf(kernel) * (x.shape.at(-1) as number) * (dy.shape.at(-1) as number)),
  }),
});

/** Multiply-adds of each voxel of dy, counted twice. */
function flopsOf(dy: Tensor, perVoxel: number): number {
  return 2 * sizeOf(dy.shape.slice(0, -1)) * perVoxel;
}

export interface Conv3dOptions {
  /** [Cout]. */
  readonly bias?: Tensor | undefined;
  /** 1 or 2 along t, h, w. Default [1, 1, 1]. */
  readonly stride?: Triple;
  /**
   * Frames around the clip: "causal" (default) k − 1 in front and none behind, as HunyuanVideo's autoencoder; "centred"
   * (k − 1) / 2 on both sides; "none".
   */
  readonly padding?: "causal" | "centred" | "none";
  /** Rows and columns around each frame: (k − 1) / 2 on both sides ("centred", default) or "none". */
  readonly spatialPadding?: "centred" | "none";
  /** What the padding holds: the nearest voxel of x (default) or 0. */
  readonly padMode?: "replicate" | "zero";
}

export interface Conv2dOptions {
  /** [Cout]. */
  readonly bias?: Tensor | undefined;
  /** 1 or 2 along h, w. Default [1, 1]. */
  readonly stride?: readonly [h: number, w: number];
  /** (k − 1) / 2 rows and columns on both sides ("centred", default) or "none". */
  readonly padding?: "centred" | "none";
  /** What the padding holds: the nearest pixel of x (default) or 0. */
  readonly padMode?: "replicate" | "zero";
}

type Padding = "causal" | "centred" | "none";

function padsOf(kernel: number, padding: Padding): readonly [before: number, after: number] {
  if (padding === "none") return [0, 0];
  return padding === "causal" ? [kernel - 1, 0] : [(kernel - 1) / 2, (kernel - 1) / 2];
}

/** Checks ranks, kernel sizes and strides, and turns the options into index arithmetic. */
function geometryOf(
  op: string,
  rank: number,
  x: Tensor,
  weight: Tensor,
  stride: readonly number[],
  paddings: readonly [Padding, Padding, Padding],
  padMode: "replicate" | "zero",
): Geometry {
  const axes = rank === 5 ? "[B, T, H, W, Cin]" : "[B, H, W, Cin]";
  const taps = rank === 5 ? "[Cout, kt, kh, kw, Cin]" : "[Cout, kh, kw, Cin]";
  if (x.rank !== rank) throw mismatch(op, `x is ${showShape(x.shape)}, expected ${axes}`, "x", [x.shape]);
  if (weight.rank !== rank) {
    throw mismatch(op, `weight is ${showShape(weight.shape)}, expected ${taps}`, "weight", [weight.shape]);
  }
  const kernel = spatial(weight.shape);
  if (!kernel.every((k) => k === 1 || k === 3)) {
    throw mismatch(op, `weight is ${showShape(weight.shape)}, expected ${taps} with kernel sizes 1 or 3`, "weight", [
      weight.shape,
    ]);
  }
  const strides = Array.isArray(stride) && stride.length === rank - 2 ? (rank === 5 ? stride : [1, ...stride]) : [];
  if (strides.length !== 3 || !strides.every((s) => s === 1 || s === 2)) {
    throw invalid(op, "stride", stride, `${rank - 2} numbers, each 1 or 2`);
  }
  const pads = kernel.map((k, axis) => padsOf(k, paddings[axis] as Padding));
  return {
    stride: strides,
    before: pads.map(([before]) => before),
    after: pads.map(([, after]) => after),
    padMode,
  };
}

/**
 * Convolution over frames, height and width.
 *
 * The defaults are those of HunyuanVideo's causal autoencoder: k − 1 frames in front and none behind, (k − 1) / 2 rows and
 * columns on each side, all replicated, for strided convolutions too. A frame then never depends on later ones.
 *
 * @param x [B, T, H, W, Cin], any strides of the outer axes
 * @param weight [Cout, kt, kh, kw, Cin], each k 1 or 3; its type may differ from that of x
 * @returns [B, T', H', W', Cout] of x's type, T' = ⌊(T + padding − kt) / stride⌋ + 1, and so on
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example conv3d(latents, weight, { bias, stride: [2, 2, 2] }) // a downsampling of the encoder
 * @see Kong et al. 2024, HunyuanVideo, §4.1 (CausalConv3D)
 */
export function conv3d<D extends FloatDType>(x: Tensor<D>, weight: Tensor, options: Conv3dOptions = {}): Tensor<D> {
  checkTensors("conv3d", { x, weight });
  checkOptions("conv3d", options);
  const { bias, stride = [1, 1, 1], padding = "causal", spatialPadding = "centred", padMode = "replicate" } = options;
  checkOneOf("conv3d", "padding", padding, ["causal", "centred", "none"]);
  checkOneOf("conv3d", "spatialPadding", spatialPadding, ["centred", "none"]);
  checkOneOf("conv3d", "padMode", padMode, geometry.padMode);
  const paddings = [padding, spatialPadding, spatialPadding] as const;
  return runOp<{ y: D }>(conv3dOp, { x, weight, bias }, geometryOf("conv3d", 5, x, weight, stride, paddings, padMode))
    .y;
}

/**
 * Convolution over height and width: conv3d of a single frame.
 *
 * @param x [B, H, W, Cin], any strides of the outer axes
 * @param weight [Cout, kh, kw, Cin], each k 1 or 3; its type may differ from that of x
 * @returns [B, H', W', Cout] of x's type
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example conv2d(image, weight, { bias, padMode: "zero" })
 */
export function conv2d<D extends FloatDType>(x: Tensor<D>, weight: Tensor, options: Conv2dOptions = {}): Tensor<D> {
  checkTensors("conv2d", { x, weight });
  checkOptions("conv2d", options);
  const { bias, stride = [1, 1], padding = "centred", padMode = "replicate" } = options;
  checkOneOf("conv2d", "padding", padding, ["centred", "none"]);
  checkOneOf("conv2d", "padMode", padMode, geometry.padMode);
  const paddings = ["none", padding, padding] as const;
  const attrs = geometryOf("conv2d", 4, x, weight, stride, paddings, padMode);
  return runOp<{ y: D }>(conv3dOp, { x, weight, bias }, attrs).y;
}

/** @internal */
export interface TapWindow {
  /** Replicated voxels before x along t, h, w. */
  readonly before: Triple;
  /** Replicated voxels behind x. */
  readonly after: Triple;
}

/**
 * Convolution with any kernel size and padding, stride 1, into a tensor that is there already: every second row of a
 * larger one, say. Replicates the edge; records no gradient.
 *
 * @internal
 */
export function conv3dInto<D extends FloatDType>(
  x: Tensor<D>,
  weight: Tensor,
  bias: Tensor | undefined,
  { before, after }: TapWindow,
  into: Tensor<D>,
): void {
  const attrs = { stride: [1, 1, 1], before, after, padMode: "replicate" } as const;
  withoutRecording(() => runOp<{ y: D }>(conv3dOp, { x, weight, bias }, attrs, { into: { y: into } }));
}

/**
 * The same as a tensor of its own, with a gradient.
 *
 * @internal
 */
export function conv3dWindow<D extends FloatDType>(
  x: Tensor<D>,
  weight: Tensor,
  bias: Tensor | undefined,
  { before, after }: TapWindow,
): Tensor<D> {
  const attrs = { stride: [1, 1, 1], before, after, padMode: "replicate" } as const;
  return runOp<{ y: D }>(conv3dOp, { x, weight, bias }, attrs).y;
}
