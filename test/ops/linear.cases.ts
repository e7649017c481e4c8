import { noGrad } from "../../lib/autograd/index.js";
import { zeros } from "../../lib/ops/fill.js";
import { type Activation, linear, matmul } from "../../lib/ops/linear.js";
import { slice } from "../../lib/ops/views.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

const gelu = (v: number) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
/** erf by its series, near zero. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 60; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const geluErf = (v: number) => 0.5 * v * (1 + erf(v / Math.SQRT2));
const silu = (v: number) => v / (1 + Math.exp(-v));

interface Parts {
  readonly x: Host;
  readonly weight: Host;
  readonly bias?: Host;
  readonly weightScale?: Host;
  readonly residual?: Host;
  readonly gate?: Host;
}

function linearReference(parts: Parts, activation: (v: number) => number = (v) => v): Host {
  const { x, weight, bias, weightScale, residual, gate } = parts;
  const [n, k] = weight.shape as [number, number];
  const shape = [...x.shape.slice(0, -1), n];
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const scaleAt = (j: number) => weightScale?.data[weightScale.data.length === 1 ? 0 : j] ?? 1;
  return fill(shape, (i) => {
    const [row, j] = [Math.floor(i / n), i % n];
    let sum = 0;
    for (let p = 0; p < k; p++) sum += (x.data[row * k + p] as number) * (weight.data[j * k + p] as number);
    const v = activation(sum * scaleAt(j) + (bias?.data[j] ?? 0));
    const group = gate === undefined ? 0 : Math.floor(row / (rows / (gate.data.length / n)));
    return (residual?.data[i] ?? 0) + v * (gate?.data[group * n + j] ?? 1);
  });
}

/** f8e4m3 has values up to 448 and three bits of mantissa; these are exact in it. */
const f8Value = (i: number) => ((i * 7) % 15) - 7;

const plain: OpCase[] = [
  { x: [1, 1], n: 1 },
  { x: [3, 7], n: 5 },
  { x: [2, 3, 17], n: 33 },
  { x: [2, 0, 4], n: 3 },
  { x: [3, 4], n: 0 },
  { x: [3, 0], n: 4 },
  { x: [5], n: 3 },
].map(({ x, n }) =>
  opCase({
    name: `linear [${x}] to ${n}`,
    inputs: { x: { shape: x }, weight: { shape: [n, x.at(-1) as number] }, bias: { shape: [n] } },
    run: ({ x, weight, bias }) => linear(x, weight, { bias }),
    reference: (h) => linearReference(h),
    gradients: ["x", "weight", "bias"],
    pitch: ["x", "weight"],
    slack: 8,
  }),
);

// Around the GEMM's tiles: MR is 14, 6 or 4 rows, NR 32, 16 or 8 columns (half of that in f64), K blocks are 512 (256 in
// f64), row blocks 112 or less.
const tileSizes = [
  [13, 31, 7],
  [14, 32, 8],
  [15, 33, 9],
  [5, 17, 511],
  [6, 16, 512],
  [7, 15, 513],
  [4, 8, 255],
  [3, 9, 257],
  [111, 7, 5],
  [113, 65, 3],
  [229, 40, 11],
] as const;

const tiles: OpCase[] = tileSizes.map(([m, n, k]) =>
  opCase({
    name: `linear of ${m} × ${k} by ${n}, next to a tile's edge`,
    inputs: { x: { shape: [m, k] }, weight: { shape: [n, k] } },
    run: ({ x, weight }) => linear(x, weight),
    reference: (h) => linearReference(h),
    pitch: ["x"],
    slack: 32,
  }),
);

