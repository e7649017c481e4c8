/** Rotary position embedding: tables, rotation, and RMS norm with rotation for queries and keys. */
import { type Device, defaultDevice } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkNumber, checkOptions, checkTensors, checkWholes, invalid } from "../tensor/check.js";
import { type DType, type FloatDType, sumDType } from "../tensor/dtype.js";
import { sameShape, showShape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, one, optional } from "./define.js";

/** cos and sin [P, D], f32: a row for each position, a column for each element of a head. */
export interface RopeTables {
  readonly cos: Tensor<"f32">;
  readonly sin: Tensor<"f32">;
}

const count = { whole: true, min: 0 };

const ropeTableOp = defineOp({
  name: "rope_table",
  doc: "cos and sin of position / theta^(2j/d) for a grid, the columns of its axes side by side; angles rounded to f32",
  inputs: {},
  attrs: { sizes: "i64[]", axes: "i64[]", theta: "f64", start: "i64", interleaved: "bool" },
  outputs: ["cos", "sin"],
  shape(_, { sizes, axes }) {
    const table = { dtype: "f32", shape: [sizeOf(sizes), axes.reduce((a, b) => a + b, 0)] } as const;
    return { cos: table, sin: table };
  },
  cost: (_, { sizes, axes }) => ({ bytes: 8 * sizeOf(sizes) * axes.reduce((a, b) => a + b, 0), flops: 0 }),
});

export interface RopeTables3dOptions {
  /** Columns of the t, h and w parts, even numbers; their sum is the head size. Default [16, 56, 56], HunyuanVideo's. */
  readonly axes?: readonly [number, number, number];
  /** Default 256. */
  readonly theta?: number;
  /** Default: the process's CPU device. */
  readonly device?: Device;
}

/**
 * Tables for a grid of t × h × w tokens in the order frame, row, column. Positions are 0 … n−1 on each axis, pairs are
 * interleaved (each frequency stands twice in a row). Frequencies and angles are rounded to f32 on the way, as in the
 * reference implementation.
 *
 * @throws INVALID_ARGUMENT
 * @example const { cos, sin } = ropeTables3d({ t: 33, h: 45, w: 80 }); // [118800, 128]
 */
export function ropeTables3d(
  grid: { readonly t: number; readonly h: number; readonly w: number },
  options: RopeTables3dOptions = {},
): RopeTables {
  const op = "ropeTables3d";
  if (typeof grid !== "object" || grid === null) throw invalid(op, "grid", grid, "{ t, h, w }");
  checkOptions(op, options);
  const { axes = [16, 56, 56], theta = 256, device = defaultDevice() } = options;
  const sizes = [grid.t, grid.h, grid.w];
  sizes.forEach((n, i) => checkNumber(op, ["t", "h", "w"][i] as string, n, count));
  checkWholes(op, "axes", axes, 3, 0);
  if (axes.some((d) => d % 2 !== 0)) throw invalid(op, "axes", axes, "even numbers ≥ 0");
  checkNumber(op, "theta", theta, { above: 0 });
  return runOp<{ cos: "f32"; sin: "f32" }>(
    ropeTableOp,
    {},
    { sizes, axes, theta, start: 0, interleaved: true },
    { device },
  );
}

export interface RopeTables1dOptions {
  /** Default 500000, Llama 3's. */
  readonly theta?: number;
  /** Position of the first row. Default 0. */
  readonly start?: number;
  /** Default: the process's CPU device. */
  readonly device?: Device;
}

/**
 * Tables for a sequence, pairs in halves: columns j and j + D/2 have one frequency (Llama's form; rotate with
 * `{ interleaved: false }`).
 *
 * @throws INVALID_ARGUMENT
 * @example const { cos, sin } = ropeTables1d(351, 128);
 */
export function ropeTables1d(length: number, headDim: number, options: RopeTables1dOptions = {}): RopeTables {
  const op = "ropeTables1d";
  checkOptions(op, options);
  const { theta = 500_000, start = 0, device = defaultDevice() } = options;
  checkNumber(op, "length", length, count);
  checkNumber(op, "start", start, count);
  checkNumber(op, "headDim", headDim, count);
  if (headDim % 2 !== 0) throw invalid(op, "headDim", headDim, "an even number ≥ 0");
  checkNumber(op, "theta", theta, { above: 0 });
  return runOp<{ cos: "f32"; sin: "f32" }>(
    ropeTableOp,
    {},
    { sizes: [length], axes: [headDim], theta, start, interleaved: false },
    { device },
  );
}

// --- rotation -----------------------------------------------------------------------------------------------------------

