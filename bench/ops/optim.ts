/** Steps of the optimizer over several tensors at once. */
import { adamwStep, emaStep, globalNorm } from "../../lib/tensor.js";
import { type BenchCase, forward } from "../case.js";

const shape = [4096, 4096];
const one = { shape, dtype: "f32" as const };
const squares = { ...one, positive: true };

export const cases: readonly BenchCase[] = [
  forward({
    op: "adamwStep",
    shape: "2 of [4096, 4096]",
    dtype: "f32",
    bound: "copy",
    peer: { kind: "adamw", dtype: "f32", shape },
    inputs: { p0: one, p1: one, g0: one, g1: one, m0: one, m1: one, v0: squares, v1: squares },
    run(t) {
      adamwStep([t.p0, t.p1], [t.g0, t.g1], [t.m0, t.m1], [t.v0, t.v1], { lr: 1e-4, step: 100 });
      return [];
    },
  }),
  forward({
    op: "emaStep",
    shape: "2 of [4096, 4096]",
    dtype: "f32",
    bound: "copy",
    inputs: { a0: one, a1: one, p0: one, p1: one },
    run(t) {
      emaStep([t.a0, t.a1], [t.p0, t.p1], 0.999);
      return [];
    },
  }),
  forward({
    op: "globalNorm",
    shape: "2 of [4096, 4096]",
    dtype: "f32",
    bound: "read",
    inputs: { g0: one, g1: one },
    run: (t) => globalNorm([t.g0, t.g1]),
  }),
];
