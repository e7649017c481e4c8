import { grad, requiresGrad } from "../../lib/autograd/index.js";
import {
  type Conv2dOptions,
  type Conv3dOptions,
  conv2d,
  conv3d,
  conv3dInto,
  conv3dWindow,
  type TapWindow,
} from "../../lib/ops/conv3d.js";
import { zeros } from "../../lib/ops/fill.js";
import { type AnyTensor, fill, type Host, type InputRecipe, type OpCase, opCase } from "./case.js";

/** Index arithmetic of one axis, in host terms. */
interface Axis {
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly before: number;
  readonly out: number;
}

interface Options extends Omit<Conv3dOptions, "bias"> {
  /** Padding by numbers, replicated, with any kernel: conv3dWindow. */
  readonly window?: TapWindow;
}

/** [B, H, W, C] as [B, 1, H, W, C]; so also weights. */
const frames = (shape: readonly number[]) => (shape.length === 5 ? shape : [shape[0] ?? 0, 1, ...shape.slice(1)]);

function axesOf(x: readonly number[], weight: readonly number[], options: Options): readonly Axis[] {
  return [0, 1, 2].map((i) => {
    const kernel = weight[i + 1] ?? 1;
    const mode = (i === 0 ? options.padding : options.spatialPadding) ?? (i === 0 ? "causal" : "centred");
    const usual = mode === "none" ? 0 : mode === "causal" ? kernel - 1 : (kernel - 1) / 2;
    const before = options.window?.before[i] ?? usual;
    const after = options.window?.after[i] ?? (mode === "centred" ? usual : 0);
    const size = x[i + 1] ?? 0;
    const stride = options.stride?.[i] ?? 1;
    return {
      size,
      kernel,
      stride,
      before,
      out: size === 0 ? 0 : Math.floor((size + before + after - kernel) / stride) + 1,
    };
  });
}

/** Calls fn(output voxel, tap, input voxel) for each product that counts. */
function eachTap(
  batch: number,
  axes: readonly Axis[],
  zero: boolean,
  fn: (y: number, tap: number, x: number) => void,
): void {
  const [t, h, w] = axes as [Axis, Axis, Axis];
  const reads = (axis: Axis, v: number, tap: number) => {
    const at = v * axis.stride + tap - axis.before;
    return zero && (at < 0 || at >= axis.size) ? -1 : Math.min(Math.max(at, 0), axis.size - 1);
  };
  for (let y = 0; y < batch * t.out * h.out * w.out; y++) {
    const [vw, vh] = [y % w.out, Math.floor(y / w.out) % h.out];
    const [vt, b] = [Math.floor(y / w.out / h.out) % t.out, Math.floor(y / w.out / h.out / t.out)];
    for (let tap = 0; tap < t.kernel * h.kernel * w.kernel; tap++) {
      const xw = reads(w, vw, tap % w.kernel);
      const xh = reads(h, vh, Math.floor(tap / w.kernel) % h.kernel);
      const xt = reads(t, vt, Math.floor(tap / w.kernel / h.kernel));
      if (xw >= 0 && xh >= 0 && xt >= 0) fn(y, tap, ((b * t.size + xt) * h.size + xh) * w.size + xw);
    }
  }
}

function reference(x: Host, weight: Host, bias: Host | undefined, options: Options): Host {
  const axes = axesOf(frames(x.shape), frames(weight.shape), options);
  const [cout, cin] = [weight.shape[0] ?? 0, x.shape.at(-1) ?? 0];
  const taps = axes.reduce((n, axis) => n * axis.kernel, 1);
  const sizes = axes.map((axis) => axis.out).slice(x.shape.length === 5 ? 0 : 1);
  const y = fill([x.shape[0] ?? 0, ...sizes, cout], (i) => bias?.data[i % cout] ?? 0);
  eachTap(x.shape[0] ?? 0, axes, options.padMode === "zero", (voxel, tap, from) => {
    for (let c = 0; c < cout; c++) {
      let sum = 0;
      const w = (c * taps + tap) * cin;
      for (let k = 0; k < cin; k++) sum += (x.data[from * cin + k] as number) * (weight.data[w + k] as number);
      (y.data[voxel * cout + c] as number) += sum;
    }
  });
  return y;
}