/** Throws unless x is [B, S, H, D] with D even, and the tables, when given, are [P, D] with P ≤ S. */
function checkRotation(op: string, name: string, x: Tensor, cos: Tensor | undefined, sin: Tensor | undefined): void {
  const [, sequence = 0, , headDim = 0] = x.shape;
  if (x.rank !== 4 || headDim % 2 !== 0) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op}: ${name} is ${showShape(x.shape)}, expected [B, S, H, D] with D even`,
      {
        op,
        argument: name,
        shapes: [x.shape],
      },
    );
  }
  if (cos === undefined && sin === undefined) return;
  const seen = cos ?? sin;
  if (seen?.rank !== 2 || seen.shape[1] !== headDim || (seen.shape[0] as number) > sequence) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op}: cos is ${showShape(seen?.shape ?? [])}, expected [at most ${sequence}, ${headDim}] for ${name} ${showShape(x.shape)}`,
      { op, argument: "cos", shapes: [seen?.shape ?? [], x.shape] },
    );
  }
  if (cos !== undefined && sin !== undefined && sameShape(cos.shape, sin.shape)) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op}: sin is ${sin === undefined ? "not given" : showShape(sin.shape)}, expected ${cos === undefined ? "none, like cos" : `${showShape(cos.shape)} as cos`}`,
    { op, argument: "sin", shapes: [seen.shape, sin?.shape ?? []] },
  );
}

const ropeOp = defineOp({
  name: "rope",
  doc: "rotates the pairs of each head by the tables' angles, for the first cos.shape[0] tokens; others pass unchanged",
  inputs: { x: one({ layout: "rows" }), cos: one({ layout: "rows" }), sin: one({ layout: "rows" }) },
  attrs: { interleaved: "bool", transposed: "bool" },
  outputs: ["y"],
  shape({ x, cos, sin }) {
    checkRotation("rope", "x", x, cos, sin);
    return { y: { dtype: x.dtype, shape: x.shape } };
  },
  saves: ["cos", "sin"],
  vjp({ saved: { cos, sin }, needs, grads, attrs }) {
    return { x: needs.x && grads.y ? rotated(grads.y, cos, sin, attrs.interleaved, !attrs.transposed) : undefined };
  },
  cost: ({ x, cos }) => ({ bytes: 2 * x.bytes + 2 * cos.bytes, flops: 3 * sizeOf(x.shape) }),
});

/** The rotation, or its transpose; the type stands here because the op's gradient is the op itself. */
function rotated<D extends DType>(
  x: Tensor<D>,
  cos: Tensor,
  sin: Tensor,
  interleaved: boolean,
  transposed: boolean,
): Tensor<D> {
  return runOp<{ y: D }>(ropeOp, { x, cos, sin }, { interleaved, transposed }).y;
}

export interface RopeOptions {
  /** True: pairs (2j, 2j + 1), HunyuanVideo's transformer. False: pairs (j, j + D/2), Llama. Default true. */
  readonly interleaved?: boolean;
}

/**
 * Rotary position embedding of the first `cos.shape[0]` tokens; later tokens are copied unchanged. With pairs (a, b):
 * a' = a · cos − b · sin, b' = b · cos + a · sin. No gradient flows to the tables.
 *
 * @param x [B, S, H, D], any strides of the outer axes (such as a part of packed q, k, v)
 * @param cos [P, D], P ≤ S
 * @param sin as cos
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example rope(q, cos, sin, { interleaved: false })
 */
export function rope<D extends FloatDType>(
  x: Tensor<D>,
  cos: Tensor,
  sin: Tensor,
  options: RopeOptions = {},
): Tensor<D> {
  checkOptions("rope", options);
  const { interleaved = true } = options;
  return rotated(x, cos, sin, interleaved, false);
}

// --- RMS norm and rotation of queries and keys ----------------------------------------------------------------------------

const qkNormRopeOp = defineOp({
  name: "qk_norm_rope",
  doc: "RMS norm over each head of q and k, times a weight, then rope (interleaved) of the first cos.shape[0] tokens",
  inputs: {
    q: one({ layout: "rows" }),
    k: one({ layout: "rows" }),
    qWeight: one(),
    kWeight: one(),
    cos: optional({ layout: "rows" }),
    sin: optional({ layout: "rows" }),
  },
  attrs: { eps: "f64" },
  outputs: ["qOut", "kOut"],
  shape({ q, k, qWeight, kWeight, cos, sin }) {
    checkRotation("qkNormRope", "q", q, cos, sin);
    checkRotation("qkNormRope", "k", k, cos, sin);
    checkHeadWeight("qWeight", qWeight, "q", q);
    checkHeadWeight("kWeight", kWeight, "k", k);
    if (k.dtype !== q.dtype) {
      throw new HunyuanError("DTYPE_UNSUPPORTED", `qkNormRope: k is ${k.dtype}, expected ${q.dtype} as q`, {
        op: "qkNormRope",
        argument: "k",
        dtype: k.dtype,
      });
    }
    return { qOut: { dtype: q.dtype, shape: q.shape }, kOut: { dtype: k.dtype, shape: k.shape } };
  },
  saves: ["q", "k", "qWeight", "kWeight", "cos", "sin"],
  vjp({ saved, given, needs, grads, attrs: { eps } }) {
    // Where no gradient arrives there is none to pass on: that side is left out.
    const q = grads.qOut !== undefined && (needs.q || needs.qWeight);
    const k = grads.kOut !== undefined && (needs.k || needs.kWeight);
    if (!q && !k) return {};
    const { dq, dk, dqWeight, dkWeight } = runOp<{ dq: DType; dk: DType; dqWeight: DType; dkWeight: DType }>(
      qkNormRopeBackwardOp,
      {
        dqOut: q ? grads.qOut : undefined,
        dkOut: k ? grads.kOut : undefined,
        q: q ? saved.q : undefined,
        k: k ? saved.k : undefined,
        qWeight: saved.qWeight,
        kWeight: saved.kWeight,
        cos: given.cos ? saved.cos : undefined,
        sin: given.sin ? saved.sin : undefined,
      },
      { eps, wantQ: needs.q, wantK: needs.k, wantQWeight: needs.qWeight, wantKWeight: needs.kWeight },
    );
    return { q: dq, k: dk, qWeight: dqWeight, kWeight: dkWeight };
  },
  cost: ({ q, k }) => ({ bytes: 2 * (q.bytes + k.bytes), flops: 8 * (sizeOf(q.shape) + sizeOf(k.shape)) }),
});

const qkNormRopeBackwardOp = defineOp({
  name: "qk_norm_rope_backward",
  doc: "gradients of qk_norm_rope for what is wanted of the sides that are given (weights summed in a fixed order)",
  inputs: {
    dqOut: optional({ layout: "rows" }),
    dkOut: optional({ layout: "rows" }),
    q: optional({ layout: "rows" }),
    k: optional({ layout: "rows" }),
    qWeight: one(),
    kWeight: one(),
    cos: optional({ layout: "rows" }),
    sin: optional({ layout: "rows" }),
  },
  attrs: { eps: "f64", wantQ: "bool", wantK: "bool", wantQWeight: "bool", wantKWeight: "bool" },
  outputs: ["dq", "dk", "dqWeight", "dkWeight"],
  shape: ({ q, k }, { wantQ, wantK, wantQWeight, wantKWeight }) => ({
    dq: wantQ && q ? { dtype: q.dtype, shape: q.shape } : undefined,
    dk: wantK && k ? { dtype: k.dtype, shape: k.shape } : undefined,
    dqWeight: wantQWeight && q ? weightGradient(q) : undefined,
    dkWeight: wantKWeight && k ? weightGradient(k) : undefined,
  }),
  cost: ({ q, k }) => ({
    bytes: 3 * ((q?.bytes ?? 0) + (k?.bytes ?? 0)),
    flops: 14 * (q?.size ?? 0) + 14 * (k?.size ?? 0),
  }),
});

const weightGradient = (x: Tensor) => ({ dtype: sumDType(x), shape: x.shape.slice(3) }) as const;

function checkHeadWeight(argument: string, weight: Tensor, name: string, x: Tensor): void {
  if (sameShape(weight.shape, x.shape.slice(3))) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `qkNormRope: ${argument} is ${showShape(weight.shape)}, expected [${x.shape[3]}] (head size of ${name} ${showShape(x.shape)})`,
    { op: "qkNormRope", argument, shapes: [weight.shape, x.shape] },
  );
}

export interface QkNormRopeOptions<D extends FloatDType = FloatDType> {
  /** Added under the root. Default 1e-6, HunyuanVideo's. */
  readonly eps?: number;
  /** Writes the results into these tensors (views of a joint sequence, or q and k themselves); not while gradients are recorded. */
  readonly into?: { readonly q: Tensor<D>; readonly k: Tensor<D> };
}

/**
 * RMS norm of each head of q and k (in f32, times the weight), then rotation of the first `cos.shape[0]` tokens with
 * interleaved pairs, in one pass. Without tables only the norm: text tokens.
 *
 * @param q [B, S, H, D], any strides of the outer axes (such as a part of packed q, k, v)
 * @param k [B, S, H', D]
 * @param qWeight [D]
 * @param kWeight [D]
 * @param cos [P, D], P ≤ S, or undefined
 * @param sin as cos
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example const { q, k } = qkNormRope(packedQ, packedK, qNormWeight, kNormWeight, cos, sin);
 */
export function qkNormRope<D extends FloatDType>(
  q: Tensor<D>,
  k: Tensor<D>,
  qWeight: Tensor,
  kWeight: Tensor,
  cos?: Tensor,
  sin?: Tensor,
  options: QkNormRopeOptions<D> = {},
): { readonly q: Tensor<D>; readonly k: Tensor<D> } {
  checkOptions("qkNormRope", options);
  const { eps = 1e-6, into } = options;
  checkNumber("qkNormRope", "eps", eps, { min: 0 });
  if (into !== undefined) {
    if (typeof into !== "object" || into === null) throw invalid("qkNormRope", "into", into, "{ q, k }");
    checkTensors("qkNormRope", { "into.q": into.q, "into.k": into.k });
  }
  const out = runOp<{ qOut: D; kOut: D }>(
    qkNormRopeOp,
    { q, k, qWeight, kWeight, cos, sin },
    { eps },
    into === undefined ? {} : { into: { qOut: into.q, kOut: into.k } },
  );
  return { q: out.qOut, k: out.kOut };
}
