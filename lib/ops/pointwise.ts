/**
 * Arithmetic, comparison and selection with broadcasting (NumPy's rule), of tensors with tensors and with numbers.
 * Types are not promoted: both tensors have the same one, and a number takes it.
 */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { type DType, dtypes, isFloat, numericDTypes } from "../tensor/dtype.js";
import type { KernelView } from "../tensor/op.js";
import { broadcastShapes, broadcastStrides, type Shape, sameShape, sizeOf } from "../tensor/shape.js";
import { Tensor } from "../tensor/tensor.js";
import { cast } from "./copy.js";
import { defineOp, one, optional } from "./define.js";
import { sumTo } from "./reduce.js";

const arithmetic = ["add", "sub", "mul", "div", "minimum", "maximum"] as const;
type Arithmetic = (typeof arithmetic)[number];

/** The one of the operands that is a tensor: it gives the result its type. */
function typeOf(...operands: readonly (Tensor | undefined)[]): DType {
  return operands.find((operand) => operand !== undefined)?.dtype ?? "f32";
}

function shapeOf(op: string, ...operands: readonly (Tensor | undefined)[]): Shape {
  let shape: Shape | undefined;
  for (const operand of operands) {
    if (operand !== undefined) shape = shape === undefined ? operand.shape : broadcastShapes(op, shape, operand.shape);
  }
  return shape ?? [];
}

const binaryOp = defineOp({
  name: "binary",
  doc: "y = fn(a, b) with broadcasting; `scalar` stands for the operand that is not given",
  inputs: {
    a: optional({ dtypes: numericDTypes, layout: "rows" }),
    b: optional({ dtypes: numericDTypes, layout: "rows" }),
  },
  attrs: { fn: arithmetic, scalar: "f64" },
  outputs: ["y"],
  shape: ({ a, b }, { fn }) => ({ y: { dtype: typeOf(a, b), shape: shapeOf(fn, a, b) } }),
  savesFor({ fn }, needs) {
    if (fn === "add" || fn === "sub") return [];
    if (fn === "mul" || (fn === "div" && !needs.b))
      return [...(needs.b ? ["a" as const] : []), ...(needs.a ? ["b" as const] : [])];
    return ["a", "b"];
  },
  vjp({ grads, saved, given, specs, attrs, needs }) {
    if (grads.y === undefined) return {};
    const { fn, scalar } = attrs;
    const dy = cast(grads.y, (given.a ? specs.a : specs.b).dtype);
    const full: { a?: Tensor | undefined; b?: Tensor | undefined } = {};
    if (fn === "add" || fn === "sub") {
      if (needs.a) full.a = dy;
      if (needs.b && fn === "add") full.b = dy;
    } else if (fn === "mul" || (fn === "div" && !needs.b)) {
      if (needs.a) full.a = applied(fn, dy, given.b ? saved.b : scalar);
      if (needs.b) full.b = applied("mul", dy, given.a ? saved.a : scalar);
    } else {
      const a = given.a ? saved.a : undefined;
      const b = given.b ? saved.b : undefined;
      const out = runOp<{ da: DType; db: DType }>(
        binaryBackwardOp,
        { dy, a, b },
        { fn, scalar, wantA: needs.a, wantB: needs.b },
        { views: walkedAs(dy.shape, { a, b }) },
      );
      if (needs.a) full.a = out.da;
      if (needs.b) full.b = out.db;
    }
    // The smaller sum is negated, not the larger gradient.
    const minus = fn === "sub" && needs.b ? applied("mul", sumTo(dy, specs.b.shape), -1) : undefined;
    return {
      a: full.a && sumTo(full.a, specs.a.shape),
      b: minus ?? (full.b && sumTo(full.b, specs.b.shape)),
    };
  },
  cost({ a, b }) {
    const size = sizeOf(shapeOf("binary", a, b));
    const { blockBytes } = dtypes[typeOf(a, b)];
    return { bytes: (a?.bytes ?? 0) + (b?.bytes ?? 0) + size * blockBytes, flops: size };
  },
});

const binaryBackwardOp = defineOp({
  name: "binary_backward",
  doc: "gradients of binary at the broadcast shape, for the functions whose gradient is not arithmetic itself",
  inputs: { dy: one({ layout: "rows" }), a: optional({ layout: "rows" }), b: optional({ layout: "rows" }) },
  attrs: { fn: ["div", "minimum", "maximum"], scalar: "f64", wantA: "bool", wantB: "bool" },
  outputs: ["da", "db"],
  shape: ({ dy: { dtype, shape } }, { wantA, wantB }) => ({
    da: wantA ? { dtype, shape } : undefined,
    db: wantB ? { dtype, shape } : undefined,
  }),
  cost: ({ dy, a, b }, { wantA, wantB }) => ({
    bytes: dy.bytes * (1 + Number(wantA) + Number(wantB)) + (a?.bytes ?? 0) + (b?.bytes ?? 0),
    flops: 4 * sizeOf(dy.shape),
  }),
});

