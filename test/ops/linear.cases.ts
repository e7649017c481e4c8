import { detach, grad, noGrad, requiresGrad } from "../../lib/autograd/index.js";
import { zeros } from "../../lib/ops/fill.js";
import { type Activation, linear } from "../../lib/ops/linear.js";
import { slice } from "../../lib/ops/views.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";
import { matmulReference } from "./matmul.cases.js";

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

// Around the CUDA kernels' tiles: 128 × 256 or 64 × 64, K in blocks of 32; up to 8 rows go another way. Rows aligned to
// 16, 8, 4 and 2 bytes in the 16-bit types.
const cudaSizes = [
  [1, 19, 264],
  [3, 8, 520],
  [8, 17, 271],
  [9, 64, 32],
  [63, 65, 31],
  [65, 63, 33],
  [64, 66, 12],
  [70, 20, 10],
  [250, 500, 40],
  [257, 383, 72],
] as const;

const cudaTiles: OpCase[] = cudaSizes.map(([m, n, k]) =>
  opCase({
    name: `linear of ${m} × ${k} by ${n}, next to a CUDA tile's edge`,
    inputs: {
      x: { shape: [1, m, k] },
      weight: { shape: [n, k] },
      bias: { shape: [n] },
      residual: { shape: [1, m, n] },
      gate: { shape: [1, n] },
    },
    run: ({ x, weight, bias, residual, gate }) => linear(x, weight, { bias, residual, gate, activation: "gelu" }),
    reference: (h) => linearReference(h, gelu),
    slack: 32,
  }),
);

// K is cut where it is long and the result small; the parts' sums are finished together.
const cutSums: OpCase[] = [
  opCase({
    name: "linear with few results of long sums",
    inputs: { x: { shape: [9, 4100] }, weight: { shape: [11, 4100] }, bias: { shape: [11] } },
    run: ({ x, weight, bias }) => linear(x, weight, { bias, activation: "silu" }),
    reference: (h) => linearReference(h, silu),
    slack: 64,
  }),
];

/** dx = (dy · scale) W, db = Σ dy and dW = (dy · scale)ᵀ x. */
function gradientReference({
  x,
  weight,
  weightScale,
  dy,
}: Required<Pick<Parts, "x" | "weight" | "weightScale">> & { readonly dy: Host }): [Host, Host, Host] {
  const [n, k] = weight.shape as [number, number];
  const rows = dy.data.length / n;
  const scaled = fill([rows, n], (i) => {
    const scale = weightScale.data[weightScale.data.length === 1 ? 0 : i % n] as number;
    return (dy.data[i] as number) * scale;
  });
  const flat = fill([rows, k], (i) => x.data[i] as number);
  const dx = matmulReference(scaled, weight);
  const db = fill([n], (j) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += dy.data[row * n + j] as number;
    return sum;
  });
  return [{ shape: x.shape, data: dx.data }, db, matmulReference(scaled, flat, true, false)];
}

const gradientTiles: OpCase[] = [
  { m: [257], n: 72, k: 248 },
  { m: [257], n: 248, k: 72 },
  { m: [37], n: 248, k: 248 },
  { m: [2, 13], n: 40, k: 24 },
  { m: [70], n: 264, k: 8 },
].flatMap(({ m, n, k }) =>
  [
    { f8: false, scaleShape: [n] },
    { f8: true, scaleShape: [n] },
    { f8: true, scaleShape: [1] },
  ].map(({ f8, scaleShape }) =>
    opCase({
      name: `linear's gradients, [${m}] × ${k} by ${n}, ${f8 ? "f8e4m3 " : ""}weight with scale [${scaleShape}]`,
      inputs: {
        x: { shape: [...m, k] },
        weight: { shape: [n, k], ...(f8 ? { dtype: "f8e4m3", value: f8Value } : {}) },
        weightScale: { shape: scaleShape, dtype: "f32", value: (_, random) => 0.5 + random() },
        bias: { shape: [n] },
        dy: { shape: [...m, n] },
      },
      run: ({ x, weight, weightScale, bias, dy }) => {
        const leaves = [x, bias, ...(f8 ? [] : [weight])].map((t) => requiresGrad(detach(t)));
        const [leafX = x, leafBias, leafWeight = weight] = leaves;
        const y = linear(leafX, leafWeight, { weightScale, bias: leafBias });
        return grad(y, leaves, { gradient: dy }) as Tensor[];
      },
      reference: (h) => gradientReference(h).slice(0, f8 ? 2 : 3),
      slack: 32,
    }),
  ),
);

const groupedRows = opCase({
  name: "linear's gradients for rows in groups with gaps between",
  inputs: { x: { shape: [3, 9, 16] }, weight: { shape: [24, 16] }, dy: { shape: [3, 8, 24] } },
  run: ({ x, weight, dy }) => {
    const leaves = [requiresGrad(detach(x)), requiresGrad(detach(weight))] as [AnyTensor, AnyTensor];
    return grad(linear(slice(leaves[0], 1, 1, 9), leaves[1]), leaves, { gradient: dy }) as Tensor[];
  },
  reference: ({ x, weight, dy }) => {
    const part = fill([3, 8, 16], (i) => x.data[Math.floor(i / 128) * 144 + 16 + (i % 128)] as number);
    const [dx, , dw] = gradientReference({ x: part, weight, weightScale: fill([1], () => 1), dy });
    const whole = fill([3, 9, 16], (i) =>
      i % 144 < 16 ? 0 : (dx.data[Math.floor(i / 144) * 128 + (i % 144) - 16] as number),
    );
    return [whole, dw];
  },
  slack: 16,
});

export const cases: OpCase[] = [
  ...plain,
  ...tiles,
  ...epilogues,
  intoView,
  ...scaled,
  ...mixed,
  ...cudaTiles,
  ...cutSums,
  ...gradientTiles,
  groupedRows,
];
