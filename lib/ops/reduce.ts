/**
 * Sums, means, extremes and the like over any axes. Sums of floats run in f64 and round once; they come out the same
 * whatever the number of threads.
 */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkDType, checkFlag, checkNumber, checkOptions, checkTensor, invalid } from "../tensor/check.js";
import {
  type DType,
  type FloatDType,
  floatDTypes,
  isFloat,
  type NumericDType,
  numericDTypes,
  sumDType,
} from "../tensor/dtype.js";
import type { KernelView } from "../tensor/op.js";
import { checkAxis, checkShape, maxRank, type Shape, sameShape, showShape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { cast } from "./copy.js";
import { defineOp, one, optional } from "./define.js";
import { reshape } from "./views.js";

const folds = ["sum", "mean", "max", "min", "norm"] as const;
type Fold = (typeof folds)[number];

/** Sums of integers and bools are i64. */
const totalDType = (dtype: DType): DType => (isFloat(dtype) ? dtype : "i64");
const countOf = (shape: Shape, axes: readonly number[]) => axes.reduce((n, axis) => n * (shape[axis] as number), 1);

const reduceOp = defineOp({
  name: "reduce",
  doc: "y = fn of x over `axes`; `shape` is the result's, which keeps or drops them",
  inputs: { x: one({ dtypes: [...numericDTypes, "bool"], layout: "rows" }) },
  attrs: { fn: folds, axes: "i64[]", shape: "i64[]" },
  outputs: ["y"],
  shape: ({ x }, { fn, shape }) => ({ y: { dtype: fn === "sum" ? totalDType(x.dtype) : x.dtype, shape } }),
  savesFor: ({ fn }) => (fn === "sum" || fn === "mean" ? [] : ["x", "y"]),
  vjp({ saved, grads, specs, attrs: { fn, axes } }) {
    if (grads.y === undefined) return {};
    const { shape, dtype } = specs.x;
    const dy = cast(grads.y, dtype);
    const values = fn === "sum" || fn === "mean" ? {} : { x: saved.x, y: saved.y };
    const views = {
      dy: spread(dy, shape, axes),
      ...(values.y === undefined ? {} : { y: spread(values.y, shape, axes) }),
    };
    const out = runOp<{ dx: DType }>(
      reduceBackwardOp,
      { dy, x: values.x, y: values.y },
      { fn, axes, shape },
      { views },
    );
    return { x: out.dx };
  },
  cost: ({ x }) => ({ bytes: x.bytes, flops: sizeOf(x.shape) }),
});

const reduceBackwardOp = defineOp({
  name: "reduce_backward",
  doc: "gradient of reduce for x; dy and y are walked as if they had x's shape. Equal extremes share dy equally",
  inputs: { dy: one({ layout: "rows" }), x: optional({ layout: "rows" }), y: optional({ layout: "rows" }) },
  attrs: { fn: folds, axes: "i64[]", shape: "i64[]" },
  outputs: ["dx"],
  shape: ({ dy: { dtype } }, { shape }) => ({ dx: { dtype, shape } }),
  cost: ({ dy, x, y }, { shape }) => ({
    bytes: dy.bytes + (x === undefined ? 1 : 2) * (sizeOf(shape) * (dy.bytes / Math.max(1, dy.size))) + (y?.bytes ?? 0),
    flops: 2 * sizeOf(shape),
  }),
});

const varianceOp = defineOp({
  name: "variance",
  doc: "y = Σ (x − mean)² / max(0, n − correction) over `axes`, and the mean",
  inputs: { x: one({ layout: "rows" }) },
  attrs: { correction: "f64", axes: "i64[]", shape: "i64[]" },
  outputs: ["y", "mean"],
  shape: ({ x }, { shape }) => ({
    y: { dtype: x.dtype, shape },
    mean: { dtype: sumDType(x), shape },
  }),
  saves: ["x", "mean"],
  vjp({ saved, grads, specs, attrs: { axes, correction } }) {
    if (grads.y === undefined) return {};
    const { shape, dtype } = specs.x;
    const dy = cast(grads.y, dtype);
    const scale = 2 / Math.max(0, countOf(shape, axes) - correction);
    const views = { dy: spread(dy, shape, axes), mean: spread(saved.mean, shape, axes) };
    return {
      x: runOp<{ dx: DType }>(varianceBackwardOp, { dy, x: saved.x, mean: saved.mean }, { scale }, { views }).dx,
    };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 4 * sizeOf(x.shape) }),
});