/** How the kernel walks operands of other shapes: as if they had `shape`, by strides of 0 where they repeat. */
function walkedAs(
  shape: Shape,
  operands: { readonly [name: string]: Tensor | undefined },
): { readonly [name: string]: KernelView } {
  const views: { [name: string]: KernelView } = {};
  for (const [name, tensor] of Object.entries(operands)) {
    if (tensor === undefined || sameShape(tensor.shape, shape)) continue;
    views[name] = { shape, strides: broadcastStrides(tensor.shape, tensor.strides, shape), offset: tensor.offset };
  }
  return views;
}

/** Throws unless the operands are tensors and numbers, one tensor at least, all tensors of one type that takes the numbers. */
function checkOperands(op: string, operands: { readonly [name: string]: unknown }, allowed: readonly DType[]): DType {
  let dtype: DType | undefined;
  for (const [name, operand] of Object.entries(operands)) {
    if (!(operand instanceof Tensor)) {
      if (typeof operand === "number") continue;
      throw refused(
        op,
        name,
        `${name} must be a tensor or a number, got ${operand === null ? "null" : typeof operand}`,
      );
    }
    if (!allowed.includes(operand.dtype) || (dtype !== undefined && operand.dtype !== dtype)) {
      throw new HunyuanError(
        "DTYPE_UNSUPPORTED",
        `${op}: ${name} is ${operand.dtype}, expected ${dtype === undefined ? allowed.join(", ") : `${dtype} like the operand before (cast one of them)`}`,
        { op, argument: name, dtype: operand.dtype },
      );
    }
    dtype = operand.dtype;
  }
  const names = Object.keys(operands);
  if (dtype === undefined) throw refused(op, names[0] as string, `one of ${names.join(" and ")} must be a tensor`);
  for (const [name, operand] of Object.entries(operands)) {
    if (typeof operand === "number" && !isFloat(dtype) && dtype !== "f8e4m3" && !Number.isSafeInteger(operand)) {
      throw refused(op, name, `${name} is ${operand}, expected a whole number for ${dtype}`);
    }
  }
  return dtype;
}

function refused(op: string, argument: string, message: string): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `${op}: ${message}`, { op, argument });
}

const asTensor = (operand: Tensor | number) => (typeof operand === "number" ? undefined : operand);
const asNumber = (a: Tensor | number, b: Tensor | number) =>
  typeof a === "number" ? a : typeof b === "number" ? b : 0;
const floatOnly: readonly DType[] = numericDTypes.filter(isFloat);

function applied<D extends DType>(fn: Arithmetic, left: Tensor<D> | number, right: Tensor<D> | number): Tensor<D> {
  checkOperands(fn, { a: left, b: right }, fn === "div" ? floatOnly : numericDTypes);
  const a = asTensor(left);
  const b = asTensor(right);
  const views = walkedAs(shapeOf(fn, a, b), { a, b });
  return runOp<{ y: D }>(binaryOp, { a, b }, { fn, scalar: asNumber(left, right) }, { views }).y;
}

/**
 * a + b. Shapes broadcast; integers wrap around. One side may be a number.
 *
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT, as for all functions here
 * @example add(x, bias) // x [B, S, C], bias [C]
 */
export function add<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function add<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function add(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("add", a, b);
}

/** a − b; see {@link add}. */
export function sub<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function sub<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function sub(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("sub", a, b);
}

/** a · b, element by element; see {@link add}. */
export function mul<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function mul<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function mul(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("mul", a, b);
}

/** a / b of floats; division by zero gives ±inf or NaN. See {@link add}. */
export function div<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function div<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function div(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("div", a, b);
}

/** The smaller of a and b; NaN where either is NaN. The gradient is halved between equal elements. See {@link add}. */
export function minimum<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function minimum<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function minimum(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("minimum", a, b);
}

