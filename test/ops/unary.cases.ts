import { grad, requiresGrad } from "../../lib/autograd/backward.js";
import * as unary from "../../lib/ops/unary.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, type InputRecipe, type OpCase, opCase } from "./case.js";

/** Φ(x): near 0 by erf's series of positive terms, in the tails by erfc's continued fraction. Exact to a few ulp. */
function normalCdf(x: number): number {
  const z = Math.abs(x) * Math.SQRT1_2;
  if (z > 27) return x > 0 ? 1 : 0;
  if (z < 1.5) {
    let [term, sum] = [z, z];
    for (let n = 1; term > 1e-18 * sum; n++) sum += term *= (2 * z * z) / (2 * n + 1);
    const half = (Math.exp(-z * z) * sum) / Math.sqrt(Math.PI);
    return x > 0 ? 0.5 + half : 0.5 - half;
  }
  let fraction = z;
  for (let n = 120; n > 0; n--) fraction = z + n / 2 / fraction;
  const tail = Math.exp(-z * z) / (2 * Math.sqrt(Math.PI) * fraction);
  return x > 0 ? 1 - tail : tail;
}
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const gelu = (x: number) => x * normalCdf(x);
const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

interface Case {
  readonly name: string;
  readonly run: (x: AnyTensor) => Tensor;
  readonly plain: (x: number) => number;
  /** Where the function has no kink at 0 it may have all arguments. */
  readonly from: "positive" | "off zero" | "all";
  /**
   * Of a value alone, which has no larger gradient beside it: backward reads y, and where little is left of 1 − y its
   * rounding is so many of the gradient's.
   */
  readonly lone?: number;
  readonly slack?: number;
}

const functions: readonly Case[] = [
  { name: "neg", run: unary.neg, plain: (x) => -x, from: "all" },
  { name: "abs", run: unary.abs, plain: Math.abs, from: "off zero" },
  { name: "square", run: unary.square, plain: (x) => x * x, from: "all" },
  { name: "sqrt", run: unary.sqrt, plain: Math.sqrt, from: "positive" },
  { name: "rsqrt", run: unary.rsqrt, plain: (x) => 1 / Math.sqrt(x), from: "positive" },
  { name: "exp", run: unary.exp, plain: Math.exp, from: "all" },
  { name: "log", run: unary.log, plain: Math.log, from: "positive" },
  { name: "sin", run: unary.sin, plain: Math.sin, from: "all" },
  { name: "cos", run: unary.cos, plain: Math.cos, from: "all" },
  { name: "tanh", run: unary.tanh, plain: Math.tanh, from: "all" },
  // y / (1 − y) = eˣ, and no x is above 4.
  { name: "sigmoid", run: unary.sigmoid, plain: sigmoid, from: "all", lone: Math.exp(4) },
  { name: "silu", run: unary.silu, plain: (x) => x * sigmoid(x), from: "all" },
  { name: "gelu", run: unary.gelu, plain: gelu, from: "all" },
  { name: "gelu tanh", run: (x) => unary.gelu(x, { approximate: "tanh" }), plain: geluTanh, from: "all" },
  { name: "quickGelu", run: unary.quickGelu, plain: (x) => x * sigmoid(1.702 * x), from: "all" },
  { name: "relu", run: unary.relu, plain: (x) => Math.max(x, 0), from: "off zero" },
  { name: "leakyRelu", run: unary.leakyRelu, plain: (x) => (x > 0 ? x : 0.01 * x), from: "off zero" },
  {
    name: "leakyRelu with a slope",
    run: (x) => unary.leakyRelu(x, { slope: -0.5 }),
    plain: (x) => (x > 0 ? x : -0.5 * x),
    from: "off zero",
  },
  {
    name: "clamp",
    run: (x) => unary.clamp(x, { min: -1.03, max: 1.51 }),
    plain: (x) => Math.min(Math.max(x, -1.03), 1.51),
    from: "off zero",
  },
  { name: "clamp above", run: (x) => unary.clamp(x, { max: 0.02 }), plain: (x) => Math.min(x, 0.02), from: "off zero" },
];

const values = {
  positive: (_: number, random: () => number) => 0.3 + 2 * random(),
  // Quarters shifted by 1/8: no kink of the functions above within a step of the differences.
  "off zero": (_: number, random: () => number) => Math.floor(16 * random()) / 4 - 1.875,
  all: (_: number, random: () => number) => 8 * random() - 4,
} satisfies { [K in Case["from"]]: InputRecipe["value"] };

const mapped = (host: Host, fn: (x: number) => number) => fill(host.shape, (i) => fn(host.data[i]!));

