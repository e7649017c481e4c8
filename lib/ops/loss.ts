/** Softmax over the last axis, and losses: one number for a whole tensor, in f32 (f64 for f64) whatever the input's type. */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkNumber, checkOptions, checkTensor, checkTensors } from "../tensor/check.js";
import { type DType, type FloatDType, type IndexDType, sumDType } from "../tensor/dtype.js";
import type { KernelView } from "../tensor/op.js";
import { type Shape, sameShape, showShape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { cast } from "./copy.js";
import { defineOp, one } from "./define.js";
import { neg } from "./unary.js";

const softmaxOp = defineOp({
  name: "softmax",
  doc: "y = exp(x − m) / Σ exp(x − m) over the last axis, m the maximum; with `log` the logarithm of that",
  inputs: { x: one({ layout: "rows" }) },
  attrs: { log: "bool" },
  outputs: ["y"],
  shape: ({ x: { dtype, shape } }) => ({ y: { dtype, shape } }),
  saves: ["y"],
  vjp({ grads, saved, specs, attrs: { log } }) {
    if (grads.y === undefined) return {};
    const dy = cast(grads.y, specs.x.dtype);
    return { x: runOp<{ dx: DType }>(softmaxBackwardOp, { dy, y: saved.y }, { log }).dx };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 4 * sizeOf(x.shape) }),
});

const softmaxBackwardOp = defineOp({
  name: "softmax_backward",
  doc: "gradient of softmax for x, from its result",
  inputs: { dy: one({ layout: "rows" }), y: one({ layout: "rows" }) },
  attrs: { log: "bool" },
  outputs: ["dx"],
  shape: ({ y: { dtype, shape } }) => ({ dx: { dtype, shape } }),
  cost: ({ y }) => ({ bytes: 3 * y.bytes, flops: 4 * sizeOf(y.shape) }),
});

function checkLastAxis(op: string, x: Tensor): void {
  checkTensor(op, "x", x);
  if (x.rank !== 0) return;
  throw new HunyuanError("SHAPE_MISMATCH", `${op}: x has no axis`, { op, argument: "x", shapes: [x.shape] });
}

/**
 * exp(x) / Σ exp(x) over the last axis. A row of −inf only gives NaN.
 *
 * @throws SHAPE_MISMATCH for a tensor without axes, DTYPE_UNSUPPORTED
 */
export function softmax<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  checkLastAxis("softmax", x);
  return runOp<{ y: D }>(softmaxOp, { x }, { log: false }).y;
}

/** x − log Σ exp(x) over the last axis; see {@link softmax}. */
export function logSoftmax<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  checkLastAxis("logSoftmax", x);
  return runOp<{ y: D }>(softmaxOp, { x }, { log: true }).y;
}

const distances = ["mse", "l1"] as const;

const distanceOp = defineOp({
  name: "distance",
  doc: "y = mean of (a − b)² or of |a − b|",
  inputs: { a: one({ layout: "rows" }), b: one({ layout: "rows" }) },
  attrs: { fn: distances },
  outputs: ["y"],
  shape: ({ a }) => ({ y: { dtype: sumDType(a), shape: [] } }),
  saves: ["a", "b"],
  vjp({ grads, saved, needs, attrs: { fn } }) {
    if (grads.y === undefined) return {};
    const { a, b } = saved;
    const views = { dy: everywhere(grads.y, a.shape) };
    const { da } = runOp<{ da: FloatDType }>(distanceBackwardOp, { dy: grads.y, a, b }, { fn }, { views });
    return { a: needs.a ? da : undefined, b: needs.b ? neg(da) : undefined };
  },
  cost: ({ a }) => ({ bytes: 2 * a.bytes, flops: 3 * sizeOf(a.shape) }),
});

const distanceBackwardOp = defineOp({
  name: "distance_backward",
  doc: "gradient of distance for a (b's is its negative); dy, one number, is walked as if it had a's shape",
  inputs: { dy: one({ layout: "rows" }), a: one({ layout: "rows" }), b: one({ layout: "rows" }) },
  attrs: { fn: distances },
  outputs: ["da"],
  shape: ({ a: { dtype, shape } }) => ({ da: { dtype, shape } }),
  cost: ({ a }) => ({ bytes: 3 * a.bytes, flops: 4 * sizeOf(a.shape) }),
});

/** A tensor of one element walked as if every element of `shape` were that one. */
function everywhere(scalar: Tensor, shape: Shape): KernelView {
  return { shape, strides: shape.map(() => 0), offset: scalar.offset };
}

