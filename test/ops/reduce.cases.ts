import { argmax, max, mean, min, norm, type ReduceOptions, sum, sumTo, variance } from "../../lib/ops/reduce.js";
import { broadcastTo, slice, transpose } from "../../lib/ops/views.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, hostOf, type InputRecipe, type OpCase, opCase } from "./case.js";

/** fn of the elements that fall together when axes are reduced, in order. */
function reduced(x: Host, { axes, keepDims = false }: ReduceOptions, fn: (values: number[]) => number): Host {
  const rank = x.shape.length;
  const list = axes === undefined ? x.shape.map((_, i) => i) : typeof axes === "number" ? [axes] : [...axes];
  const gone = new Set(list.map((axis) => (axis + rank) % Math.max(1, rank)));
  const keptShape = x.shape.map((n, i) => (gone.has(i) ? 1 : n));
  const groups = Array.from({ length: keptShape.reduce((a, b) => a * b, 1) }, (): number[] => []);
  x.data.forEach((value, flat) => {
    let [at, step, rest] = [0, 1, flat];
    for (let axis = rank - 1; axis >= 0; axis--) {
      const n = x.shape[axis]!;
      if (!gone.has(axis)) {
        at += (rest % n) * step;
        step *= n;
      }
      rest = Math.floor(rest / n);
    }
    groups[at]!.push(value);
  });
  return hostOf(keepDims ? keptShape : x.shape.filter((_, i) => !gone.has(i)), groups.map(fn));
}

/** Neumaier's compensated sum: exact enough to judge others. */
function exactSum(values: readonly number[]): number {
  let [total, lost] = [0, 0];
  for (const v of values) {
    const next = total + v;
    lost += Math.abs(total) >= Math.abs(v) ? total - next + v : v - next + total;
    total = next;
  }
  return Number.isFinite(total) ? total + lost : total;
}
const exactMean = (values: readonly number[]) => exactSum(values) / values.length;
const exactNorm = (values: readonly number[]) => Math.sqrt(exactSum(values.map((v) => v * v)));
const exactVariance = (correction: number) => (values: readonly number[]) => {
  const m = exactMean(values);
  return exactSum(values.map((v) => (v - m) ** 2)) / Math.max(0, values.length - correction);
};
const largest = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const smallest = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), Infinity);

interface Fold {
  readonly name: string;
  readonly run: (x: AnyTensor, options: ReduceOptions) => Tensor;
  readonly plain: (values: number[]) => number;
}
const folds: readonly Fold[] = [
  { name: "sum", run: sum, plain: exactSum },
  { name: "mean", run: mean, plain: exactMean },
  { name: "norm", run: norm, plain: exactNorm },
  { name: "max", run: max, plain: largest },
  { name: "min", run: min, plain: smallest },
  { name: "variance", run: variance, plain: exactVariance(1) },
  {
    name: "variance, biased",
    run: (x, options) => variance(x, { ...options, correction: 0 }),
    plain: exactVariance(0),
  },
];

/** Few distinct values: many ties. */
const coarse: NonNullable<InputRecipe["value"]> = (_, random) => Math.floor(6 * random());

/** Far enough apart that differences see no kink of max and min. */
const apart: NonNullable<InputRecipe["value"]> = (i) => ((i * 37) % 211) / 50 - 2;

const small: readonly { readonly shape: readonly number[]; readonly options: ReduceOptions }[] = [
  { shape: [3, 4, 5], options: {} },
  { shape: [3, 4, 5], options: { axes: 0 } },
  { shape: [3, 4, 5], options: { axes: 1, keepDims: true } },
  { shape: [3, 4, 5], options: { axes: -1 } },
  { shape: [3, 4, 5], options: { axes: [0, 2] } },
  { shape: [3, 4, 5], options: { axes: [1, 0], keepDims: true } },
  { shape: [2, 3, 2, 3, 2, 2], options: { axes: [1, 3, 4] } },
  { shape: [2, 3, 1, 1, 4, 1], options: { axes: [0, 2, 4] } },
  { shape: [1, 5, 1], options: { axes: [0, 1] } },
  { shape: [0, 4], options: { axes: 1 } },
];

