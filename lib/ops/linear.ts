/** The linear layer with its epilogues, and batched matrix products. Sums are f32 (f64 for f64). */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkOneOf, checkOptions, checkTensor, seen } from "../tensor/check.js";
import { type DType, type FloatDType, floatDTypes, sumDType } from "../tensor/dtype.js";
import type { KernelView } from "../tensor/op.js";
import { broadcastShapes, broadcastStrides, type Shape, sameShape, showShape, sizeOf } from "../tensor/shape.js";
import { recordingOff } from "../tensor/tape.js";
import { Tensor } from "../tensor/tensor.js";
import { biasGradient } from "./bias.js";
import { cast } from "./copy.js";
import { defineOp, one, optional } from "./define.js";
import { checkModulation } from "./modulation.js";
import { gateResidual } from "./norm.js";
import { add } from "./pointwise.js";
import { sumTo } from "./reduce.js";
import { gelu, silu } from "./unary.js";
import { reshape } from "./views.js";

const weightDTypes = [...floatDTypes, "f8e4m3"] as const;
const activations = ["none", "gelu", "geluErf", "silu"] as const;

/** none; the tanh form of gelu; gelu by the error function; silu. */
export type Activation = (typeof activations)[number];

function mismatch(op: string, argument: string, seen: Tensor, expected: string): HunyuanError<"SHAPE_MISMATCH"> {
  return new HunyuanError("SHAPE_MISMATCH", `${op}: ${argument} is ${showShape(seen.shape)}, expected ${expected}`, {
    op,
    argument,
    shapes: [seen.shape],
  });
}

const linearOp = defineOp({
  name: "linear",
  doc: "y = residual + gate · act(x Wᵀ + bias), W [N, K] times weightScale; residual, gate, bias and scale may be missing",
  inputs: {
    x: one({ layout: "rows" }),
    weight: one({ dtypes: weightDTypes, layout: "rows" }),
    bias: optional(),
    weightScale: optional({ dtypes: ["f32"] }),
    residual: optional({ layout: "rows" }),
    gate: optional({ layout: "rows" }),
  },
  attrs: { activation: activations },
  outputs: ["y"],
  shape({ x, weight, bias, weightScale, residual, gate }) {
    const inner = x.shape.at(-1);
    const [n = 0, k] = weight.shape;
    if (inner === undefined || weight.rank !== 2 || k !== inner) {
      throw mismatch("linear", "weight", weight, `[N, ${inner ?? "K"}] (last axis of x ${showShape(x.shape)})`);
    }
    if (bias !== undefined && !sameShape(bias.shape, [n])) {
      throw mismatch("linear", "bias", bias, `[${n}] (rows of weight ${showShape(weight.shape)})`);
    }
    if (weightScale !== undefined && !(weightScale.rank <= 1 && (weightScale.size === 1 || weightScale.size === n))) {
      throw mismatch("linear", "weightScale", weightScale, `[1] or [${n}] (rows of weight ${showShape(weight.shape)})`);
    }
    const shape = [...x.shape.slice(0, -1), n];
    if (residual !== undefined && !sameShape(residual.shape, shape)) {
      throw mismatch("linear", "residual", residual, `the result's ${showShape(shape)}`);
    }
    checkModulation("linear", "gate", gate, shape);
    return { y: { dtype: x.dtype, shape } };
  },
  // Recorded without epilogues only: linear() composes those of other ops.
  savesFor: (_, needs) => [
    ...(needs.weight ? (["x"] as const) : []),
    ...(needs.x ? (["weight"] as const) : []),
    "weightScale",
  ],
  vjp({ saved, specs, given, needs, grads }) {
    if (grads.y === undefined) return {};
    const weightScale = given.weightScale ? saved.weightScale : undefined;
    const dy = grads.y;
    const x = needs.x ? linearBackwardInput(dy, saved.weight, weightScale, specs.x.dtype) : undefined;
    const weight = needs.weight ? linearBackwardWeight(dy, saved.x, weightScale) : undefined;
    const bias = needs.bias ? biasGradient(dy) : undefined;
    return { x, weight, bias };
  },
  cost({ x, weight }) {
    const [n = 0, k = 0] = weight.shape;
    const rows = k === 0 ? 0 : x.size / k;
    return { bytes: x.bytes + weight.bytes + (x.bytes / Math.max(1, k)) * n, flops: 2 * rows * n * k };
  },
});

