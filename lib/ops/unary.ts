/** Functions of one element: arithmetic, transcendental functions, activations. Computed in f32 (f64 for f64). */
import { runOp } from "../tensor/apply.js";
import { checkDType, checkNumber, checkOneOf, checkOptions, checkTensor, invalid } from "../tensor/check.js";
import {
  type DType,
  type FloatDType,
  floatDTypes,
  isFloat,
  type NumericDType,
  numericDTypes,
} from "../tensor/dtype.js";
import { sizeOf } from "../tensor/shape.js";
import { Tensor } from "../tensor/tensor.js";
import { cast } from "./copy.js";
import { defineOp, one } from "./define.js";

/** Functions whose gradient is computed from their result; it is often kept by the op after them anyway. */
const fromResult = ["sqrt", "rsqrt", "exp", "tanh", "sigmoid", "relu"] as const;
const fromInput = [
  "abs",
  "square",
  "log",
  "sin",
  "cos",
  "silu",
  "gelu",
  "geluTanh",
  "quickGelu",
  "leakyRelu",
  "clamp",
] as const;
const functions = ["neg", ...fromResult, ...fromInput] as const;
type UnaryFunction = (typeof functions)[number];

const usesResult = (fn: UnaryFunction) => fromResult.some((name) => name === fn);
const parameters = { slope: "f64", low: "f64", high: "f64" } as const;

const unaryOp = defineOp({
  name: "unary",
  doc: "y = fn(x), element by element; `slope` is leakyRelu's, `low` and `high` are clamp's",
  inputs: { x: one({ dtypes: numericDTypes, layout: "rows" }) },
  attrs: { fn: functions, ...parameters },
  outputs: ["y"],
  shape: ({ x: { dtype, shape } }) => ({ y: { dtype, shape } }),
  savesFor: ({ fn }) => (fn === "neg" ? [] : usesResult(fn) ? ["y"] : ["x"]),
  vjp({ grads, saved, specs, attrs: { fn, ...rest } }) {
    if (grads.y === undefined) return {};
    const dy = cast(grads.y, specs.x.dtype);
    if (fn === "neg") return { x: applied("neg", dy, numericDTypes) };
    const v = usesResult(fn) ? saved.y : saved.x;
    return { x: runOp<{ dx: DType }>(unaryBackwardOp, { dy, v }, { fn, ...rest }).dx };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: sizeOf(x.shape) }),
});

const unaryBackwardOp = defineOp({
  name: "unary_backward",
  doc: "gradient of unary for x; v is the function's result for sqrt, rsqrt, exp, tanh, sigmoid and relu, else x",
  inputs: { dy: one({ layout: "rows" }), v: one({ layout: "rows" }) },
  attrs: { fn: [...fromResult, ...fromInput], ...parameters },
  outputs: ["dx"],
  shape: ({ v: { dtype, shape } }) => ({ dx: { dtype, shape } }),
  cost: ({ v }) => ({ bytes: 3 * v.bytes, flops: 4 * sizeOf(v.shape) }),
});

interface Parameters {
  readonly slope?: number;
  readonly low?: number;
  readonly high?: number;
}

function applied<D extends DType>(
  fn: UnaryFunction,
  x: Tensor<D>,
  allowed: readonly DType[] = floatDTypes,
  { slope = 0, low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY }: Parameters = {},
): Tensor<D> {
  if (!(x instanceof Tensor)) throw invalid(fn, "x", x, "a tensor");
  checkDType(fn, "x", x, allowed);
  return runOp<{ y: D }>(unaryOp, { x }, { fn, slope, low, high }).y;
}

/** −x; integers wrap around. @throws DTYPE_UNSUPPORTED, as all functions here */
export function neg<D extends NumericDType>(x: Tensor<D>): Tensor<D> {
  return applied("neg", x, numericDTypes);
}

