import { arange, full, ones, onesLike, zeros, zerosLike } from "../../lib/ops/fill.js";
import {
  add,
  div,
  equal,
  greater,
  greaterEqual,
  less,
  lessEqual,
  maximum,
  minimum,
  mul,
  notEqual,
  sub,
  where,
} from "../../lib/ops/pointwise.js";
import { slice } from "../../lib/ops/views.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, hostOf, type InputRecipe, type OpCase, opCase } from "./case.js";
import { sliced } from "./moving.js";

/** fn of the elements that meet when the tensors are broadcast against each other. */
function broadcast(hosts: readonly Host[], fn: (...values: number[]) => number): Host {
  const rank = Math.max(...hosts.map(({ shape }) => shape.length));
  const axes = Array.from({ length: rank }, (_, i) => i);
  const dim = ({ shape }: Host, axis: number) => shape[axis - rank + shape.length] ?? 1;
  const shape = axes.map((axis) => hosts.map((host) => dim(host, axis)).reduce((a, b) => (a === 1 ? b : a)));
  return fill(shape, (flat) => {
    const index: number[] = [];
    for (let axis = rank - 1, rest = flat; axis >= 0; axis--) {
      index[axis] = rest % (shape[axis] as number);
      rest = Math.floor(rest / (shape[axis] as number));
    }
    const at = (host: Host) =>
      axes.reduce((o, a) => o * dim(host, a) + (dim(host, a) === 1 ? 0 : (index[a] as number)), 0);
    return fn(...hosts.map((host) => host.data[at(host)] as number));
  });
}

const nanMin = (a: number, b: number) => Math.min(a, b);
const nanMax = (a: number, b: number) => Math.max(a, b);
interface Binary {
  readonly name: string;
  readonly run: (a: AnyTensor | number, b: AnyTensor | number) => Tensor;
  readonly plain: (a: number, b: number) => number;
}
/** The public functions take a tensor on one side at least, which their types say and these wrappers forget. */
const binary = (
  name: string,
  fn: { (a: AnyTensor, b: AnyTensor | number): Tensor; (a: number, b: AnyTensor): Tensor },
  plain: Binary["plain"],
): Binary => ({
  name,
  run: (a, b) => (typeof a === "number" ? fn(a, b as AnyTensor) : fn(a, b)),
  plain,
});

const arithmetic = [
  binary("add", add, (a, b) => a + b),
  binary("sub", sub, (a, b) => a - b),
  binary("mul", mul, (a, b) => a * b),
  binary("div", div, (a, b) => a / b),
  binary("minimum", minimum, nanMin),
  binary("maximum", maximum, nanMax),
];

/** Never near 0, nor two of them near each other, so that quotients stay small and differences see no kink. */
const apart =
  (sign: number): NonNullable<InputRecipe["value"]> =>
  (i) =>
    sign * (0.6 + ((i * 37) % 101) / 50) * (i % 3 === 0 ? -1 : 1);

const pairs = [
  [[1], [1]],
  [[], [3]],
  [
    [3, 7],
    [3, 7],
  ],
  [[2, 3, 5], [5]],
  [
    [2, 3, 5],
    [3, 1],
  ],
  [
    [1, 5],
    [4, 1],
  ],
  [
    [2, 1, 3],
    [1, 4, 1],
  ],
  [
    [2, 1, 2, 1, 2, 3],
    [1, 3, 1, 2, 1, 3],
  ],
  // Whole packs of 16 bytes, repeated along the last axis, along others, along both in turn.
  [[3, 16], [16]],
  [
    [3, 16],
    [3, 1],
  ],
  [
    [2, 1, 8],
    [1, 3, 8],
  ],
  [
    [2, 1, 1, 16],
    [1, 2, 2, 1],
  ],
  [[0, 4], [4]],
  [
    [3, 0],
    [3, 1],
  ],
] as const;

