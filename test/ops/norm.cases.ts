import { gateResidual, groupNorm, layerNorm, layerNormModulate, rmsNorm } from "../../lib/ops/norm.js";
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
function modulation(m: Host | undefined, rows: number, r: number, i: number): number {
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
    }),
  ),
  opCase({
    name: "layerNorm plain, one value a row",
    inputs: { x: { shape: [4, 1] } },
    run: ({ x }) => layerNorm(x, { eps: 1e-5 }),
    reference: ({ x }) => layerNormReference(x, {}, 1e-5),
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

// --- group norm -----------------------------------------------------------------------------------------------------------

interface GroupParts {
  readonly groups: number;
  readonly weight?: Host;
  readonly bias?: Host;
  readonly silu?: boolean;
}

function groupNormReference(x: Host, { groups, weight, bias, silu }: GroupParts, eps = 1e-6): Host {
  const y = fill(x.shape, () => 0);
  const [samples = 1, channels = 1] = [x.shape[0], x.shape.at(-1)];
  const positions = channels * samples === 0 ? 0 : x.data.length / samples / channels;
  const size = channels / groups;
  for (let b = 0; b < samples; b++) {
    for (let g = 0; g < groups; g++) {
      const each = (fn: (i: number, c: number) => void) => {
        for (let p = b * positions; p < (b + 1) * positions; p++) {
          for (let c = g * size; c < (g + 1) * size; c++) fn(p * channels + c, c);
        }
      };
      let [sum, squares] = [0, 0];
      each((i) => {
        sum += x.data[i] as number;
      });
      const mean = sum / (positions * size);
      each((i) => {
        squares += ((x.data[i] as number) - mean) ** 2;
      });
      const inverse = 1 / Math.sqrt(squares / (positions * size) + eps);
      each((i, c) => {
        const z = ((x.data[i] as number) - mean) * inverse * (weight?.data[c] ?? 1) + (bias?.data[c] ?? 0);
        y.data[i] = silu ? z / (1 + Math.exp(-z)) : z;
      });
    }
  }
  return y;
}

const groupShapes = [
  { shape: [2, 3, 4, 5, 8], groups: 4 },
  { shape: [1, 6], groups: 2 },
  { shape: [2, 11, 12], groups: 1 },
  { shape: [3, 7, 5], groups: 5 },
  { shape: [1, 2, 1, 3, 64], groups: 32 },
  { shape: [0, 3, 8], groups: 2 },
  { shape: [2, 0, 8], groups: 2 },
];

const group: OpCase[] = [
  ...groupShapes.flatMap(({ shape, groups }) =>
    [false, true].map((silu) =>
      opCase({
        name: `groupNorm [${shape}] in ${groups} groups${silu ? ", silu" : ""}`,
        inputs: { x: { shape }, weight: { shape: shape.slice(-1) }, bias: { shape: shape.slice(-1) } },
        run: ({ x, weight, bias }) => groupNorm(x, { groups, weight, bias, silu }),
        reference: ({ x, weight, bias }) => groupNormReference(x, { groups, weight, bias, silu }),
        gradients: ["x", "weight", "bias"],
        pitch: ["x"],
        slack: 8,
      }),
    ),
  ),
  opCase({
    name: "groupNorm without weight, small values where eps matters",
    inputs: { x: { shape: [2, 3, 5, 8], value: (_, random) => 1e-3 * (random() - 0.5) } },
    run: ({ x }) => groupNorm(x, { groups: 2, eps: 1e-6 }),
    reference: ({ x }) => groupNormReference(x, { groups: 2 }),
    slack: 8,
  }),
  opCase({
    name: "groupNorm over many blocks and parts, values far from zero that drift",
    inputs: { x: { shape: [2, 9000, 6], value: (i, random) => 50 + i / 5000 + random() } },
    run: ({ x }) => groupNorm(x, { groups: 2 }),
    reference: ({ x }) => groupNormReference(x, { groups: 2 }),
    dtypes: ["f32", "f64"],
    slack: 64,
  }),
  opCase({
    name: "groupNorm, gradients of weight and bias summed over several blocks",
    inputs: { x: { shape: [2, 9000, 4] }, weight: { shape: [4] }, bias: { shape: [4] } },
    run: ({ x, weight, bias }) => groupNorm(x, { groups: 2, weight, bias, silu: true }),
    reference: ({ x, weight, bias }) => groupNormReference(x, { groups: 2, weight, bias, silu: true }),
    gradients: ["weight", "bias"],
    dtypes: ["f32"],
    slack: 8,
  }),
];

// --- gated residual ---------------------------------------------------------------------------------------------------------

function gateResidualReference(x: Host, y: Host, gate: Host): Host {
  const width = x.shape.at(-1) ?? 1;
  const rows = width === 0 ? 0 : x.data.length / width;
  return fill(x.shape, (i) => {
    const f = modulation(gate, rows, Math.floor(i / width), i % width);
    return (x.data[i] as number) + (y.data[i] as number) * f;
  });
}

const gated: OpCase[] = [
  { shape: [2, 5, 24], m: [2, 24] },
  { shape: [2, 5, 24], m: [2, 1, 24] },
  { shape: [2, 5, 7], m: [2, 5, 7] },
  { shape: [1, 1, 1], m: [1, 1] },
  { shape: [2, 0, 7], m: [2, 7] },
  { shape: [1, 7000, 5], m: [1, 5] },
].map(({ shape, m }) =>
  opCase({
    name: `gateResidual [${shape}] by [${m}]`,
    inputs: { x: { shape }, y: { shape }, gate: { shape: m } },
    run: ({ x, y, gate }) => gateResidual(x, y, gate),
    reference: ({ x, y, gate }) => gateResidualReference(x, y, gate),
    gradients: shape[1] === 7000 ? ["gate"] : ["x", "y", "gate"],
    pitch: ["x", "y", "gate"],
    slack: 16,
  }),
);

export const cases: OpCase[] = [...rms, ...layer, ...group, ...gated];
