/** Rotation of queries and keys, 24 heads of 128. */
import { qkNormRope, rope } from "../../lib/tensor.js";
import { type BenchCase, forward, shapes } from "../case.js";

function onHeads(dtype: "f32" | "bf16"): readonly BenchCase[] {
  const tokens = dtype === "f32" ? 16_384 : 32_768;
  const x = { shape: [1, tokens, 24, 128], dtype };
  const table = { shape: [tokens, 128], dtype: "f32" as const };
  const weight = { shape: [128], dtype };
  return [
    forward({
      op: "rope",
      shape: shapes(x.shape),
      dtype,
      bound: "copy",
      inputs: { x, cos: table, sin: table },
      run: (t) => rope(t.x, t.cos, t.sin),
    }),
    forward({
      op: "qkNormRope",
      shape: `q, k ${shapes(x.shape)}`,
      dtype,
      bound: "copy",
      inputs: { q: x, k: x, qWeight: weight, kWeight: weight, cos: table, sin: table },
      run(t) {
        const { q, k } = qkNormRope(t.q, t.k, t.qWeight, t.kWeight, t.cos, t.sin);
        return [q, k];
      },
    }),
  ];
}

export const cases: readonly BenchCase[] = [...onHeads("f32"), ...onHeads("bf16")];