const arithmeticCases = arithmetic.flatMap(({ name, run, plain }) => [
  ...pairs.map(([a, b]) =>
    opCase({
      name: `${name} [${a}] and [${b}]`,
      inputs: { a: { shape: a, value: apart(1) }, b: { shape: b, value: apart(-0.83) } },
      run: (t) => run(t.a, t.b),
      reference: (h) => broadcast([h.a, h.b], plain),
      gradients: ["a", "b"],
      pitch: a.length > 0 && b.length > 0 ? ["a", "b"] : [],
    }),
  ),
  ...[
    { a: [2047], b: [2047] },
    { a: [2049], b: [1] },
    { a: [33, 1021], b: [1021] },
    { a: [1021, 33], b: [1021, 1] },
  ].map(({ a, b }) =>
    opCase({
      name: `${name} [${a}] and [${b}] across blocks`,
      inputs: { a: { shape: a, value: apart(1) }, b: { shape: b, value: apart(-0.83) } },
      run: (t) => run(t.a, t.b),
      reference: (h) => broadcast([h.a, h.b], plain),
      pitch: ["a"],
    }),
  ),
  opCase({
    name: `${name} of slices that begin at whole packs`,
    inputs: { a: { shape: [5, 48], value: apart(1) }, b: { shape: [5, 32], value: apart(-0.83) } },
    run: (t) => run(slice(t.a, 1, 16, 32), slice(t.b, 1, 16)),
    reference: (h) => broadcast([sliced(h.a, 1, 16, 32), sliced(h.b, 1, 16, 32)], plain),
  }),
  opCase({
    name: `${name} with a number on either side`,
    inputs: { x: { shape: [3, 11], value: apart(1) } },
    run: ({ x }) => [run(x, 1.5), run(-0.75, x)],
    reference: ({ x }) => [
      fill(x.shape, (i) => plain(x.data[i]!, 1.5)),
      fill(x.shape, (i) => plain(-0.75, x.data[i]!)),
    ],
    gradients: ["x"],
    pitch: ["x"],
  }),
  opCase({
    name: `${name} of special values`,
    inputs: {
      a: { shape: [6, 1], value: (i) => [Number.NaN, Infinity, -Infinity, 0, 1, -2][i]! },
      b: { shape: [6], value: (i) => [Number.NaN, Infinity, -Infinity, 0, 1, -2][i]! },
    },
    run: (t) => run(t.a, t.b),
    reference: (h) => broadcast([h.a, h.b], plain),
  }),
]);

const saturationCase = opCase({
  name: "minimum and maximum of integers and a number beyond them",
  inputs: { x: { shape: [17], value: (i) => i * 9 } },
  run: ({ x }) => [minimum(x, -5e9), maximum(x, 5e9), minimum(x, 60), maximum(-7, x)],
  reference({ x }) {
    const map = (fn: (v: number) => number) => fill(x.shape, (i) => fn(x.data[i]!));
    return [map(() => -(2 ** 31)), map(() => 2 ** 31 - 1), map((v) => Math.min(v, 60)), x];
  },
  dtypes: ["i32"],
});

const wraps = { i32: (v: number) => v | 0, u8: (v: number) => v & 255, i64: (v: number) => v } as const;
const integerCases = (["i32", "u8", "i64"] as const).flatMap((dtype) =>
  arithmetic
    .filter(({ name }) => name !== "div")
    .map(({ name, run, plain }) =>
      opCase({
        name: `${name} of ${dtype}, wrapping around`,
        inputs: {
          a: {
            shape: [5, 3],
            dtype,
            value: (i) => (dtype === "i32" ? 2 ** 31 - 1 - i : dtype === "u8" ? 255 - i : 1e6 * i),
          },
          b: { shape: [3], dtype, value: (i) => i + 3 },
        },
        run: (t) => [run(t.a, t.b), run(t.b, t.a), run(t.b, 7)],
        reference: (h) =>
          [broadcast([h.a, h.b], plain), broadcast([h.b, h.a], plain), broadcast([h.b, hostOf([], [7])], plain)].map(
            ({ shape, data }) => fill(shape, (i) => wraps[dtype](data[i]!)),
          ),
        dtypes: [dtype],
      }),
    ),
);