const epilogues: OpCase[] = [
  ...Object.entries({ gelu, geluErf, silu }).map(([name, activation]) =>
    opCase({
      name: `linear with ${name}`,
      inputs: {
        x: { shape: [2, 5, 7] },
        weight: { shape: [35, 7], value: (_, random) => random() - 0.5 },
        bias: { shape: [35] },
      },
      run: ({ x, weight, bias }) => linear(x, weight, { bias, activation: name as Activation }),
      reference: (h) => linearReference(h, activation),
      // The series of erf above is not good to the last bits of f64.
      dtypes: ["f32", "bf16", "f16"],
      gradients: ["x", "weight", "bias"],
      slack: 8,
    }),
  ),
  ...[
    [2, 9],
    [2, 1, 9],
    [2, 5, 9],
  ].map((gateShape) =>
    opCase({
      name: `linear with bias, residual and gate [${gateShape}]`,
      inputs: {
        x: { shape: [2, 5, 7] },
        weight: { shape: [9, 7] },
        bias: { shape: [9] },
        residual: { shape: [2, 5, 9] },
        gate: { shape: gateShape },
      },
      run: ({ x, weight, bias, residual, gate }) => linear(x, weight, { bias, residual, gate }),
      reference: (h) => linearReference(h),
      gradients: ["x", "weight", "bias", "residual", "gate"],
      pitch: ["residual", "gate"],
      slack: 8,
    }),
  ),
  opCase({
    name: "linear with everything, wider than the columns an epilogue widens at once",
    inputs: {
      x: { shape: [1, 3, 6] },
      weight: { shape: [600, 6] },
      bias: { shape: [600] },
      residual: { shape: [1, 3, 600] },
      gate: { shape: [1, 600] },
    },
    run: ({ x, weight, bias, residual, gate }) => linear(x, weight, { bias, residual, gate, activation: "silu" }),
    reference: (h) => linearReference(h, silu),
    slack: 8,
  }),
  opCase({
    name: "linear with residual alone",
    inputs: { x: { shape: [4, 7] }, weight: { shape: [9, 7] }, residual: { shape: [4, 9] } },
    run: ({ x, weight, residual }) => linear(x, weight, { residual }),
    reference: (h) => linearReference(h),
    gradients: ["x", "weight", "residual"],
    slack: 8,
  }),
];

const intoView = opCase({
  name: "linear into a view of a wider tensor",
  inputs: { x: { shape: [2, 3, 7] }, weight: { shape: [5, 7] } },
  run: ({ x, weight }) => {
    const wide = zeros([2, 3, 9], { dtype: x.dtype, device: x.device });
    linear(x, weight, { into: slice(wide, -1, 3, 8) });
    return wide;
  },
  reference: (h) => {
    const y = linearReference(h);
    return fill([2, 3, 9], (i) =>
      i % 9 < 3 || i % 9 === 8 ? 0 : (y.data[Math.floor(i / 9) * 5 + (i % 9) - 3] as number),
    );
  },
  slack: 8,
});

const scaled: OpCase[] = [[1], [9]].map((scaleShape) =>
  opCase({
    name: `linear with f8e4m3 weight and scale [${scaleShape}]`,
    inputs: {
      x: { shape: [3, 21] },
      weight: { shape: [9, 21], dtype: "f8e4m3", value: f8Value },
      weightScale: { shape: scaleShape, dtype: "f32", value: (_, random) => 0.01 + random() },
      bias: { shape: [9] },
    },
    run: ({ x, weight, weightScale, bias }) => linear(x, weight, { weightScale, bias }),
    reference: (h) => linearReference(h),
    gradients: ["x", "bias"],
    slack: 8,
  }),
);

const mixed: OpCase[] = (["bf16", "f16", "f32"] as const).map((dtype) =>
  opCase({
    name: `linear with ${dtype} weight beside other types`,
    inputs: { x: { shape: [5, 19] }, weight: { shape: [6, 19], dtype }, bias: { shape: [6], dtype } },
    run: ({ x, weight, bias }) => noGrad(() => linear(x, weight, { bias })),
    reference: (h) => linearReference(h),
    slack: 8,
  }),
);

// --- matmul ---------------------------------------------------------------------------------------------------------------

/** Element (row, column) of matrix `batch`, as stored or transposed; batch axes of one repeat. */
function elementOf(t: Host, transposed: boolean, batch: readonly number[], row: number, column: number): number {
  const [rows, columns] = t.shape.slice(-2) as [number, number];
  const axes = t.shape.slice(0, -2);
  const lead = batch.length - axes.length;
  let matrix = 0;
  axes.forEach((size, i) => {
    matrix = matrix * size + (size === 1 ? 0 : (batch[lead + i] as number));
  });
  const at = transposed ? column * columns + row : row * columns + column;
  return t.data[matrix * rows * columns + at] as number;
}