const linearBackwardInputOp = defineOp({
  name: "linear_backward_input",
  doc: "dx = (dy · weightScale) W",
  inputs: {
    dy: one({ layout: "rows" }),
    weight: one({ dtypes: weightDTypes, layout: "rows" }),
    weightScale: optional({ dtypes: ["f32"] }),
  },
  attrs: { dtype: floatDTypes },
  outputs: ["dx"],
  shape: ({ dy, weight }, { dtype }) => ({
    dx: { dtype, shape: [...dy.shape.slice(0, -1), weight.shape[1] as number] },
  }),
  cost: ({ dy, weight }) => ({ bytes: dy.bytes + weight.bytes, flops: 2 * dy.size * (weight.shape[1] ?? 0) }),
});

function linearBackwardInput(dy: Tensor, weight: Tensor, weightScale: Tensor | undefined, dtype: DType): Tensor {
  return runOp<{ dx: DType }>(linearBackwardInputOp, { dy, weight, weightScale }, { dtype }).dx;
}

const linearBackwardWeightOp = defineOp({
  name: "linear_backward_weight",
  doc: "dW = (dy · weightScale)ᵀ x, summed over all rows in f32",
  inputs: {
    dy: one({ layout: "rows" }),
    x: one({ layout: "rows" }),
    weightScale: optional({ dtypes: ["f32"] }),
  },
  attrs: {},
  outputs: ["dweight"],
  shape: ({ dy, x }) => ({
    dweight: { dtype: sumDType(dy), shape: [dy.shape.at(-1) as number, x.shape.at(-1) as number] },
  }),
  cost: ({ dy, x }) => ({ bytes: dy.bytes + x.bytes, flops: 2 * dy.size * (x.shape.at(-1) ?? 0) }),
});

function linearBackwardWeight(dy: Tensor, x: Tensor, weightScale: Tensor | undefined): Tensor {
  return runOp<{ dweight: DType }>(linearBackwardWeightOp, { dy, x, weightScale }, {}).dweight;
}

export interface LinearOptions<D extends FloatDType = FloatDType> {
  /** [N] */
  readonly bias?: Tensor | undefined;
  /** Factors of the weight, f32: [1] for all of it, or [N] for each row. For f8e4m3 weights; takes no gradient. */
  readonly weightScale?: Tensor<"f32"> | undefined;
  /** Applied to x Wᵀ + b. Default "none". */
  readonly activation?: Activation;
  /** [..., N]: added at the end. */
  readonly residual?: Tensor<D> | undefined;
  /** With residual only. [B, N], [B, 1, N] or [B, S, N] for a result [B, S, N]. */
  readonly gate?: Tensor | undefined;
  /** Writes the result into this tensor (a view of a concatenation, say); not while gradients are recorded. */
  readonly into?: Tensor<D>;
}

/**
 * The linear layer with its epilogue in one pass: residual + gate · activation(x Wᵀ + b). Sums and epilogue are f32 (f64
 * for f64) and rounded once. While gradients are recorded, activation, gate and residual are ops of their own.
 *
 * @param x [..., K], any strides of the outer axes
 * @param weight [N, K], of any float type, also f8e4m3 with weightScale
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT for a gate without residual, GRADIENT_UNAVAILABLE for `into`
 * where gradients are recorded
 * @example linear(attn, projWeight, { bias: projBias, residual: img, gate: gate1 })
 */
