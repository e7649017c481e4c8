import { rmsNorm } from "../../lib/ops/norm.js";
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

const shapes = [[1, 1], [3, 7, 32], [2, 5, 3, 17], [5, 128], [1, 1031], [0, 8]];

export const cases: OpCase[] = [
  ...shapes.map((shape) => opCase({
    name: `rmsNorm [${shape}]`,
    inputs: { x: { shape }, weight: { shape: [shape.at(-1) ?? 1] } },
    run: ({ x, weight }) => rmsNorm(x, weight),
    reference: ({ x, weight }) => rmsNormReference(x, weight, 1e-6),
    gradients: ["x", "weight"],
    pitch: ["x"],
  })),
  opCase({
    name: "rmsNorm without weight, small values where eps matters",
    inputs: { x: { shape: [4, 33], value: (_, random) => 1e-3 * (random() - 0.5) } },
    run: ({ x }) => rmsNorm(x, undefined, { eps: 1e-5 }),
    reference: ({ x }) => rmsNormReference(x, undefined, 1e-5),
    gradients: ["x"],
  }),
];