function distance<D extends FloatDType>(
  fn: (typeof distances)[number],
  a: Tensor<D>,
  b: Tensor<D>,
): Tensor<WideDType<D>> {
  checkTensors(fn, { a, b });
  if (!sameShape(a.shape, b.shape) || a.dtype !== b.dtype) {
    const seen = (x: Tensor) => `${showShape(x.shape)} ${x.dtype}`;
    const message = `${fn}: b is ${seen(b)}, expected ${seen(a)} like a`;
    throw a.dtype !== b.dtype
      ? new HunyuanError("DTYPE_UNSUPPORTED", message, { op: fn, argument: "b", dtype: b.dtype })
      : new HunyuanError("SHAPE_MISMATCH", message, { op: fn, argument: "b", shapes: [a.shape, b.shape] });
  }
  return runOp<{ y: WideDType<D> }>(distanceOp, { a, b }, { fn }).y;
}

/** The type of a loss: f64 for f64, else f32. */
export type WideDType<D extends DType> = D extends "f64" ? "f64" : "f32";

/**
 * Mean squared difference, over all elements; shapes do not broadcast.
 *
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example mse(prediction, target)
 */
export function mse<D extends FloatDType>(a: Tensor<D>, b: Tensor<NoInfer<D>>): Tensor<WideDType<D>> {
  return distance("mse", a, b);
}

/** Mean absolute difference, over all elements; see {@link mse}. */
export function l1<D extends FloatDType>(a: Tensor<D>, b: Tensor<NoInfer<D>>): Tensor<WideDType<D>> {
  return distance("l1", a, b);
}

const crossEntropyOp = defineOp({
  name: "cross_entropy",
  doc: "y = mean of lse − logits[label] over the rows whose label is not ignoreIndex; lse = log Σ exp of each row",
  inputs: { logits: one({ layout: "rows" }), labels: one({ dtypes: ["i32", "i64"], layout: "rows" }) },
  attrs: { ignoreIndex: "i64" },
  outputs: ["y", "lse"],
  shape: ({ logits, labels }) => ({
    y: { dtype: sumDType(logits), shape: [] },
    lse: { dtype: sumDType(logits), shape: labels.shape },
  }),
  saves: ["logits", "labels", "lse"],
  vjp({ grads, saved: { logits, labels, lse }, attrs }) {
    if (grads.y === undefined) return {};
    const out = runOp<{ dlogits: FloatDType }>(crossEntropyBackwardOp, { dy: grads.y, logits, labels, lse }, attrs);
    return { logits: out.dlogits };
  },
  cost: ({ logits }) => ({ bytes: logits.bytes, flops: 4 * sizeOf(logits.shape) }),
});

const crossEntropyBackwardOp = defineOp({
  name: "cross_entropy_backward",
  doc: "dlogits = (exp(logits − lse) − [column = label]) · dy / rows counted; 0 in rows left out",
  inputs: {
    dy: one({ layout: "rows" }),
    logits: one({ layout: "rows" }),
    labels: one({ dtypes: ["i32", "i64"], layout: "rows" }),
    lse: one({ layout: "rows" }),
  },
  attrs: { ignoreIndex: "i64" },
  outputs: ["dlogits"],
  shape: ({ logits: { dtype, shape } }) => ({ dlogits: { dtype, shape } }),
  cost: ({ logits }) => ({ bytes: 2 * logits.bytes, flops: 4 * sizeOf(logits.shape) }),
});

export interface CrossEntropyOptions {
  /** Rows with this label count neither in the sum nor in the mean. Default −100. */
  readonly ignoreIndex?: number;
}

/**
 * Cross entropy of logits against class numbers, the mean over rows; NaN when no row counts.
 *
 * @param logits [N, C]
 * @param labels [N], each in 0 … C − 1 or ignoreIndex; another one rejects the next wait with INVALID_ARGUMENT
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT
 */
export function crossEntropy<D extends FloatDType>(
  logits: Tensor<D>,
  labels: Tensor<IndexDType>,
  options: CrossEntropyOptions = {},
): Tensor<WideDType<D>> {
  checkTensors("crossEntropy", { logits, labels });
  checkOptions("crossEntropy", options);
  const { ignoreIndex = -100 } = options;
  if (logits.rank !== 2 || labels.rank !== 1 || labels.shape[0] !== logits.shape[0]) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `crossEntropy: logits ${showShape(logits.shape)} and labels ${showShape(labels.shape)}, expected [N, C] and [N]`,
      { op: "crossEntropy", shapes: [logits.shape, labels.shape] },
    );
  }
  checkNumber("crossEntropy", "ignoreIndex", ignoreIndex, { whole: true });
  const out = runOp<{ y: WideDType<D>; lse: WideDType<D> }>(crossEntropyOp, { logits, labels }, { ignoreIndex });
  out.lse.dispose();
  return out.y;
}
