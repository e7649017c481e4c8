import { layerNorm, layerNormModulate, rmsNorm } from "../../lib/ops/norm.js";
import { eachRow, fill, type Host, type OpCase, opCase } from "./case.js";

function rmsNormReference(x: Host, weight: Host | undefined, eps: number): Host {
  const y = fill(x.shape, () => 0);
  const width = x.shape.at(-1) ?? 1;
  eachRow(x, (row, r) => {
    const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + eps);
    row.forEach((v, i) => {
      y.data[r * width + i] = v * scale * (weight?.data[i] ?? 1);
    });
  });
  return y;
}

const shapes = [
  [1, 1],
  [3, 7, 32],
  [2, 5, 3, 17],
  [5, 128],
  [1, 1031],
  [0, 8],
];

const rms: OpCase[] = [
  ...shapes.map((shape) => {
    // With one value a row and a small eps the gradient is nearly zero, and differences of the reference only noise.
    const eps = shape.at(-1) === 1 ? 0.5 : 1e-6;
    return opCase({
      name: `rmsNorm [${shape}]`,
      inputs: { x: { shape }, weight: { shape: [shape.at(-1) ?? 1] } },
      run: ({ x, weight }) => rmsNorm(x, weight, { eps }),
      reference: ({ x, weight }) => rmsNormReference(x, weight, eps),
      gradients: shape.at(-1) === 1031 ? [] : ["x", "weight"],
      pitch: ["x"],
    });
  }),
  opCase({
    name: "rmsNorm without weight, small values where eps matters",
    inputs: { x: { shape: [4, 33], value: (_, random) => 1e-3 * (random() - 0.5) } },
    run: ({ x }) => rmsNorm(x, undefined, { eps: 1e-5 }),
    reference: ({ x }) => rmsNormReference(x, undefined, 1e-5),
  }),
  opCase({
    name: "rmsNorm of a tensor without axes",
    inputs: { x: { shape: [] } },
    run: ({ x }) => rmsNorm(x, undefined, { eps: 0.5 }),
    reference: ({ x }) => rmsNormReference(x, undefined, 0.5),
    gradients: ["x"],
  }),
  opCase({
    name: "rmsNorm without weight, eps as large as the squares",
    inputs: { x: { shape: [4, 33] } },
    run: ({ x }) => rmsNorm(x, undefined, { eps: 2 }),
    reference: ({ x }) => rmsNormReference(x, undefined, 2),
    gradients: ["x"],
  }),
  opCase({
    name: "rmsNorm, gradient of the weight summed over several chunks of rows",
    inputs: { x: { shape: [7000, 5] }, weight: { shape: [5] } },
    run: ({ x, weight }) => rmsNorm(x, weight),
    reference: ({ x, weight }) => rmsNormReference(x, weight, 1e-6),
    gradients: ["weight"],
    dtypes: ["f32"],
  }),
];

// --- layer norm -----------------------------------------------------------------------------------------------------------

interface Affine {
  readonly weight?: Host | undefined;
  readonly bias?: Host | undefined;
  readonly shift?: Host | undefined;
  readonly scale?: Host | undefined;
}

/** The value of a modulation for row r of x: a row for each sample or for each row. */
export function modulation(m: Host | undefined, rows: number, r: number, i: number): number {
  if (m === undefined) return 0;
  const width = m.shape.at(-1) ?? 1;
  const group = Math.floor(r / (rows / (m.data.length / width)));
  return m.data[group * width + i] as number;
}

function layerNormReference(x: Host, { weight, bias, shift, scale }: Affine, eps = 1e-6): Host {
  const y = fill(x.shape, () => 0);
  const width = x.shape.at(-1) ?? 1;
  const rows = width === 0 ? 0 : x.data.length / width;
  eachRow(x, (row, r) => {
    const mean = row.reduce((sum, v) => sum + v, 0) / width;
    const inverse = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width + eps);
    row.forEach((v, i) => {
      const normed = (v - mean) * inverse * (weight?.data[i] ?? 1) + (bias?.data[i] ?? 0);
      y.data[r * width + i] = normed * (1 + modulation(scale, rows, r, i)) + modulation(shift, rows, r, i);
    });
  });
  return y;
}