export function linear<D extends FloatDType>(x: Tensor<D>, weight: Tensor, options: LinearOptions<D> = {}): Tensor<D> {
  checkOptions("linear", options);
  const { bias, weightScale, activation = "none", residual, gate, into } = options;
  checkOneOf("linear", "activation", activation, activations);
  if (gate !== undefined && residual === undefined) {
    throw new HunyuanError("INVALID_ARGUMENT", "linear: gate is given without residual; multiply the result instead", {
      op: "linear",
      argument: "gate",
    });
  }
  const inputs = { x, weight, bias, weightScale, residual, gate };
  const recorded = !recordingOff() && Object.values(inputs).some((tensor) => tensor?.requiresGrad);
  if (!recorded || into !== undefined) {
    return runOp<{ y: D }>(linearOp, inputs, { activation }, into === undefined ? {} : { into: { y: into } }).y;
  }
  if (residual !== undefined) checkTensor("linear", "residual", residual);
  const plain = { x, weight, bias, weightScale, residual: undefined, gate: undefined };
  const y = activated(runOp<{ y: D }>(linearOp, plain, { activation: "none" }).y, activation);
  if (residual === undefined) return y;
  if (gate !== undefined) return gateResidual(residual, y, gate);
  if (!sameShape(residual.shape, y.shape))
    throw mismatch("linear", "residual", residual, `the result's ${showShape(y.shape)}`);
  return add(residual, y);
}

/**
 * The activation by its name.
 *
 * @internal
 */
export function activated<D extends FloatDType>(y: Tensor<D>, activation: Activation): Tensor<D> {
  if (activation === "none") return y;
  return activation === "silu" ? silu(y) : gelu(y, { approximate: activation === "gelu" ? "tanh" : "none" });
}

// --- matmul -------------------------------------------------------------------------------------------------------------

const matmulOp = defineOp({
  name: "matmul",
  doc: "c = a b for each matrix of a batch, each of a and b as stored or transposed; batch axes broadcast",
  inputs: { a: one({ layout: "rows" }), b: one({ layout: "rows" }) },
  attrs: { transposeA: "bool", transposeB: "bool", dtype: floatDTypes },
  outputs: ["c"],
  shape({ a, b }, { transposeA, transposeB, dtype }) {
    return { c: { dtype, shape: productShape(a, b, transposeA, transposeB) } };
  },
  saves: ["a", "b"],
  vjp({ saved: { a, b }, grads: { c: dc }, needs, attrs: { transposeA, transposeB } }) {
    if (dc === undefined) return {};
    return {
      a: needs.a ? gradientOfA(dc, a, b, transposeA, transposeB) : undefined,
      b: needs.b ? gradientOfB(dc, a, b, transposeA, transposeB) : undefined,
    };
  },
  cost({ a, b }, { transposeA, transposeB }) {
    const shape = productShape(a, b, transposeA, transposeB);
    const inner = a.shape[a.rank - (transposeA ? 2 : 1)] ?? 0;
    return { bytes: a.bytes + b.bytes, flops: 2 * sizeOf(shape) * inner };
  },
});