/** Sizes round the blocks of 2048 elements, the segments of 32768, and the tiles of 1024 columns. */
const large: typeof small = [
  { shape: [1031], options: {} },
  { shape: [2, 2047], options: { axes: 1 } },
  { shape: [65_537], options: {} },
  { shape: [2, 32_769], options: { axes: 1 } },
  { shape: [131, 1025], options: { axes: 0 } },
  { shape: [43_693, 3], options: { axes: 0 } },
  { shape: [3, 130, 7, 33], options: { axes: [1, 3] } },
  { shape: [2, 19, 5, 211], options: { axes: [0, 2] } },
  // Rows, and columns, of whole packs of 16 bytes on two axes; few of them, many, and a rest.
  { shape: [2, 5, 3, 16], options: { axes: [1, 3] } },
  { shape: [2, 5, 3, 16], options: { axes: [0, 2] } },
  { shape: [2, 40, 3, 64], options: { axes: [1, 3] } },
  { shape: [40, 2, 30, 16], options: { axes: [0, 2] } },
  { shape: [1, 1037], options: { axes: 0 } },
];

const show = ({ axes, keepDims }: ReduceOptions) => `over ${axes ?? "all"}${keepDims === true ? ", kept" : ""}`;

const foldCases = folds.flatMap(({ name, run, plain }) => [
  ...small.map(({ shape, options }) =>
    opCase({
      name: `${name} of [${shape}] ${show(options)}`,
      inputs: { x: { shape, value: apart } },
      run: ({ x }) => run(x, options),
      reference: ({ x }) => reduced(x, options, plain),
      gradients: ["x"],
      pitch: ["x"],
    }),
  ),
  ...large.map(({ shape, options }) =>
    opCase({
      name: `${name} of [${shape}] ${show(options)}`,
      inputs: { x: { shape } },
      run: ({ x }) => run(x, options),
      reference: ({ x }) => reduced(x, options, plain),
      // One rounding, of the result: the sum itself runs in f64.
      dtypes: ["f32", "bf16", "f16"],
      slack: 2,
      pitch: ["x"],
    }),
  ),
  opCase({
    name: `${name} of many elements in f64`,
    inputs: { x: { shape: [300, 223] } },
    run: ({ x }) => [run(x, {}), run(x, { axes: 0 }), run(x, { axes: 1 })],
    reference: ({ x }) => [{}, { axes: 0 }, { axes: 1 }].map((options) => reduced(x, options, plain)),
    dtypes: ["f64"],
    slack: 1000,
  }),
]);

/** Values are those of x, rows of 16; what the op gets is a view of them. */
const layoutCases = [
  opCase({
    name: "sum, max and argmax of a transposed tensor",
    inputs: { x: { shape: [70, 17], value: coarse } },
    run: ({ x }) =>
      [0, 1].flatMap((axis) => {
        const t = transpose(x);
        return [sum(t, { axes: axis }), max(t, { axes: axis }), argmax(t, { axis }), argmax(t)];
      }),
    reference: ({ x }) => {
      const t = fill([17, 70], (i) => x.data[(i % 70) * 17 + Math.floor(i / 70)]!);
      return [0, 1].flatMap((axes) => [
        reduced(t, { axes }, exactSum),
        reduced(t, { axes }, largest),
        reduced(t, { axes }, firstLargest),
        reduced(t, {}, firstLargest),
      ]);
    },
    dtypes: ["f32", "bf16", "f64"],
  }),
  opCase({
    name: "sum and min of aligned rows with a gap: packs with a rest",
    inputs: { x: { shape: [530, 16] } },
    run: ({ x }) => {
      const view = slice(x, 1, 0, 13);
      return [sum(view, { axes: 0 }), min(view, { axes: 0 }), sum(view, { axes: 1 }), min(view)];
    },
    reference: ({ x }) => {
      const view = fill([530, 13], (i) => x.data[Math.floor(i / 13) * 16 + (i % 13)]!);
      return [
        reduced(view, { axes: 0 }, exactSum),
        reduced(view, { axes: 0 }, smallest),
        reduced(view, { axes: 1 }, exactSum),
        reduced(view, {}, smallest),
      ];
    },
    slack: 2,
  }),
  opCase({
    name: "sum, max and variance of so many columns that a thread does each of them alone on a GPU",
    inputs: { x: { shape: [19, 32_771] } },
    run: ({ x }) => [sum(x, { axes: 0 }), max(x, { axes: 0 }), variance(x, { axes: 0 })],
    reference: ({ x }) => [exactSum, largest, exactVariance(1)].map((plain) => reduced(x, { axes: 0 }, plain)),
    dtypes: ["f32"],
    slack: 2,
  }),
  opCase({
    name: "sum of a row repeated",
    inputs: { x: { shape: [1, 24] } },
    run: ({ x }) => {
      const view = broadcastTo(x, [1100, 24]);
      return [sum(view, { axes: 0 }), sum(view, { axes: 1 }), sum(view)];
    },
    reference: ({ x }) => [
      hostOf(
        [24],
        x.data.map((v) => 1100 * v),
      ),
      fill([1100], () => exactSum([...x.data])),
      hostOf([], [1100 * exactSum([...x.data])]),
    ],
    slack: 2,
  }),
];