/** Values around 1000: the variance must not come from a difference of squares. */
const offset = (_: number, random: () => number) => 1000 + 4 * random();

const layer: OpCase[] = [
  ...[
    [1, 2],
    [3, 7, 32],
    [2, 5, 3, 17],
    [5, 128],
    [1, 1031],
    [0, 8],
  ].map((shape) =>
    opCase({
      name: `layerNorm [${shape}] with weight and bias`,
      inputs: { x: { shape }, weight: { shape: shape.slice(-1) }, bias: { shape: shape.slice(-1) } },
      run: ({ x, weight, bias }) => layerNorm(x, { weight, bias }),
      reference: ({ x, weight, bias }) => layerNormReference(x, { weight, bias }),
      gradients: shape.at(-1) === 1031 ? [] : ["x", "weight", "bias"],
      pitch: ["x"],
      slack: 8,
      // Two values are −1 and 1 whatever they were, but for eps: f64 still sees the gradient in that, f32 only noise.
      ...(shape.at(-1) === 2 ? { only: ["cpu"] } : {}),
    }),
  ),
  opCase({
    name: "layerNorm [1,2] with an eps as large as the variance",
    inputs: { x: { shape: [1, 2] }, weight: { shape: [2] }, bias: { shape: [2] } },
    run: ({ x, weight, bias }) => layerNorm(x, { weight, bias, eps: 0.5 }),
    reference: ({ x, weight, bias }) => layerNormReference(x, { weight, bias }, 0.5),
    gradients: ["x", "weight", "bias"],
    pitch: ["x"],
    slack: 8,
  }),
  opCase({
    name: "layerNorm plain, one value a row",
    inputs: { x: { shape: [4, 1] } },
    run: ({ x }) => layerNorm(x, { eps: 1e-5 }),
    reference: ({ x }) => layerNormReference(x, {}, 1e-5),
    gradients: ["x"],
  }),
  opCase({
    name: "layerNorm of a tensor without axes",
    inputs: { x: { shape: [] } },
    run: ({ x }) => layerNorm(x, { eps: 0.5 }),
    reference: ({ x }) => layerNormReference(x, {}, 0.5),
    gradients: ["x"],
  }),
  opCase({
    name: "layerNorm of values far from zero",
    inputs: { x: { shape: [3, 300], value: offset } },
    run: ({ x }) => layerNorm(x),
    reference: ({ x }) => layerNormReference(x, {}),
    dtypes: ["f32", "f64"],
    // Rounding x to f32 is no error here (the reference starts from the rounded values), but the mean is rounded.
    slack: 1000,
  }),
  ...[
    { x: [2, 5, 24], m: [2, 24] },
    { x: [2, 5, 24], m: [2, 1, 24] },
    { x: [2, 5, 24], m: [2, 5, 24] },
    { x: [3, 24], m: [3, 24] },
    { x: [1, 37, 7], m: [1, 7] },
    { x: [2, 0, 7], m: [2, 7] },
    { x: [1, 3, 2, 5, 9], m: [1, 1, 1, 1, 9] },
  ].map(({ x: shape, m }) =>
    opCase({
      name: `layerNormModulate [${shape}] by [${m}]`,
      inputs: { x: { shape }, shift: { shape: m }, scale: { shape: m } },
      run: ({ x, shift, scale }) => layerNormModulate(x, shift, scale),
      reference: ({ x, shift, scale }) => layerNormReference(x, { shift, scale }),
      gradients: ["x", "shift", "scale"],
      pitch: ["x", "shift", "scale"],
      slack: 8,
    }),
  ),
  ...[
    [2, 13],
    [2, 6, 13],
  ].map((m) =>
    opCase({
      name: `layerNormModulate by [${m}] with weight and bias`,
      inputs: {
        x: { shape: [2, 6, 13] },
        shift: { shape: m },
        scale: { shape: m },
        weight: { shape: [13] },
        bias: { shape: [13] },
      },
      run: ({ x, shift, scale, weight, bias }) => layerNormModulate(x, shift, scale, { weight, bias, eps: 1e-3 }),
      reference: ({ x, ...affine }) => layerNormReference(x, affine, 1e-3),
      gradients: ["x", "shift", "scale", "weight", "bias"],
      slack: 8,
    }),
  ),
  opCase({
    name: "layerNormModulate, gradients summed over several chunks of rows",
    inputs: { x: { shape: [2, 7000, 5] }, shift: { shape: [2, 5] }, scale: { shape: [2, 5] } },
    run: ({ x, shift, scale }) => layerNormModulate(x, shift, scale),
    reference: ({ x, shift, scale }) => layerNormReference(x, { shift, scale }),
    gradients: ["shift", "scale"],
    dtypes: ["f32"],
    slack: 8,
  }),
];

