/** Normalisation over the last axis and over groups of channels. Statistics are f32 (f64 for f64). */

import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkNumber, checkOptions, checkTensors } from "../tensor/check.js";
import { type FloatDType, sumDType } from "../tensor/dtype.js";
import { sameShape, showShape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { cast } from "./copy.js";
import { defineOp, one, optional } from "./define.js";
import { checkAlike, checkModulation } from "./modulation.js";

/** Throws unless a weight, if given, is [C] for the last axis C of x. */
function checkChannels(op: string, name: string, weight: Tensor | undefined, x: Tensor): void {
  if (weight === undefined) return;
  const channels = x.shape.at(-1);
  if (channels !== undefined && weight.rank === 1 && weight.shape[0] === channels) return;
  const expected =
    channels === undefined
      ? "but x has no axes; leave it out, or give x a last axis"
      : `expected [${channels}] (last axis of x ${showShape(x.shape)})`;
  throw new HunyuanError("SHAPE_MISMATCH", `${op}: ${name} is ${showShape(weight.shape)}, ${expected}`, {
    op,
    argument: name,
    shapes: [weight.shape, x.shape],
  });
}

const notNegative = { min: 0 };

const rmsNormOp = defineOp({
  name: "rms_norm",
  doc: "y = x / sqrt(mean(x²) + eps) · weight over the last axis",
  inputs: { x: one({ layout: "rows" }), weight: optional() },
  attrs: { eps: "f64" },
  outputs: ["y"],
  shape({ x, weight }) {
    checkChannels("rmsNorm", "weight", weight, x);
    return { y: { dtype: x.dtype, shape: x.shape } };
  },
  saves: ["x", "weight"],
  vjp({ saved, given, needs, grads, attrs }) {
    if (grads.y === undefined) return {};
    const weight = given.weight ? saved.weight : undefined;
    const out = runOp<{ dx: FloatDType; dweight: FloatDType }>(
      rmsNormBackwardOp,
      { dy: grads.y, x: saved.x, weight },
      { eps: attrs.eps, wantWeight: needs.weight },
    );
    return { x: out.dx, weight: needs.weight ? out.dweight : undefined };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 4 * sizeOf(x.shape) }),
});

const rmsNormBackwardOp = defineOp({
  name: "rms_norm_backward",
  doc: "gradients of rms_norm for x and, when wanted, weight (summed over rows in a fixed order)",
  inputs: { dy: one({ layout: "rows" }), x: one({ layout: "rows" }), weight: optional() },
  attrs: { eps: "f64", wantWeight: "bool" },
  outputs: ["dx", "dweight"],
  shape: ({ x }, { wantWeight }) => ({
    dx: { dtype: x.dtype, shape: x.shape },
    dweight: wantWeight ? { dtype: sumDType(x), shape: [x.shape.at(-1) ?? 0] } : undefined,
  }),
  cost: ({ x }) => ({ bytes: 3 * x.bytes, flops: 10 * sizeOf(x.shape) }),
});

export interface NormOptions {
  /** Added under the root. Default 1e-6, HunyuanVideo's. */
  readonly eps?: number;
}

/**
 * RMS normalisation over the last axis: x / √(mean(x²) + eps) · weight.
 *
 * @param x [..., C], any strides of the outer axes
 * @param weight [C], or left out
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example rmsNorm(q, qNormWeight) // q [B, S, H, D], weight [D]
 */
export function rmsNorm<D extends FloatDType>(x: Tensor<D>, weight?: Tensor, options: NormOptions = {}): Tensor<D> {
  checkOptions("rmsNorm", options);
  const { eps = 1e-6 } = options;
  checkNumber("rmsNorm", "eps", eps, notNegative);
  return runOp<{ y: D }>(rmsNormOp, { x, weight }, { eps }).y;
}