const varianceBackwardOp = defineOp({
  name: "variance_backward",
  doc: "dx = dy · scale · (x − mean); dy and mean are walked as if they had x's shape",
  inputs: { dy: one({ layout: "rows" }), x: one({ layout: "rows" }), mean: one({ layout: "rows" }) },
  attrs: { scale: "f64" },
  outputs: ["dx"],
  shape: ({ x: { dtype, shape } }) => ({ dx: { dtype, shape } }),
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 3 * sizeOf(x.shape) }),
});

const argmaxOp = defineOp({
  name: "argmax",
  doc: "index along `axes` (flat when several) of the first maximum; the first NaN counts as the maximum",
  inputs: { x: one({ dtypes: numericDTypes, layout: "rows" }) },
  attrs: { axes: "i64[]", shape: "i64[]" },
  outputs: ["y"],
  shape: (_, { shape }) => ({ y: { dtype: "i32", shape } }),
  cost: ({ x }) => ({ bytes: x.bytes, flops: sizeOf(x.shape) }),
});

/** How a reduced tensor is walked to meet each of the elements it was made from: strides of 0 along the reduced axes. */
function spread(reduced: Tensor, shape: Shape, axes: readonly number[]): KernelView {
  // The reduced tensor has the other axes in order, and ones among them or not: those of size 1 need no stride.
  const kept = reduced.strides.filter((_, i) => reduced.shape[i] !== 1);
  let next = 0;
  const strides = shape.map((n, i) => (axes.includes(i) || n === 1 ? 0 : (kept[next++] ?? 0)));
  return { shape, strides, offset: reduced.offset };
}

export interface ReduceOptions {
  /** Which axes to reduce; negative ones count from the end. Default: all. */
  readonly axes?: number | readonly number[];
  /** Leaves reduced axes in the result, with size 1. Default false. */
  readonly keepDims?: boolean;
}

type Plan = { readonly axes: readonly number[]; readonly shape: Shape };

function planOf(op: string, x: Tensor, options: ReduceOptions): Plan {
  checkOptions(op, options);
  const { axes, keepDims = false } = options;
  checkFlag(op, "keepDims", keepDims);
  const asked = axes === undefined ? x.shape.map((_, i) => i) : typeof axes === "number" ? [axes] : axes;
  if (!Array.isArray(asked) || asked.length > maxRank) {
    throw invalid(op, "axes", axes, `an axis or an array of at most ${maxRank}`);
  }
  const given = Array.from(asked, (axis) => checkAxis(op, axis, x.rank));
  if (new Set(given).size !== given.length) {
    throw new HunyuanError("INVALID_ARGUMENT", `${op}: axes ${showShape(asked)} name an axis twice`, {
      op,
      argument: "axes",
    });
  }
  const shape = keepDims
    ? x.shape.map((n, i) => (given.includes(i) ? 1 : n))
    : x.shape.filter((_, i) => !given.includes(i));
  return { axes: given, shape };
}

/** There is no largest of nothing. */
function checkNotEmpty(op: string, x: Tensor, { axes }: Plan): void {
  if (countOf(x.shape, axes) > 0) return;
  throw new HunyuanError(
    "INVALID_ARGUMENT",
    `${op}: nothing to compare along axes ${showShape(axes)} of x ${showShape(x.shape)}`,
    {
      op,
      argument: "x",
    },
  );
}

function checkInput(op: string, x: Tensor, allowed: readonly DType[]): void {
  checkTensor(op, "x", x);
  checkDType(op, "x", x, allowed);
}

function reduced<D extends DType>(fn: Fold, x: Tensor, options: ReduceOptions, allowed: readonly DType[]): Tensor<D> {
  checkInput(fn, x, allowed);
  const plan = planOf(fn, x, options);
  if (fn === "max" || fn === "min") checkNotEmpty(fn, x, plan);
  return runOp<{ y: D }>(reduceOp, { x }, { fn, ...plan }).y;
}

/** What `sum` gives: floats keep their type, integers and bools become i64. */
export type SumDType<D extends DType> = D extends "i32" | "i64" | "u8" | "bool" ? "i64" : D;

/**
 * Sum over axes; 0 where nothing is summed. Integers and bools count in i64.
 *
 * @throws INVALID_ARGUMENT for axes outside the shape, DTYPE_UNSUPPORTED
 * @example sum(x, { axes: [0, 1] }) // [B, S, C] gives [C]
 */