const empty = [
  opCase({
    name: "sum, mean, norm and variance of nothing",
    inputs: { x: { shape: [3, 0] } },
    run: ({ x }) => [
      sum(x),
      sum(x, { axes: 1 }),
      sum(x, { axes: 0 }),
      mean(x, { axes: 1 }),
      norm(x, { axes: 1 }),
      variance(x, { axes: 1 }),
    ],
    reference: () => [
      hostOf([], [0]),
      hostOf([3], [0, 0, 0]),
      hostOf([0], []),
      hostOf([3], [NaN, NaN, NaN]),
      hostOf([3], [0, 0, 0]),
      hostOf([3], [NaN, NaN, NaN]),
    ],
  }),
  opCase({
    name: "variance of one element is NaN, biased 0",
    inputs: { x: { shape: [2, 1] } },
    run: ({ x }) => [variance(x, { axes: 1 }), variance(x, { axes: 1, correction: 0 })],
    reference: () => [hostOf([2], [NaN, NaN]), hostOf([2], [0, 0])],
  }),
  opCase({
    name: "a reduction of a scalar and over no axis",
    inputs: { x: { shape: [] }, y: { shape: [3] } },
    run: ({ x, y }) => [sum(x), max(x), argmax(x), sum(y, { axes: [] })],
    reference: ({ x, y }) => [x, x, hostOf([], [0]), y],
    gradients: ["x", "y"],
  }),
];

const special = [1, NaN, Infinity, -Infinity];
const specialCases = [
  opCase({
    name: "NaN and infinities, along rows and along columns",
    inputs: { x: { shape: [40, 4], value: (i) => (i % 40 < 4 ? special[i % 4]! : (i % 7) - 3) } },
    run: ({ x }) => [0, 1].flatMap((axes) => folds.slice(0, 5).map(({ run }) => run(x, { axes }))),
    reference: ({ x }) => [0, 1].flatMap((axes) => folds.slice(0, 5).map(({ plain }) => reduced(x, { axes }, plain))),
    dtypes: ["f32", "bf16", "f64"],
  }),
  opCase({
    name: "max and min of rows of −inf only and inf only",
    inputs: { x: { shape: [2, 70], value: (i) => (i < 70 ? -Infinity : Infinity) } },
    run: ({ x }) => [max(x, { axes: 1 }), min(x, { axes: 1 }), argmax(x, { axis: 1 })],
    reference: () => [hostOf([2], [-Infinity, Infinity]), hostOf([2], [-Infinity, Infinity]), hostOf([2], [0, 0])],
  }),
  opCase({
    name: "a long sum of small terms keeps every one of them",
    inputs: { x: { shape: [200_003], value: (i) => (i === 0 ? 1e6 : 0.001) } },
    run: ({ x }) => sum(x),
    reference: ({ x }) => hostOf([], [exactSum([...x.data])]),
    dtypes: ["f32"],
    slack: 1,
  }),
  opCase({
    name: "norm of values whose squares overflow f32",
    inputs: { x: { shape: [9], value: (i) => 1e25 * (i + 1) } },
    run: ({ x }) => norm(x),
    reference: ({ x }) => reduced(x, {}, exactNorm),
    dtypes: ["f32", "bf16"],
  }),
  opCase({
    name: "variance of values far from 0",
    inputs: { x: { shape: [2, 500], value: (_, random) => 1000 + random() } },
    run: ({ x }) => variance(x, { axes: 1 }),
    reference: ({ x }) => reduced(x, { axes: 1 }, exactVariance(1)),
    dtypes: ["f32"],
    slack: 100,
  }),
];