const layerNormOp = defineOp({
  name: "layer_norm",
  doc: "y = (x − mean) / sqrt(var + eps) · weight + bias over the last axis, then · (1 + scale) + shift",
  inputs: {
    x: one({ layout: "rows" }),
    weight: optional(),
    bias: optional(),
    shift: optional({ layout: "rows" }),
    scale: optional({ layout: "rows" }),
  },
  attrs: { eps: "f64" },
  outputs: ["y"],
  shape({ x, weight, bias, shift, scale }) {
    checkChannels("layerNorm", "weight", weight, x);
    checkChannels("layerNorm", "bias", bias, x);
    checkModulation("layerNormModulate", "shift", shift, x.shape);
    checkModulation("layerNormModulate", "scale", scale, x.shape);
    checkAlike("layerNormModulate", shift, scale);
    return { y: { dtype: x.dtype, shape: x.shape } };
  },
  savesFor: (_, needs) => ["x", "weight", "scale", ...(needs.scale ? (["bias"] as const) : [])],
  vjp({ saved, given, needs, grads, attrs }) {
    if (grads.y === undefined) return {};
    const weight = given.weight ? saved.weight : undefined;
    const bias = given.bias ? saved.bias : undefined;
    const scale = given.scale ? saved.scale : undefined;
    const out = runOp<{
      dx: FloatDType;
      dweight: FloatDType;
      dbias: FloatDType;
      dshift: FloatDType;
      dscale: FloatDType;
    }>(
      layerNormBackwardOp,
      { dy: grads.y, x: saved.x, weight, bias, scale },
      {
        eps: attrs.eps,
        wantX: needs.x,
        wantWeight: needs.weight,
        wantBias: needs.bias,
        wantShift: needs.shift,
        wantScale: needs.scale,
      },
    );
    return { x: out.dx, weight: out.dweight, bias: out.dbias, shift: out.dshift, scale: out.dscale };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 8 * sizeOf(x.shape) }),
});

const layerNormBackwardOp = defineOp({
  name: "layer_norm_backward",
  doc: "gradients of layer_norm for what is wanted (sums over rows in a fixed order)",
  inputs: {
    dy: one({ layout: "rows" }),
    x: one({ layout: "rows" }),
    weight: optional(),
    bias: optional(),
    scale: optional({ layout: "rows" }),
  },
  attrs: {
    eps: "f64",
    wantX: "bool",
    wantWeight: "bool",
    wantBias: "bool",
    wantShift: "bool",
    wantScale: "bool",
  },
  outputs: ["dx", "dweight", "dbias", "dshift", "dscale"],
  shape({ x, scale }, { wantX, wantWeight, wantBias, wantShift, wantScale }) {
    const modulation = scale && { dtype: scale.dtype, shape: scale.shape };
    const sums = { dtype: sumDType(x), shape: [x.shape.at(-1) ?? 0] } as const;
    return {
      dx: wantX ? { dtype: x.dtype, shape: x.shape } : undefined,
      dweight: wantWeight ? sums : undefined,
      dbias: wantBias ? sums : undefined,
      dshift: wantShift ? modulation : undefined,
      dscale: wantScale ? modulation : undefined,
    };
  },
  cost: ({ x }) => ({ bytes: 3 * x.bytes, flops: 16 * sizeOf(x.shape) }),
});

export interface LayerNormOptions extends NormOptions {
  /** [C] */
  readonly weight?: Tensor | undefined;
  /** [C] */
  readonly bias?: Tensor | undefined;
}

/**
 * Layer normalisation over the last axis: (x − mean) / √(variance + eps) · weight + bias, with the biased variance,
 * found in two passes.
 *
 * @param x [..., C], any strides of the outer axes
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example layerNorm(x, { weight, bias, eps: 1e-5 })
 */
export function layerNorm<D extends FloatDType>(x: Tensor<D>, options: LayerNormOptions = {}): Tensor<D> {
  checkOptions("layerNorm", options);
  const { weight, bias, eps = 1e-6 } = options;
  checkNumber("layerNorm", "eps", eps, notNegative);
  return runOp<{ y: D }>(layerNormOp, { x, weight, bias, shift: undefined, scale: undefined }, { eps }).y;
}

/**
 * Layer normalisation and modulation in one pass: layerNorm(x) · (1 + scale) + shift.
 *
 * @param x [B, S, C], any strides of the outer axes
 * @param shift [B, C], [B, 1, C], or [B, S, C] for a modulation of each token; may be a view of packed modulations
 * @param scale as shift
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example layerNormModulate(img, shift1, scale1) // eps 1e-6, no weight: the blocks of HunyuanVideo's transformer
 */
