/** Normalisation at the model's widths, on 200 MB: more than a cache holds. */
import { gateResidual, groupNorm, layerNorm, layerNormModulate, rmsNorm } from "../../lib/tensor.js";
import { type BenchCase, backward, forward, shapes } from "../case.js";

type Float = "f32" | "bf16";

/** Tokens that make the same number of bytes in either type. */
const tokensOf = (dtype: Float) => (dtype === "f32" ? 16_384 : 32_768);

export function onTokens(dtype: Float, tokens = tokensOf(dtype)): readonly BenchCase[] {
  const x = { shape: [1, tokens, 3072], dtype };
  const row = { shape: [1, 3072], dtype };
  const heads = { shape: [1, tokens, 24, 128], dtype };
  const spec = { shape: shapes(x.shape), dtype, bound: "copy" as const };
  return [
    forward({
      ...spec,
      op: "layerNorm",
      peer: { kind: "layer_norm", dtype, shape: x.shape },
      inputs: { x },
      run: (t) => layerNorm(t.x),
    }),
    forward({
      ...spec,
      op: "layerNormModulate",
      peer: { kind: "layer_norm_modulate", dtype, shape: x.shape },
      inputs: { x, shift: row, scale: row },
      run: (t) => layerNormModulate(t.x, t.shift, t.scale),
    }),
    forward({
      ...spec,
      op: "rmsNorm heads",
      shape: shapes(heads.shape),
      peer: { kind: "rms_norm", dtype, shape: heads.shape },
      inputs: { x: heads, weight: { shape: [128], dtype } },
      run: (t) => rmsNorm(t.x, t.weight),
    }),
    forward({
      ...spec,
      op: "gateResidual",
      peer: { kind: "gate_residual", dtype, shape: x.shape },
      inputs: { x, y: x, gate: row },
      run: (t) => gateResidual(t.x, t.y, t.gate),
    }),
    backward({
      ...spec,
      op: "layerNormModulate gradients",
      inputs: { x, shift: row, scale: row },
      gradients: ["x", "shift", "scale"],
      run: (t) => layerNormModulate(t.x, t.shift, t.scale),
    }),
  ];
}

function groups(dtype: Float): BenchCase {
  const x = { shape: [1, 5, dtype === "f32" ? 128 : 256, 256, 256], dtype };
  const row = { shape: [256], dtype };
  return forward({
    op: "groupNorm silu",
    shape: shapes(x.shape),
    dtype,
    bound: "copy",
    peer: { kind: "group_norm_silu", dtype, shape: x.shape, groups: 32 },
    inputs: { x, weight: row, bias: row },
    run: (t) => groupNorm(t.x, { groups: 32, weight: t.weight, bias: t.bias, silu: true }),
  });
}

export const cases: readonly BenchCase[] = [...onTokens("f32"), ...onTokens("bf16"), groups("f32"), groups("bf16")];
