/** Sums, extremes, softmax and losses over [S, 3072], 200 MB. */
import { argmax, max, mse, norm, softmax, sum, variance } from "../../lib/tensor.js";
import { type BenchCase, forward, shapes } from "../case.js";

function onRows(dtype: "f32" | "bf16"): readonly BenchCase[] {
  const x = { shape: [dtype === "f32" ? 16_384 : 32_768, 3072], dtype };
  const spec = { shape: shapes(x.shape), dtype, bound: "read" as const, inputs: { x } };
  const task = { dtype, shape: x.shape };
  return [
    forward({ ...spec, op: "sum all", peer: { kind: "sum", axis: -2, ...task }, run: (t) => sum(t.x) }),
    forward({
      ...spec,
      op: "sum last axis",
      peer: { kind: "sum", axis: 1, ...task },
      run: (t) => sum(t.x, { axes: -1 }),
    }),
    forward({
      ...spec,
      op: "sum first axis",
      peer: { kind: "sum", axis: 0, ...task },
      run: (t) => sum(t.x, { axes: 0 }),
    }),
    forward({ ...spec, op: "max last axis", run: (t) => max(t.x, { axes: -1 }) }),
    forward({ ...spec, op: "argmax last axis", run: (t) => argmax(t.x, { axis: -1 }) }),
    forward({ ...spec, op: "norm all", run: (t) => norm(t.x) }),
    forward({ ...spec, op: "variance last axis", run: (t) => variance(t.x, { axes: -1 }) }),
    forward({ ...spec, op: "mse", shape: shapes(x.shape, x.shape), inputs: { x, y: x }, run: (t) => mse(t.x, t.y) }),
    forward({
      ...spec,
      op: "softmax",
      bound: "copy",
      peer: { kind: "softmax", ...task },
      run: (t) => softmax(t.x),
    }),
  ];
}

export const cases: readonly BenchCase[] = [
  ...onRows("f32"),
  ...onRows("bf16"),
  forward({
    op: "sum all",
    shape: "[268435456]",
    dtype: "u8",
    bound: "read",
    inputs: { x: { shape: [2 ** 28], dtype: "u8", scale: 256 } },
    run: (t) => sum(t.x),
  }),
];