export function layerNormModulate<D extends FloatDType>(
  x: Tensor<D>,
  shift: Tensor,
  scale: Tensor,
  options: LayerNormOptions = {},
): Tensor<D> {
  // The op below can do without shift and scale; this function is for having them.
  checkTensors("layerNormModulate", { shift, scale });
  checkOptions("layerNormModulate", options);
  const { weight, bias, eps = 1e-6 } = options;
  checkNumber("layerNormModulate", "eps", eps, notNegative);
  return runOp<{ y: D }>(layerNormOp, { x, weight, bias, shift, scale }, { eps }).y;
}

const groupNormOp = defineOp({
  name: "group_norm",
  doc: "y = (x − mean) / sqrt(var + eps) · weight + bias with statistics over positions and a group's channels; then silu",
  inputs: { x: one({ layout: "rows" }), weight: optional(), bias: optional() },
  attrs: { groups: "i64", eps: "f64", silu: "bool" },
  outputs: ["y"],
  shape({ x, weight, bias }, { groups }) {
    checkGroups(x, groups);
    checkChannels("groupNorm", "weight", weight, x);
    checkChannels("groupNorm", "bias", bias, x);
    return { y: { dtype: x.dtype, shape: x.shape } };
  },
  savesFor: ({ silu }) => ["x", "weight", ...(silu ? (["bias"] as const) : [])],
  vjp({ saved, given, needs, grads, attrs }) {
    if (grads.y === undefined) return {};
    const weight = given.weight ? saved.weight : undefined;
    const bias = given.bias && attrs.silu ? saved.bias : undefined;
    const out = runOp<{ dx: FloatDType; dweight: FloatDType; dbias: FloatDType }>(
      groupNormBackwardOp,
      { dy: grads.y, x: saved.x, weight, bias },
      { ...attrs, wantX: needs.x, wantWeight: needs.weight, wantBias: needs.bias },
    );
    return { x: out.dx, weight: out.dweight, bias: out.dbias };
  },
  cost: ({ x }) => ({ bytes: 3 * x.bytes, flops: 8 * sizeOf(x.shape) }),
});

const groupNormBackwardOp = defineOp({
  name: "group_norm_backward",
  doc: "gradients of group_norm for what is wanted (sums over positions in a fixed order)",
  inputs: { dy: one({ layout: "rows" }), x: one({ layout: "rows" }), weight: optional(), bias: optional() },
  attrs: { groups: "i64", eps: "f64", silu: "bool", wantX: "bool", wantWeight: "bool", wantBias: "bool" },
  outputs: ["dx", "dweight", "dbias"],
  shape({ x }, { wantX, wantWeight, wantBias }) {
    const sums = { dtype: sumDType(x), shape: [x.shape.at(-1) ?? 0] } as const;
    return {
      dx: wantX ? { dtype: x.dtype, shape: x.shape } : undefined,
      dweight: wantWeight ? sums : undefined,
      dbias: wantBias ? sums : undefined,
    };
  },
  cost: ({ x }) => ({ bytes: 6 * x.bytes, flops: 24 * sizeOf(x.shape) }),
});

/** Throws unless x has a batch axis and channels that `groups`, a number ≥ 1, divides. */
function checkGroups(x: Tensor, groups: number): void {
  if (x.rank >= 2 && (x.shape.at(-1) ?? 0) % groups === 0) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `groupNorm: x is ${showShape(x.shape)}, expected [B, ..., C] with C a multiple of ${groups} groups`,
    { op: "groupNorm", argument: "x", shapes: [x.shape] },
  );
}

export interface GroupNormOptions extends LayerNormOptions {
  /** Groups that the channels are divided into, in order. */
  readonly groups: number;
  /** Applies silu to the result in the same pass. Default false. */
  readonly silu?: boolean;
  /** Writes the result into this tensor, which may be x itself; not while gradients are recorded. */
  readonly into?: Tensor | undefined;
}