function matmulReference(a: Host, b: Host, transposeA = false, transposeB = false): Host {
  const [aRows, aColumns] = a.shape.slice(-2) as [number, number];
  const [bRows, bColumns] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const n = transposeB ? bRows : bColumns;
  const rank = Math.max(a.shape.length, b.shape.length) - 2;
  const axis = (t: Host, i: number) => t.shape.slice(0, -2).at(i - rank) ?? 1;
  const batch = Array.from({ length: rank }, (_, i) => {
    const sizes = [axis(a, i), axis(b, i)];
    return sizes.includes(0) ? 0 : Math.max(...sizes);
  });
  return fill([...batch, m, n], (i) => {
    const [row, column] = [Math.floor(i / n) % m, i % n];
    let rest = Math.floor(i / n / m);
    const place = [...batch].reverse().map((size) => {
      const at = rest % size;
      rest = Math.floor(rest / size);
      return at;
    });
    place.reverse();
    let sum = 0;
    for (let p = 0; p < k; p++) {
      sum += elementOf(a, transposeA, place, row, p) * elementOf(b, transposeB, place, p, column);
    }
    return sum;
  });
}

const swap = (shape: readonly number[], on: boolean) =>
  on ? [...shape.slice(0, -2), shape.at(-1) as number, shape.at(-2) as number] : [...shape];

const products: OpCase[] = [
  { a: [1, 1], b: [1, 1] },
  { a: [3, 5], b: [5, 4] },
  { a: [2, 3, 5], b: [2, 5, 4] },
  { a: [2, 3, 5], b: [5, 4] },
  { a: [3, 5], b: [2, 5, 4] },
  { a: [2, 1, 3, 5], b: [3, 5, 2] },
  { a: [1, 3, 1, 5], b: [2, 1, 5, 2] },
  { a: [0, 3, 5], b: [5, 4] },
  { a: [2, 3, 0], b: [2, 0, 4] },
].flatMap(({ a: aShape, b: bShape }) =>
  [0, 1, 2, 3].map((mode) => {
    const [transposeA, transposeB] = [(mode & 1) !== 0, (mode & 2) !== 0];
    return opCase({
      name: `matmul [${aShape}] × [${bShape}]${transposeA ? ", a transposed" : ""}${transposeB ? ", b transposed" : ""}`,
      inputs: { a: { shape: swap(aShape, transposeA) }, b: { shape: swap(bShape, transposeB) } },
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, transposeA, transposeB),
      gradients: ["a", "b"],
      pitch: ["a", "b"],
      slack: 8,
    });
  }),
);

const larger: OpCase[] = [
  [130, 35, 33],
  [17, 70, 520],
].flatMap(([m = 0, n = 0, k = 0]) =>
  [0, 1, 2, 3].map((mode) => {
    const [transposeA, transposeB] = [(mode & 1) !== 0, (mode & 2) !== 0];
    return opCase({
      name: `matmul of ${m} × ${k} by ${n}, mode ${mode}`,
      inputs: { a: { shape: swap([2, m, k], transposeA) }, b: { shape: swap([k, n], transposeB) } },
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, transposeA, transposeB),
      dtypes: ["f32", "bf16", "f64"],
      slack: 32,
    });
  }),
);

const widened = opCase({
  name: "matmul of bf16 with an f32 result",
  inputs: { a: { shape: [4, 9], dtype: "bf16" }, b: { shape: [9, 5], dtype: "bf16" } },
  run: ({ a, b }: { a: AnyTensor; b: AnyTensor }) => matmul(a, b, { dtype: "f32" }),
  reference: ({ a, b }) => matmulReference(a, b),
  dtypes: ["f32"],
});

export const cases: OpCase[] = [
  ...plain,
  ...tiles,
  ...epilogues,
  intoView,
  ...scaled,
  ...mixed,
  ...products,
  ...larger,
  widened,
];