/** The larger of a and b; NaN where either is NaN. The gradient is halved between equal elements. See {@link add}. */
export function maximum<D extends DType>(a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function maximum<D extends DType>(a: number, b: Tensor<D>): Tensor<D>;
export function maximum(a: Tensor | number, b: Tensor | number): Tensor {
  return applied("maximum", a, b);
}

const comparisons = ["equal", "notEqual", "less", "lessEqual", "greater", "greaterEqual"] as const;
type Comparison = (typeof comparisons)[number];

const compareOp = defineOp({
  name: "compare",
  doc: "y = fn(a, b) as bool, with broadcasting; `scalar` stands for the operand that is not given",
  inputs: {
    a: optional({ dtypes: [...numericDTypes, "bool"], layout: "rows" }),
    b: optional({ dtypes: [...numericDTypes, "bool"], layout: "rows" }),
  },
  attrs: { fn: comparisons, scalar: "f64" },
  outputs: ["y"],
  shape: ({ a, b }, { fn }) => ({ y: { dtype: "bool", shape: shapeOf(fn, a, b) } }),
  cost({ a, b }) {
    const size = sizeOf(shapeOf("compare", a, b));
    return { bytes: (a?.bytes ?? 0) + (b?.bytes ?? 0) + size, flops: size };
  },
});

function compared(fn: Comparison, left: Tensor | number, right: Tensor | number): Tensor<"bool"> {
  checkOperands(fn, { a: left, b: right }, [...numericDTypes, "bool"]);
  const a = asTensor(left);
  const b = asTensor(right);
  const views = walkedAs(shapeOf(fn, a, b), { a, b });
  return runOp<{ y: "bool" }>(compareOp, { a, b }, { fn, scalar: asNumber(left, right) }, { views }).y;
}

/** a = b, element by element, as bool; NaN equals nothing. Shapes broadcast; one side may be a number. */
export function equal(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("equal", a, b);
}

/** a ≠ b; see {@link equal}. */
export function notEqual(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("notEqual", a, b);
}

/** a < b; see {@link equal}. */
export function less(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("less", a, b);
}

/** a ≤ b; see {@link equal}. */
export function lessEqual(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("lessEqual", a, b);
}

/** a > b; see {@link equal}. */
export function greater(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("greater", a, b);
}

/** a ≥ b; see {@link equal}. */
export function greaterEqual(a: Tensor | number, b: Tensor | number): Tensor<"bool"> {
  return compared("greaterEqual", a, b);
}

const whereOp = defineOp({
  name: "where",
  doc: "y = a where cond, else b, with broadcasting; `scalar` stands for the one of a and b that is not given",
  inputs: {
    cond: one({ dtypes: ["bool"], layout: "rows" }),
    a: optional({ dtypes: [...numericDTypes, "bool"], layout: "rows" }),
    b: optional({ dtypes: [...numericDTypes, "bool"], layout: "rows" }),
  },
  attrs: { scalar: "f64" },
  outputs: ["y"],
  shape: ({ cond, a, b }) => ({ y: { dtype: typeOf(a, b), shape: shapeOf("where", cond, a, b) } }),
  saves: ["cond"],
  vjp({ grads, saved, given, specs, needs }) {
    if (grads.y === undefined) return {};
    const dy = cast(grads.y, (given.a ? specs.a : specs.b).dtype);
    return {
      a: needs.a ? sumTo(where(saved.cond, dy, 0), specs.a.shape) : undefined,
      b: needs.b ? sumTo(where(saved.cond, 0, dy), specs.b.shape) : undefined,
    };
  },
  cost({ cond, a, b }) {
    const size = sizeOf(shapeOf("where", cond, a, b));
    const bytes = size * dtypes[typeOf(a, b)].blockBytes;
    return { bytes: cond.bytes + (a?.bytes ?? 0) + (b?.bytes ?? 0) + bytes, flops: 0 };
  },
});

/**
 * a where cond is true, b elsewhere. All three broadcast; one of a and b may be a number.
 *
 * @param cond bool
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT
 * @example where(greater(x, 0), x, 0)
 */
export function where<D extends DType>(cond: Tensor, a: Tensor<D>, b: Tensor<NoInfer<D>> | number): Tensor<D>;
export function where<D extends DType>(cond: Tensor, a: number, b: Tensor<D>): Tensor<D>;
export function where(cond: Tensor, left: Tensor | number, right: Tensor | number): Tensor {
  checkOperands("where", { a: left, b: right }, [...numericDTypes, "bool"]);
  const a = asTensor(left);
  const b = asTensor(right);
  // A cond that is no tensor is left for runOp to refuse.
  const views = cond instanceof Tensor ? walkedAs(shapeOf("where", cond, a, b), { cond, a, b }) : {};
  return runOp<{ y: DType }>(whereOp, { cond, a, b }, { scalar: asNumber(left, right) }, { views }).y;
}