export function sum<D extends DType>(x: Tensor<D>, options: ReduceOptions = {}): Tensor<SumDType<D>> {
  return reduced("sum", x, options, [...numericDTypes, "bool"]);
}

/** Mean over axes; NaN where there is nothing. @throws INVALID_ARGUMENT, DTYPE_UNSUPPORTED */
export function mean<D extends FloatDType>(x: Tensor<D>, options: ReduceOptions = {}): Tensor<D> {
  return reduced("mean", x, options, floatDTypes);
}

/**
 * Largest element over axes; NaN where there is one. The gradient goes to the largest elements in equal parts.
 *
 * @throws INVALID_ARGUMENT for axes outside the shape or empty ones, DTYPE_UNSUPPORTED
 */
export function max<D extends NumericDType>(x: Tensor<D>, options: ReduceOptions = {}): Tensor<D> {
  return reduced("max", x, options, numericDTypes);
}

/** Smallest element over axes; see {@link max}. */
export function min<D extends NumericDType>(x: Tensor<D>, options: ReduceOptions = {}): Tensor<D> {
  return reduced("min", x, options, numericDTypes);
}

/** Euclidean norm √Σx² over axes; its gradient at 0 is 0. @throws INVALID_ARGUMENT, DTYPE_UNSUPPORTED */
export function norm<D extends FloatDType>(x: Tensor<D>, options: ReduceOptions = {}): Tensor<D> {
  return reduced("norm", x, options, floatDTypes);
}

export interface VarianceOptions extends ReduceOptions {
  /** Subtracted from the number of elements: 1 (default) for the unbiased estimate, 0 for the biased one. */
  readonly correction?: number;
}

/** Variance over axes: Σ (x − mean)² / (n − correction). @throws INVALID_ARGUMENT, DTYPE_UNSUPPORTED */
export function variance<D extends FloatDType>(x: Tensor<D>, options: VarianceOptions = {}): Tensor<D> {
  checkInput("variance", x, floatDTypes);
  checkOptions("variance", options);
  const { correction = 1 } = options;
  checkNumber("variance", "correction", correction);
  const out = runOp<{ y: D; mean: FloatDType }>(varianceOp, { x }, { correction, ...planOf("variance", x, options) });
  out.mean.dispose();
  return out.y;
}

export interface ArgmaxOptions {
  /** Default: all axes, the index counting through x in order. */
  readonly axis?: number;
  /** Leaves the reduced axis in the result, with size 1. Default false. */
  readonly keepDims?: boolean;
}

/**
 * Index of the first largest element along an axis, as i32; NaN counts as larger than any number.
 *
 * @throws INVALID_ARGUMENT for an axis outside the shape, of no elements or of 2^31 and more
 */
export function argmax(x: Tensor, options: ArgmaxOptions = {}): Tensor<"i32"> {
  checkInput("argmax", x, numericDTypes);
  checkOptions("argmax", options);
  const { axis, keepDims = false } = options;
  const plan = planOf("argmax", x, { keepDims, ...(axis === undefined ? {} : { axes: [axis] }) });
  checkNotEmpty("argmax", x, plan);
  if (countOf(x.shape, plan.axes) > 2 ** 31 - 1) {
    throw new HunyuanError("INVALID_ARGUMENT", `argmax: indices into ${showShape(x.shape)} do not fit i32`, {
      op: "argmax",
      argument: "x",
    });
  }
  return runOp<{ y: "i32" }>(argmaxOp, { x }, plan).y;
}

/**
 * x summed over the axes along which `shape` was broadcast to x's shape: the gradient of broadcasting. x itself when
 * the shapes agree.
 *
 * @throws SHAPE_MISMATCH when `shape` does not broadcast to x's
 */
export function sumTo<D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> {
  checkTensor("sumTo", "x", x);
  checkShape("sumTo", shape);
  if (sameShape(x.shape, shape)) return x;
  const lead = x.rank - shape.length;
  const axes = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
  if (lead < 0 || !shape.every((n, i) => n === 1 || n === x.shape[lead + i])) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `sumTo: ${showShape(shape)} does not broadcast to x ${showShape(x.shape)}`,
      {
        op: "sumTo",
        shapes: [shape, x.shape],
      },
    );
  }
  checkDType("sumTo", "x", x, [...floatDTypes, "i64"]);
  if (sizeOf(shape) === x.size && x.size > 0) return reshape(x, shape);
  return runOp<{ y: D }>(reduceOp, { x }, { fn: "sum", axes, shape }).y;
}