/** Gradients of the sum of dy · y for x, weight and bias. */
function gradients(x: Host, weight: Host, dy: Host, options: Options): readonly Host[] {
  const axes = axesOf(frames(x.shape), frames(weight.shape), options);
  const [cout, cin] = [weight.shape[0] ?? 0, x.shape.at(-1) ?? 0];
  const taps = axes.reduce((n, axis) => n * axis.kernel, 1);
  const dx = fill(x.shape, () => 0);
  const dw = fill(weight.shape, () => 0);
  const db = fill([cout], () => 0);
  eachTap(x.shape[0] ?? 0, axes, options.padMode === "zero", (voxel, tap, from) => {
    for (let c = 0; c < cout; c++) {
      const g = dy.data[voxel * cout + c] as number;
      const w = (c * taps + tap) * cin;
      for (let k = 0; k < cin; k++) {
        (dx.data[from * cin + k] as number) += g * (weight.data[w + k] as number);
        (dw.data[w + k] as number) += g * (x.data[from * cin + k] as number);
      }
    }
  });
  dy.data.forEach((g, i) => {
    (db.data[i % cout] as number) += g;
  });
  return [dx, dw, db];
}

const twoD = ({ stride, spatialPadding, padMode }: Options): Conv2dOptions => ({
  ...(stride === undefined ? {} : { stride: [stride[1], stride[2]] as const }),
  ...(spatialPadding === undefined ? {} : { padding: spatialPadding }),
  ...(padMode === undefined ? {} : { padMode }),
});

function call(x: AnyTensor, weight: AnyTensor, bias: AnyTensor | undefined, { window, ...options }: Options) {
  if (window !== undefined) return conv3dWindow(x, weight, bias, window);
  return x.rank === 4 ? conv2d(x, weight, { ...twoD(options), bias }) : conv3d(x, weight, { ...options, bias });
}

function label(x: readonly number[], weight: readonly number[], { window, ...options }: Options): string {
  const padding = window === undefined ? "" : ` before ${window.before} after ${window.after}`;
  return `${x.length === 5 ? "conv3d" : "conv2d"} [${x}] by [${weight}] ${Object.values(options).join(" ")}${padding}`;
}

/** Values in all types, gradients by finite differences in f64: small sizes only. */
function small(x: readonly number[], weight: readonly number[], options: Options = {}): OpCase {
  return opCase({
    name: label(x, weight, options),
    inputs: { x: { shape: x }, weight: { shape: weight }, bias: { shape: [weight[0] ?? 0] } },
    run: ({ x, weight, bias }) => call(x, weight, bias, options),
    reference: ({ x, weight, bias }) => reference(x, weight, bias, options),
    gradients: ["x", "weight", "bias"],
    ...(x.at(-1) === 0 ? {} : { pitch: ["x"] }),
    slack: 8,
  });
}

const outShape = (x: readonly number[], weight: readonly number[], options: Options) => {
  const sizes = axesOf(frames(x), frames(weight), options).map((axis) => axis.out);
  return [x[0] ?? 0, ...sizes.slice(x.length === 5 ? 0 : 1), weight[0] ?? 0];
};

/** Values and gradients against the plain sums, in all types: sizes that cross the kernels' blocks. */
function large(x: readonly number[], weight: readonly number[], options: Options = {}): OpCase {
  const centred: InputRecipe["value"] = (_, random) => 2 * random() - 1;
  return opCase<"x" | "weight" | "bias" | "dy">({
    name: `${label(x, weight, options)} with gradients`,
    inputs: {
      x: { shape: x, value: centred },
      weight: { shape: weight, value: centred },
      bias: { shape: [weight[0] ?? 0], value: centred },
      dy: { shape: outShape(x, weight, options), value: centred },
    },
    run: ({ x, weight, bias, dy }) => {
      const leaf = (t: AnyTensor) => requiresGrad(t.alias());
      const leaves = [leaf(x), leaf(weight), leaf(bias)] as const;
      const y = call(...leaves, options);
      return [y, ...grad(y, leaves, { gradient: dy }).filter((g) => g !== undefined)];
    },
    reference: ({ x, weight, bias, dy }) => [reference(x, weight, bias, options), ...gradients(x, weight, dy, options)],
    pitch: ["x", "dy"],
    slack: 30,
  });
}

/** Values alone, where a plain sum of the bias's gradient would be too coarse to compare with. */
function wide(x: readonly number[], weight: readonly number[]): OpCase {
  return opCase({
    name: label(x, weight, {}),
    inputs: { x: { shape: x }, weight: { shape: weight }, bias: { shape: [weight[0] ?? 0] } },
    run: ({ x, weight, bias }) => call(x, weight, bias, {}),
    reference: ({ x, weight, bias }) => reference(x, weight, bias, {}),
    pitch: ["x"],
    slack: 30,
  });
}