/**
 * Group normalisation, channels last: statistics over all positions of a sample and the channels of a group.
 *
 * @param x [B, ..., C], such as [B, T, H, W, C]; any strides of the outer axes
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT for groups, GRADIENT_UNAVAILABLE for `into` where gradients
 * are recorded
 * @example groupNorm(x, { groups: 32, weight, bias, silu: true }) // the VAE's norms, eps 1e-6
 */
export function groupNorm<D extends FloatDType>(x: Tensor<D>, options: GroupNormOptions): Tensor<D> {
  checkOptions("groupNorm", options);
  const { groups, weight, bias, eps = 1e-6, silu = false, into } = options;
  checkNumber("groupNorm", "groups", groups, { whole: true, min: 1 });
  checkNumber("groupNorm", "eps", eps, notNegative);
  const target = into === undefined ? {} : { into: { y: into } };
  return runOp<{ y: D }>(groupNormOp, { x, weight, bias }, { groups, eps, silu }, target).y;
}

const gateResidualOp = defineOp({
  name: "gate_residual",
  doc: "out = x + y · gate, a row of gate for each sample or for each row",
  inputs: { x: one({ layout: "rows" }), y: one({ layout: "rows" }), gate: one({ layout: "rows" }) },
  attrs: {},
  outputs: ["out"],
  shape({ x, y, gate }) {
    if (!sameShape(x.shape, y.shape)) {
      throw new HunyuanError(
        "SHAPE_MISMATCH",
        `gateResidual: y is ${showShape(y.shape)}, expected the shape of x ${showShape(x.shape)}`,
        { op: "gateResidual", argument: "y", shapes: [y.shape, x.shape] },
      );
    }
    if (y.dtype !== x.dtype) {
      throw new HunyuanError("DTYPE_UNSUPPORTED", `gateResidual: y is ${y.dtype}, expected ${x.dtype} as x`, {
        op: "gateResidual",
        argument: "y",
        dtype: y.dtype,
      });
    }
    checkModulation("gateResidual", "gate", gate, x.shape);
    return { out: { dtype: x.dtype, shape: x.shape } };
  },
  savesFor: (_, needs) => [...(needs.gate ? (["y"] as const) : []), "gate"],
  vjp({ saved, specs, needs, grads }) {
    if (grads.out === undefined) return {};
    const dout = cast(grads.out, specs.x.dtype);
    if (!needs.y && !needs.gate) return { x: dout };
    const { dy, dgate } = runOp<{ dy: FloatDType; dgate: FloatDType }>(
      gateResidualBackwardOp,
      { dout, y: needs.gate ? saved.y : undefined, gate: saved.gate },
      { wantY: needs.y },
    );
    return { x: dout, y: dy, gate: dgate };
  },
  cost: ({ x, y }) => ({ bytes: 2 * x.bytes + y.bytes, flops: 2 * sizeOf(x.shape) }),
});

const gateResidualBackwardOp = defineOp({
  name: "gate_residual_backward",
  doc: "gradients of gate_residual for y, and for gate when y is given (sums over rows in a fixed order)",
  inputs: { dout: one({ layout: "rows" }), y: optional({ layout: "rows" }), gate: one({ layout: "rows" }) },
  attrs: { wantY: "bool" },
  outputs: ["dy", "dgate"],
  shape: ({ dout, y, gate }, { wantY }) => ({
    dy: wantY ? { dtype: dout.dtype, shape: dout.shape } : undefined,
    dgate: y && { dtype: gate.dtype, shape: gate.shape },
  }),
  cost: ({ dout, y }, { wantY }) => ({
    bytes: dout.bytes * (wantY ? 2 : 1) + (y?.bytes ?? 0),
    flops: 3 * sizeOf(dout.shape),
  }),
});

/**
 * The gated residual: x + y · gate.
 *
 * @param x [B, S, C]
 * @param y as x
 * @param gate [B, C], [B, 1, C], or [B, S, C] for a gate of each token; may be a view of packed modulations
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example gateResidual(img, attnOut, gate1)
 */
export function gateResidual<D extends FloatDType>(x: Tensor<D>, y: Tensor<D>, gate: Tensor): Tensor<D> {
  return runOp<{ out: D }>(gateResidualOp, { x, y, gate }, {}).out;
}