function productShape(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Shape {
  if (a.rank < 2) throw mismatch("matmul", "a", a, "at least two axes");
  if (b.rank < 2) throw mismatch("matmul", "b", b, "at least two axes");
  const [m, k] = lastTwo(a, transposeA);
  const [inner, n] = lastTwo(b, transposeB);
  if (inner !== k) {
    const [first, second] = transposeB ? ["N", `${k}`] : [`${k}`, "N"];
    throw mismatch(
      "matmul",
      "b",
      b,
      `[..., ${first}, ${second}] for a ${showShape(a.shape)}${transposeA ? " transposed" : ""}`,
    );
  }
  return [...broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n];
}

/** Rows and columns as the product sees them. */
function lastTwo(t: Tensor, transposed: boolean): readonly [number, number] {
  const [rows = 0, columns = 0] = t.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}

/** Both walked with the product's batch axes, repeating where they have none. What is no matrix is left to the op to refuse. */
function batchedViews(a: unknown, b: unknown): { readonly [name: string]: KernelView } {
  if (!(a instanceof Tensor && b instanceof Tensor) || a.rank < 2 || b.rank < 2) return {};
  const batch = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const walked = (t: Tensor) => {
    const shape = [...batch, ...t.shape.slice(-2)];
    return { shape, strides: broadcastStrides(t.shape, t.strides, shape), offset: t.offset };
  };
  return { a: walked(a), b: walked(b) };
}

function product<D extends FloatDType>(
  a: Tensor,
  b: Tensor,
  transposeA: boolean,
  transposeB: boolean,
  dtype: D,
): Tensor<D> {
  return runOp<{ c: D }>(matmulOp, { a, b }, { transposeA, transposeB, dtype }, { views: batchedViews(a, b) }).c;
}

/** For A' = A or Aᵀ as the product sees it, dA' = dC B'ᵀ; written so that the result comes out as A is stored. */
function gradientOfA(dc: Tensor, a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  const sums = sumType(dc, a);
  const da = transposeA ? product(b, dc, transposeB, true, sums) : product(dc, b, false, !transposeB, sums);
  return cast(sumTo(da, a.shape), a.dtype);
}

/** dB' = A'ᵀ dC. */
function gradientOfB(dc: Tensor, a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  // One B for all matrices: its gradient is one product over all their rows, not a sum of products.
  if (sizeOf(b.shape.slice(0, -2)) === 1 && !transposeA && a.rank > 2) {
    const [k, n] = lastTwo(b, transposeB);
    const rows = sizeOf(a.shape.slice(0, -1));
    const [flatA, flatDc] = [reshape(a, [rows, k]), reshape(dc, [rows, n])];
    const db = transposeB
      ? product(flatDc, flatA, true, false, sumDType(b))
      : product(flatA, flatDc, true, false, sumDType(b));
    return reshape(db, b.shape);
  }
  const sums = sumType(dc, b);
  const db = transposeB ? product(dc, a, true, transposeA, sums) : product(a, dc, !transposeA, false, sums);
  return cast(sumTo(db, b.shape), b.dtype);
}

/** A gradient that is still to be summed over batch axes stays in the type of sums until then. */
function sumType(dc: Tensor, operand: Tensor): FloatDType {
  return sameShape(dc.shape.slice(0, -2), operand.shape.slice(0, -2)) ? floatDTypeOf(operand) : sumDType(operand);
}

const floatDTypeOf = (t: Tensor | undefined): FloatDType => floatDTypes.find((name) => name === t?.dtype) ?? "f32";

export interface MatmulOptions<D extends FloatDType = FloatDType> {
  /** a is stored [..., K, M]. Default false. */
  readonly transposeA?: boolean;
  /** b is stored [..., N, K]. Default false. */
  readonly transposeB?: boolean;
  /** Type of the result. Default a's. */
  readonly dtype?: D;
}

/**
 * Matrix product over the last two axes, [..., M, K] × [..., K, N] → [..., M, N]; the axes before broadcast (NumPy's
 * rule). Sums are f32 (f64 where a is f64).
 *
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED
 * @example matmul(q, k, { transposeB: true }) // [B, S, D] × [B, T, D] → [B, S, T]
 */
export function matmul<D extends FloatDType>(a: Tensor<D>, b: Tensor, options?: MatmulOptions<D>): Tensor<D>;
export function matmul<D extends FloatDType>(
  a: Tensor<FloatDType>,
  b: Tensor,
  options: MatmulOptions<D> & { readonly dtype: D },
): Tensor<D>;
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  checkOptions("matmul", options);
  const { transposeA = false, transposeB = false, dtype = floatDTypeOf(a) } = options;
  if (!floatDTypes.includes(dtype)) {
    throw new HunyuanError("DTYPE_UNSUPPORTED", `matmul: dtype is ${seen(dtype)}, expected ${floatDTypes.join(", ")}`, {
      op: "matmul",
      argument: "dtype",
      dtype: seen(dtype),
    });
  }
  return product(a, b, transposeA, transposeB, dtype);
}