/** |x|; its gradient at 0 is 0. */
export function abs<D extends NumericDType>(x: Tensor<D>): Tensor<D> {
  return applied("abs", x, numericDTypes);
}

/** x². */
export function square<D extends NumericDType>(x: Tensor<D>): Tensor<D> {
  return applied("square", x, numericDTypes);
}

/** √x; NaN below 0. */
export function sqrt<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("sqrt", x);
}

/** 1 / √x. */
export function rsqrt<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("rsqrt", x);
}

/** eˣ. */
export function exp<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("exp", x);
}

/** Natural logarithm: −inf at 0, NaN below. */
export function log<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("log", x);
}

/** Sine of x in radians, exact for arguments of any size. */
export function sin<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("sin", x);
}

/** Cosine of x in radians, exact for arguments of any size. */
export function cos<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("cos", x);
}

/** Hyperbolic tangent. */
export function tanh<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("tanh", x);
}

/** 1 / (1 + e⁻ˣ). */
export function sigmoid<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("sigmoid", x);
}

/** x · sigmoid(x), also called swish. */
export function silu<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("silu", x);
}

const approximations = ["tanh", "none"];

export interface GeluOptions {
  /** "tanh": the approximation that HunyuanVideo's transformer was trained with. Default "none": by the error function. */
  readonly approximate?: "tanh" | "none";
}

/**
 * x · Φ(x), Φ the normal distribution (Hendrycks and Gimpel, 2016).
 *
 * @throws INVALID_ARGUMENT, DTYPE_UNSUPPORTED
 * @example gelu(x, { approximate: "tanh" })
 */
export function gelu<D extends FloatDType>(x: Tensor<D>, options: GeluOptions = {}): Tensor<D> {
  checkOptions("gelu", options);
  const { approximate = "none" } = options;
  checkOneOf("gelu", "approximate", approximate, approximations);
  return applied(approximate === "tanh" ? "geluTanh" : "gelu", x);
}

/** x · sigmoid(1.702 x): CLIP's activation. */
export function quickGelu<D extends FloatDType>(x: Tensor<D>): Tensor<D> {
  return applied("quickGelu", x);
}

/** max(x, 0). */
export function relu<D extends NumericDType>(x: Tensor<D>): Tensor<D> {
  return applied("relu", x, numericDTypes);
}

/** x above 0, slope · x below (default 0.01). */
export function leakyRelu<D extends FloatDType>(x: Tensor<D>, options: { readonly slope?: number } = {}): Tensor<D> {
  checkOptions("leakyRelu", options);
  const { slope = 0.01 } = options;
  checkNumber("leakyRelu", "slope", slope);
  return applied("leakyRelu", x, floatDTypes, { slope });
}

export interface ClampOptions {
  /** Default −∞. */
  readonly min?: number;
  /** Default ∞. */
  readonly max?: number;
}

/**
 * x where it lies between min and max, else the nearer of them (max where min > max). The gradient is 0 outside.
 *
 * @throws DTYPE_UNSUPPORTED, INVALID_ARGUMENT for bounds that are no numbers, or fractions for integers
 * @example clamp(video, { min: -1, max: 1 })
 */
export function clamp<D extends NumericDType>(x: Tensor<D>, options: ClampOptions): Tensor<D> {
  checkTensor("clamp", "x", x);
  checkOptions("clamp", options);
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = options;
  for (const [argument, bound] of Object.entries({ min, max })) {
    const whole =
      Number.isSafeInteger(bound) || bound === Number.NEGATIVE_INFINITY || bound === Number.POSITIVE_INFINITY;
    if (typeof bound === "number" && !Number.isNaN(bound) && (isFloat(x.dtype) || whole)) continue;
    throw invalid("clamp", argument, bound, `a ${isFloat(x.dtype) ? "number" : "whole number"}, as x is ${x.dtype}`);
  }
  return applied("clamp", x, numericDTypes, { low: min, high: max });
}
