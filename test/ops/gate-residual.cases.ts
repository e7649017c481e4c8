import { gateResidual } from "../../lib/ops/norm.js";
import { fill, type Host, type OpCase, opCase } from "./case.js";
import { modulation } from "./norm.cases.js";

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
  { shape: [3, 13, 40], m: [3, 40] },
  { shape: [1, 2, 1032], m: [1, 2, 1032] },
].map(({ shape, m }) =>
  opCase({
    name: `gateResidual [${shape}] by [${m}]`,
    inputs: { x: { shape }, y: { shape }, gate: { shape: m } },
    run: ({ x, y, gate }) => gateResidual(x, y, gate),
    reference: ({ x, y, gate }) => gateResidualReference(x, y, gate),
    gradients: shape[1] === 7000 ? ["gate"] : shape[2] === 1032 ? [] : ["x", "y", "gate"],
    pitch: ["x", "y", "gate"],
    slack: 16,
  }),
);

const wideGates = opCase({
  name: "gateResidual, several tiles of columns by a gate in f32, gradients in several chunks",
  inputs: { x: { shape: [2, 67, 1032] }, y: { shape: [2, 67, 1032] }, gate: { shape: [2, 1032], dtype: "f32" } },
  run: ({ x, y, gate }) => gateResidual(x, y, gate),
  reference: ({ x, y, gate }) => gateResidualReference(x, y, gate),
  gradients: ["y", "gate"],
  pitch: ["y"],
  dtypes: ["f32", "bf16", "f16"],
  slack: 16,
  only: ["simt", "cuda"],
});

export const cases: OpCase[] = [...gated, wideGates];