const tieCases = [
  { name: "minimum", run: minimum },
  { name: "maximum", run: maximum },
].map(({ name, run }) =>
  opCase({
    name: `${name} with itself: the shares of the gradient add up`,
    inputs: { x: { shape: [7] } },
    run: ({ x }) => run(x, x),
    reference: ({ x }) => x,
    gradients: ["x"],
  }),
);

const comparisons = [
  { name: "equal", run: equal, plain: (a: number, b: number) => a === b },
  { name: "notEqual", run: notEqual, plain: (a: number, b: number) => a !== b },
  { name: "less", run: less, plain: (a: number, b: number) => a < b },
  { name: "lessEqual", run: lessEqual, plain: (a: number, b: number) => a <= b },
  { name: "greater", run: greater, plain: (a: number, b: number) => a > b },
  { name: "greaterEqual", run: greaterEqual, plain: (a: number, b: number) => a >= b },
];
const someEqual: NonNullable<InputRecipe["value"]> = (i) => [1, 2, 0, 3, 2][(i * 7) % 5]!;
const compareCases = comparisons.flatMap(({ name, run, plain }) => [
  opCase({
    name: `${name} broadcast, and with numbers`,
    inputs: { a: { shape: [5, 13], value: someEqual }, b: { shape: [5, 1], value: someEqual } },
    run: ({ a, b }) => [run(a, b), run(a, 2), run(2, b)],
    reference: ({ a, b }) => {
      const two = hostOf([], [2]);
      const test = (x: number, y: number) => Number(plain(x, y));
      return [broadcast([a, b], test), broadcast([a, two], test), broadcast([two, b], test)];
    },
    dtypes: ["f32", "bf16", "f16", "f64", "i32", "i64", "u8"],
    pitch: ["a"],
  }),
  opCase({
    name: `${name} of NaN and infinities`,
    inputs: {
      a: { shape: [4, 1], value: (i) => [Number.NaN, Infinity, -Infinity, 0][i]! },
      b: { shape: [4], value: (i) => [Number.NaN, Infinity, -Infinity, 0][i]! },
    },
    run: (t) => run(t.a, t.b),
    reference: (h) => broadcast([h.a, h.b], (x, y) => Number(plain(x, y))),
  }),
]);