/** Into every second row and column of a larger clip, whose others stay 0. */
function into(x: readonly number[], weight: readonly number[], window: TapWindow): OpCase {
  const [b = 0, t = 0, h = 0, w = 0, c = 0] = outShape(x, weight, { window });
  const shape = [b, t, 2 * h, 2 * w, c];
  return opCase({
    name: `${label(x, weight, { window })} into every second voxel`,
    inputs: { x: { shape: x }, weight: { shape: weight }, bias: { shape: [weight[0] ?? 0] } },
    run: ({ x, weight, bias }) => {
      const y = zeros(shape, { dtype: x.dtype, device: x.device });
      const [sb = 0, st = 0, sh = 0, sw = 0, sc = 0] = y.strides;
      const view = { shape: [b, t, h, w, c], strides: [sb, st, 2 * sh, 2 * sw, sc], offset: y.offset + sh + sw };
      conv3dInto(x, weight, bias, window, y.viewAs(view));
      return y;
    },
    reference: ({ x, weight, bias }) => {
      const y = fill(shape, () => 0);
      reference(x, weight, bias, { window }).data.forEach((value, i) => {
        const [channel, voxel] = [i % c, Math.floor(i / c)];
        const [column, row] = [voxel % w, Math.floor(voxel / w) % h];
        const line = Math.floor(voxel / w / h) * 2 * h + 2 * row + 1;
        y.data[(line * 2 * w + 2 * column + 1) * c + channel] = value;
      });
      return y;
    },
    pitch: ["x"],
    slack: 8,
  });
}

const zero = { padMode: "zero" } as const;
const all2 = { stride: [2, 2, 2] } as const;
const both: readonly Options[] = [{}, zero];