/** The gradient of fn at x in every storage type: the kernels for f32 differ from those for f64, which differences test. */
function gradientOf(run: Case["run"], x: AnyTensor): Tensor {
  const leaf = requiresGrad(x.alias());
  const [dx] = grad(run(leaf), [leaf], { gradient: unaryOnes(x) });
  if (dx === undefined) throw new Error("no gradient");
  return dx;
}
/** Ones of x's shape, without another op file: exp(0 · x). */
const unaryOnes = (x: AnyTensor) => unary.exp(unary.clamp(x, { min: 0, max: 0 }));

const functionCases = functions.flatMap(({ name, run, plain, from, slack, lone }) => [
  ...[[1], [3, 7], [0, 3], [2047], [2, 2049], [32769]].map((shape) =>
    opCase({
      name: `${name} [${shape}]`,
      inputs: { x: { shape, value: values[from] } },
      run: ({ x }) => run(x),
      reference: ({ x }) => mapped(x, plain),
      ...(shape[0]! < 100 && shape[1] !== 2049 ? { gradients: ["x"] } : {}),
      pitch: ["x"],
      ...(slack === undefined ? {} : { slack }),
      ...(lone === undefined || shape.length > 1 || shape[0] !== 1 ? {} : { gradientRoundings: lone }),
    }),
  ),
  opCase({
    name: `${name}: its gradient in narrow types`,
    inputs: { x: { shape: [203], value: values[from] } },
    run: ({ x }) => gradientOf(run, x),
    reference: ({ x }) => mapped(x, (v) => (plain(v + 1e-5) - plain(v - 1e-5)) / 2e-5),
    dtypes: ["f32", "bf16", "f16"],
    slack: 8,
  }),
]);

const special = [Number.NaN, Infinity, -Infinity, 0, 50, -50];
/** Where infinity meets 0 (x · sigmoid(x) at −inf) PyTorch answers NaN, and so do these. */
const nanAtMinusInfinity = (fn: (x: number) => number) => (x: number) => (x === -Infinity ? Number.NaN : fn(x));
const gates: readonly string[] = ["silu", "gelu", "gelu tanh", "quickGelu"];
const specialCases = functions
  .filter(({ name }) => name !== "exp")
  .map(({ name, run, plain }) =>
    opCase({
      name: `${name} of special values`,
      inputs: { x: { shape: [special.length], value: (i) => special[i]! } },
      run: ({ x }) => run(x),
      reference: ({ x }) => mapped(x, gates.includes(name) ? nanAtMinusInfinity(plain) : plain),
    }),
  );

const integerCases = [
  opCase({
    name: "neg, abs, square, relu and clamp of integers",
    inputs: { x: { shape: [9], value: (i) => i - 4 } },
    run: ({ x }) => [
      unary.neg(x),
      unary.abs(x),
      unary.square(x),
      unary.relu(x),
      unary.clamp(x, { min: -2 }),
      unary.clamp(x, { min: -1, max: 1 }),
    ],
    reference: ({ x }) => [
      mapped(x, (v) => -v),
      mapped(x, Math.abs),
      mapped(x, (v) => v * v),
      mapped(x, (v) => Math.max(v, 0)),
      mapped(x, (v) => Math.max(v, -2)),
      mapped(x, (v) => Math.min(Math.max(v, -1), 1)),
    ],
    dtypes: ["i32", "i64"],
  }),
  opCase({
    name: "integers wrap around",
    inputs: {
      low: { shape: [2], dtype: "i32", value: (i) => -(2 ** 31) + i },
      small: { shape: [3], dtype: "u8", value: (i) => 16 + i },
    },
    run: ({ low, small }) => [unary.neg(low), unary.abs(low), unary.square(small), unary.neg(small)],
    reference: ({ low, small }) => [
      mapped(low, (v) => -v | 0),
      mapped(low, (v) => Math.abs(v) | 0),
      mapped(small, (v) => (v * v) & 255),
      mapped(small, (v) => -v & 255),
    ],
    dtypes: ["i32"],
  }),
  opCase({
    name: "exp of special values, and beyond the range of f32",
    inputs: { x: { shape: [6], value: (i) => [Number.NaN, Infinity, -Infinity, 0, 89, -120][i]! } },
    run: ({ x }) => unary.exp(x),
    reference: ({ x }) => mapped(x, (v) => (v === 89 ? Infinity : v === -120 ? 0 : Math.exp(v))),
    dtypes: ["f32", "bf16"],
  }),
  opCase({
    name: "sin and cos of large arguments",
    inputs: { x: { shape: [64], value: (i) => 8500 - 133.7 * i } },
    run: ({ x }) => [unary.sin(x), unary.cos(x)],
    reference: ({ x }) => [mapped(x, Math.sin), mapped(x, Math.cos)],
  }),
];

export const cases: OpCase[] = [...functionCases, ...specialCases, ...integerCases];