const everyThird: InputRecipe = { shape: [4, 9], dtype: "bool", value: (i) => Number(i % 3 === 0) };
const whereCases = [
  opCase({
    name: "where, all broadcast",
    inputs: { cond: { ...everyThird, shape: [4, 1] }, a: { shape: [9] }, b: { shape: [2, 4, 9] } },
    run: ({ cond, a, b }) => where(cond, a, b),
    reference: ({ cond, a, b }) => broadcast([cond, a, b], (c, x, y) => (c !== 0 ? x : y)),
    gradients: ["a", "b"],
    pitch: ["a", "b"],
  }),
  opCase({
    name: "where, in whole packs",
    inputs: { cond: { ...everyThird, shape: [3, 1, 16] }, a: { shape: [2, 1] }, b: { shape: [3, 2, 16] } },
    run: ({ cond, a, b }) => [where(cond, a, b), where(cond, b, a), where(cond, b, 1), where(cond, 0, b)],
    reference: ({ cond, a, b }) => [
      broadcast([cond, a, b], (c, x, y) => (c !== 0 ? x : y)),
      broadcast([cond, b, a], (c, x, y) => (c !== 0 ? x : y)),
      broadcast([cond, b], (c, x) => (c !== 0 ? x : 1)),
      broadcast([cond, b], (c, y) => (c !== 0 ? 0 : y)),
    ],
    dtypes: ["f32", "bf16", "f16", "f64", "i32", "i64", "u8", "bool"],
    pitch: ["a", "b", "cond"],
  }),
  opCase({
    name: "where across blocks",
    inputs: { cond: { ...everyThird, shape: [4097] }, a: { shape: [4097] }, b: { shape: [1] } },
    run: ({ cond, a, b }) => where(cond, a, b),
    reference: ({ cond, a, b }) => broadcast([cond, a, b], (c, x, y) => (c !== 0 ? x : y)),
    pitch: ["a"],
  }),
  opCase({
    name: "where with a number on either side",
    inputs: { cond: everyThird, x: { shape: [4, 9] } },
    run: ({ cond, x }) => [where(cond, x, -Infinity), where(cond, 0.5, x)],
    reference: ({ cond, x }) => [
      broadcast([cond, x], (c, v) => (c !== 0 ? v : -Infinity)),
      broadcast([cond, x], (c, v) => (c !== 0 ? 0.5 : v)),
    ],
    pitch: ["x", "cond"],
  }),
  opCase({
    name: "where takes nothing from the side not chosen, NaN included",
    inputs: {
      cond: everyThird,
      a: { shape: [4, 9], value: (i) => (i % 3 === 0 ? i : Number.NaN) },
      b: { shape: [4, 9], value: (i) => (i % 3 === 0 ? Number.NaN : -i) },
    },
    run: ({ cond, a, b }) => where(cond, a, b),
    reference: ({ cond }) => fill(cond.shape, (i) => (i % 3 === 0 ? i : -i)),
  }),
  opCase({
    name: "where of integers and bools",
    inputs: { cond: everyThird, x: { shape: [4, 9], value: (i) => i % 2 }, y: { shape: [9], value: () => 1 } },
    run: ({ cond, x, y }) => where(cond, x, y),
    reference: ({ cond, x, y }) => broadcast([cond, x, y], (c, u, v) => (c !== 0 ? u : v)),
    dtypes: ["i32", "i64", "u8", "bool"],
  }),
];

const fillCases = [
  opCase({
    name: "full, zeros, ones and their likes",
    inputs: { x: { shape: [2, 5] } },
    run: ({ x }) => [
      full([3, 1, 7], 2.5, { dtype: "bf16", device: x.device }),
      full([40_001], -3, { dtype: "i32", device: x.device }),
      full([2], 300, { dtype: "u8", device: x.device }),
      full([1], Number.NEGATIVE_INFINITY, { dtype: "i32", device: x.device }),
      full([1], Number.NaN, { dtype: "i64", device: x.device }),
      zeros([0, 3], { device: x.device }),
      ones([], { dtype: "bool", device: x.device }),
      zerosLike(x),
      onesLike(x),
    ],
    reference: ({ x }) => [
      fill([3, 1, 7], () => 2.5),
      fill([40_001], () => -3),
      fill([2], () => 255),
      fill([1], () => -(2 ** 31)),
      fill([1], () => 0),
      fill([0, 3], () => 0),
      fill([], () => 1),
      fill(x.shape, () => 0),
      fill(x.shape, () => 1),
    ],
  }),
  opCase({
    name: "arange",
    inputs: { x: { shape: [1] } },
    run: ({ x }) => [
      arange(2049, { device: x.device }),
      arange(5, { start: 1, step: -0.25, dtype: "f64", device: x.device }),
      arange(3, { start: -1, dtype: "i64", device: x.device }),
      arange(0, { device: x.device }),
    ],
    reference: () => [
      fill([2049], (i) => i),
      fill([5], (i) => 1 - 0.25 * i),
      fill([3], (i) => i - 1),
      fill([0], () => 0),
    ],
    dtypes: ["f32"],
  }),
];

export const cases: OpCase[] = [
  ...arithmeticCases,
  ...integerCases,
  saturationCase,
  ...tieCases,
  ...compareCases,
  ...whereCases,
  ...fillCases,
];