export const cases: OpCase[] = [
  // Edges: one voxel, sizes below the kernel, every padding, each stride.
  small([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
  small([2, 3, 2, 3, 2], [3, 1, 1, 1, 2]),
  ...both.flatMap((mode) => [
    small([1, 1, 1, 1, 2], [3, 3, 3, 3, 2], mode),
    small([2, 3, 4, 5, 2], [3, 3, 3, 3, 2], mode),
    small([1, 4, 3, 5, 3], [2, 3, 1, 3, 3], { ...mode, padding: "centred" }),
    small([1, 3, 5, 4, 2], [2, 1, 3, 1, 2], { ...mode, stride: [1, 1, 2] }),
    small([1, 1, 1, 1, 2], [2, 3, 3, 3, 2], { ...mode, ...all2 }),
    small([1, 2, 3, 4, 2], [2, 3, 3, 3, 2], { ...mode, ...all2 }),
    small([1, 5, 5, 2, 2], [2, 3, 3, 3, 2], { ...mode, ...all2 }),
    small([1, 4, 4, 5, 1], [2, 3, 3, 3, 1], { ...mode, stride: [1, 2, 2] }),
    small([1, 5, 4, 3, 1], [2, 3, 3, 3, 1], { ...mode, ...all2, padding: "centred" }),
    small([1, 4, 5, 5, 2], [2, 3, 3, 3, 2], { ...mode, stride: [2, 1, 1] }),
    small([2, 4, 5, 3], [2, 3, 3, 3], mode),
    small([1, 6, 5, 2], [3, 3, 3, 2], { ...mode, stride: [1, 2, 2] }),
  ]),
  small([1, 4, 5, 4, 2], [2, 3, 3, 3, 2], { padding: "none", spatialPadding: "none" }),
  small([1, 5, 6, 5, 1], [2, 3, 3, 3, 1], { ...all2, padding: "none", spatialPadding: "none" }),
  small([1, 4, 3, 2, 2], [2, 1, 1, 1, 2], all2),
  small([1, 5, 5, 2], [2, 3, 3, 2], { spatialPadding: "none" }),
  // Nothing to do: no batch, no frames, no channels in or out.
  small([0, 2, 3, 3, 2], [2, 3, 3, 3, 2]),
  small([1, 0, 3, 3, 2], [2, 3, 3, 3, 2]),
  small([1, 2, 0, 3, 2], [2, 3, 3, 3, 2], all2),
  small([1, 2, 2, 3, 0], [2, 3, 3, 3, 0]),
  small([1, 2, 2, 3, 2], [0, 3, 3, 3, 2]),
  // Blocks: 112 rows and 512 (f64 256) columns of the gathered matrix, panels of 32, 16 and 8 output channels, tiles of
  // 14, 6 and 4 rows, groups of 128 columns and blocks of 512 voxels of the weight gradient.
  large([1, 1, 1, 13, 31], [15, 1, 3, 3, 31]),
  large([1, 1, 3, 5, 32], [33, 1, 1, 3, 32]),
  large([1, 3, 5, 8, 20], [33, 3, 3, 3, 20]),
  large([2, 3, 5, 7, 19], [13, 3, 3, 3, 19], { ...zero, padding: "centred" }),
  large([1, 3, 9, 7, 18], [17, 3, 3, 3, 18], all2),
  large([1, 3, 19, 19, 5], [14, 3, 3, 3, 5]),
  large([1, 2, 16, 16, 3], [31, 3, 3, 3, 3]),
  large([1, 1, 19, 28, 14], [3, 1, 3, 3, 14]),
  large([1, 33, 17, 15], [16, 3, 3, 15], { stride: [1, 2, 2] }),
  large([3, 7, 7, 64], [5, 1, 1, 64]),
  // From 32 channels in and out and 4 rows and columns on, stride 1: tiles of 2x2 (conv3d_winograd.cc), odd sizes too.
  ...both.flatMap((mode) => [
    large([2, 2, 5, 7, 33], [35, 3, 3, 3, 33], mode),
    large([1, 3, 4, 4, 32], [32, 3, 3, 3, 32], { ...mode, padding: "centred", stride: [2, 1, 1] }),
    large([1, 9, 6, 40], [32, 3, 3, 40], mode),
  ]),
  large([1, 3, 6, 7, 32], [33, 3, 3, 3, 32], { padding: "none", spatialPadding: "none" }),
  large([1, 1, 4, 5, 530], [32, 1, 3, 3, 530]),
  // Up to 8 channels out of 32 or more at stride 1: columns are (tap, channel), in strips of rows (conv3d_narrow.cc).
  ...both.flatMap((mode) => [
    large([2, 4, 5, 7, 33], [3, 3, 3, 3, 33], mode),
    large([1, 3, 4, 3, 32], [8, 3, 3, 3, 32], { ...mode, padding: "centred" }),
    large([1, 9, 6, 40], [5, 3, 3, 40], mode),
  ]),
  large([1, 3, 5, 6, 32], [4, 3, 3, 3, 32], { padding: "none", spatialPadding: "none" }),
  wide([1, 1, 6, 700, 32], [8, 3, 3, 3, 32]),
  // Any kernel and padding, as the taps of an enlarged clip are folded; an edge that is read through every tap.
  small([1, 3, 4, 3, 2], [2, 2, 2, 2, 2], { window: { before: [1, 1, 0], after: [0, 0, 1] } }),
  small([1, 3, 3, 4, 2], [2, 2, 2, 2, 2], { window: { before: [0, 0, 1], after: [0, 1, 0] } }),
  small([1, 1, 2, 3, 1], [2, 4, 2, 5, 1], { window: { before: [3, 0, 2], after: [2, 1, 3] } }),
  into([1, 2, 3, 4, 5], [3, 2, 2, 2, 5], { before: [1, 1, 0], after: [0, 0, 1] }),
  into([2, 2, 3, 2, 8], [16, 2, 2, 1, 8], { before: [1, 0, 0], after: [0, 1, 0] }),
  // Tiles of a GPU: 256 by 128 and 128 by 256 voxels by channels, also with the channels of x and y changed about; taps
  // that begin within a block of 32 channels; voxels enough to be summed in parts for the weight.
  large([1, 2, 11, 25, 24], [128, 1, 3, 3, 24]),
  large([1, 3, 10, 20, 128], [24, 3, 1, 1, 128], zero),
  large([1, 3, 8, 16, 8], [256, 1, 1, 3, 8]),
  large([1, 3, 16, 8, 256], [16, 1, 3, 1, 256], zero),
  large([1, 4, 18, 17, 72], [128, 3, 1, 1, 72], { stride: [2, 1, 1] }),
  large([2, 1, 26, 44, 3], [5, 1, 1, 3, 3]),
  opCase({
    name: "conv3d of narrow values by an f32 weight",
    inputs: {
      x: { shape: [1, 2, 4, 3, 5] },
      weight: { shape: [4, 3, 3, 3, 5], dtype: "f32" },
      bias: { shape: [4], dtype: "f32" },
    },
    run: ({ x, weight, bias }) => conv3d(x, weight, { bias }),
    reference: ({ x, weight, bias }) => reference(x, weight, bias, {}),
    dtypes: ["bf16", "f16", "f32"],
    slack: 8,
  }),
];
