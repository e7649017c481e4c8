import { groupNorm } from "../../lib/ops/norm.js";
import { mul } from "../../lib/ops/pointwise.js";
import { fill, type Host, type OpCase, opCase } from "./case.js";

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
  { shape: [2, 13, 24], groups: 3 },
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

/** More channels than the threads of a block take at a time, and a number of positions that parts do not divide. */
const manyChannels = [2056, 515].map((channels) =>
  opCase({
    name: `groupNorm [2,3,7,${channels}] with a weight in f32, silu`,
    inputs: {
      x: { shape: [2, 3, 7, channels] },
      weight: { shape: [channels], dtype: "f32" },
      bias: { shape: [channels] },
    },
    run: ({ x, weight, bias }) =>
      groupNorm(x, { groups: channels / (channels % 8 === 0 ? 8 : 5), weight, bias, silu: true }),
    reference: ({ x, weight, bias }) =>
      groupNormReference(x, { groups: channels / (channels % 8 === 0 ? 8 : 5), weight, bias, silu: true }),
    gradients: ["x", "weight", "bias"],
    pitch: ["x"],
    dtypes: ["f32", "bf16", "f16"],
    slack: 16,
    only: ["simt", "cuda"],
  }),
);

const groupNormParts = opCase({
  name: "groupNorm, gradients over parts of positions that end inside a sample",
  inputs: { x: { shape: [2, 2611, 8] }, weight: { shape: [8] }, bias: { shape: [8] } },
  run: ({ x, weight, bias }) => groupNorm(x, { groups: 2, weight, bias, silu: true }),
  reference: ({ x, weight, bias }) => groupNormReference(x, { groups: 2, weight, bias, silu: true }),
  gradients: ["x", "weight", "bias"],
  dtypes: ["f32", "bf16"],
  slack: 16,
  only: ["simt", "cuda"],
});

const inPlace = opCase({
  name: "groupNorm over what it reads",
  inputs: { x: { shape: [2, 5, 16] }, weight: { shape: [16] } },
  run: ({ x, weight }) => {
    const into = mul(x, 1);
    return groupNorm(into, { groups: 4, weight, silu: true, into });
  },
  reference: ({ x, weight }) => groupNormReference(x, { groups: 4, weight, silu: true }),
  slack: 8,
});

// --- gated residual ---------------------------------------------------------------------------------------------------------

export const cases: OpCase[] = [...group, ...manyChannels, groupNormParts, inPlace];