/** Ties go in equal parts, which differences cannot see: the gradient of a sum of extremes is checked through its effect. */
const tieCases = [
  opCase({
    name: "max and min of equal elements: the shares of the gradient add up",
    inputs: { x: { shape: [2, 1] } },
    run: ({ x }) => {
      const ties = sumTo(x, [2, 1]);
      return [max(ties, { axes: 1 }), min(ties, { axes: 1 })];
    },
    reference: ({ x }) => [hostOf([2], x.data), hostOf([2], x.data)],
    gradients: ["x"],
  }),
];

const integerCases = [
  opCase({
    name: "sum, max and min of integers and bools",
    inputs: { x: { shape: [5, 1031], value: (i) => (i % 3 === 0 ? 1 : 0) } },
    run: ({ x }) => [sum(x), sum(x, { axes: 0 }), sum(x, { axes: 1 })],
    reference: ({ x }) => [{}, { axes: 0 }, { axes: 1 }].map((options) => reduced(x, options, exactSum)),
    dtypes: ["u8", "i32", "i64", "bool"],
    pitch: ["x"],
  }),
  opCase({
    name: "max, min and argmax of integers",
    inputs: { x: { shape: [5, 131], value: (i) => (i * 71) % 250 } },
    run: ({ x }) => [max(x), max(x, { axes: 0 }), min(x, { axes: 1 }), argmax(x, { axis: 1 })],
    reference: ({ x }) => [
      reduced(x, {}, largest),
      reduced(x, { axes: 0 }, largest),
      reduced(x, { axes: 1 }, smallest),
      reduced(x, { axes: 1 }, firstLargest),
    ],
    dtypes: ["u8", "i32", "i64"],
  }),
  opCase({
    name: "sum of i32 beyond its range",
    inputs: { x: { shape: [1000], dtype: "i32", value: () => 2 ** 31 - 1 } },
    run: ({ x }) => sum(x),
    reference: () => hostOf([], [1000 * (2 ** 31 - 1)]),
    dtypes: ["i32"],
  }),
];

/** Index of the first NaN, else of the first largest value. */
function firstLargest(values: readonly number[]): number {
  const nan = values.findIndex(Number.isNaN);
  return nan >= 0 ? nan : values.indexOf(largest(values));
}
const argmaxCases = [
  ...[[1], [3, 7], [5, 129], [70_001], [140, 1026]].map((shape) =>
    opCase({
      name: `argmax of [${shape}], each axis and all`,
      inputs: { x: { shape, value: coarse } },
      run: ({ x }) => [argmax(x), ...shape.map((_, axis) => argmax(x, { axis, keepDims: axis === 0 }))],
      reference: ({ x }) => [
        reduced(x, {}, firstLargest),
        ...shape.map((_, axes) => reduced(x, { axes, keepDims: axes === 0 }, firstLargest)),
      ],
      pitch: ["x"],
    }),
  ),
  opCase({
    name: "argmax with NaN",
    inputs: { x: { shape: [40, 70], value: (i, random) => (i % 97 === 31 ? NaN : random()) } },
    run: ({ x }) => [argmax(x), argmax(x, { axis: 0 }), argmax(x, { axis: 1 })],
    reference: ({ x }) => [{}, { axes: 0 }, { axes: 1 }].map((options) => reduced(x, options, firstLargest)),
  }),
];

const sumToCases = [
  { shape: [2, 3, 4], to: [4] },
  { shape: [2, 3, 4], to: [3, 1] },
  { shape: [2, 3, 4], to: [2, 1, 4] },
  { shape: [1, 3], to: [3] },
  { shape: [2, 3], to: [] },
].map(({ shape, to }) =>
  opCase({
    name: `sumTo [${to}] from [${shape}]`,
    inputs: { x: { shape } },
    run: ({ x }) => sumTo(x, to),
    reference: ({ x }) => {
      const lead = shape.length - to.length;
      const axes = shape.flatMap((_, i) => (i < lead || to[i - lead] === 1 ? [i] : []));
      return fill(to, (i) => reduced(x, { axes }, exactSum).data[i]!);
    },
    gradients: ["x"],
    pitch: ["x"],
  }),
);

export const cases: OpCase[] = [
  ...foldCases,
  ...layoutCases,
  ...empty,
  ...specialCases,
  ...tieCases,
  ...integerCases,
  ...argmaxCases,
  ...sumToCases,
];