/** One width for each way in which rows are dealt out to threads, and rows that cannot be read in packs. */
const wide = [264, 520, 1040, 3080, 8200, 3075].flatMap((width) => {
  // Differences of the reference take the square of the number of elements: of long rows the CPU's gradients are left out.
  const gradients = width < 300;
  const only = gradients ? {} : { only: ["simt", "cuda"] };
  const inputs = {
    x: { shape: [2, width] },
    weight: { shape: [width], dtype: "f32" },
    bias: { shape: [width] },
  } as const;
  const modulation = { shape: [2, width], dtype: "f32" } as const;
  return [
    opCase({
      name: `rmsNorm [2,${width}] with a weight in f32`,
      inputs: { x: inputs.x, weight: inputs.weight },
      run: ({ x, weight }) => rmsNorm(x, weight),
      reference: ({ x, weight }) => rmsNormReference(x, weight, 1e-6),
      gradients: ["x", "weight"],
      pitch: ["x"],
      dtypes: ["f32", "bf16", "f16"],
      slack: 8,
      ...only,
    }),
    opCase({
      name: `layerNorm [2,${width}] with a weight in f32`,
      inputs,
      run: ({ x, weight, bias }) => layerNorm(x, { weight, bias }),
      reference: ({ x, weight, bias }) => layerNormReference(x, { weight, bias }),
      gradients: ["x", "weight", "bias"],
      dtypes: ["f32", "bf16", "f16"],
      slack: 16,
      ...only,
    }),
    opCase({
      name: `layerNormModulate [2,${width}], a modulation in f32 for each row`,
      inputs: { ...inputs, shift: modulation, scale: modulation },
      run: ({ x, ...affine }) => layerNormModulate(x, affine.shift, affine.scale, affine),
      reference: ({ x, ...affine }) => layerNormReference(x, affine),
      gradients: ["x", "weight", "bias", "shift", "scale"],
      pitch: ["scale"],
      dtypes: ["f32", "bf16", "f16"],
      slack: 16,
      only: ["simt", "cuda"],
    }),
  ];
});

const layerNormChunks = opCase({
  name: "layerNormModulate, chunks of rows that end inside a sample",
  inputs: {
    x: { shape: [3, 2050, 8] },
    shift: { shape: [3, 8] },
    scale: { shape: [3, 8] },
    weight: { shape: [8] },
    bias: { shape: [8] },
  },
  run: ({ x, shift, scale, weight, bias }) => layerNormModulate(x, shift, scale, { weight, bias }),
  reference: ({ x, ...affine }) => layerNormReference(x, affine),
  gradients: ["weight", "bias", "shift", "scale"],
  dtypes: ["f32", "bf16"],
  slack: 16,
  only: ["simt", "cuda"],
});

export const cases: OpCase[] = [...rms, ...layer, ...wide, layerNormChunks];
