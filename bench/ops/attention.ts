/**
 * Attention [B, S, H, D]: the size that the library is measured by, the joint sequence of a small clip (24 heads of 128),
 * the autoencoder's single head of 512 over frames, and the causal grouped heads of the text encoder.
 */
import { attention } from "../../lib/tensor.js";
import { type BenchCase, backward, forward, shapes } from "../case.js";

type Float = "f32" | "bf16";

/** Every token sees every other: forward, and the gradients alone. */
export function full(tokens: number, heads: number, dtype: Float): readonly BenchCase[] {
  const shape = [1, tokens, heads, 128];
  const one = { shape, dtype };
  const spec = {
    shape: shapes(shape),
    dtype,
    bound: "fma" as const,
    inputs: { q: one, k: one, v: one },
  };
  const sizes = { tokens, heads, width: 128 };
  return [
    forward({
      ...spec,
      op: "attention",
      peer: { kind: "attention", dtype, ...sizes },
      run: ({ q, k, v }) => attention(q, k, v),
    }),
    backward({
      ...spec,
      op: "attention gradients",
      peer: { kind: "attention_backward", dtype, ...sizes },
      gradients: ["q", "k", "v"],
      run: ({ q, k, v }) => attention(q, k, v),
    }),
  ];
}

const frames = 5;
const frameTokens = 32 * 32;

function overFrames(dtype: Float): BenchCase {
  const one = { shape: [1, frames * frameTokens, 1, 512], dtype };
  return forward({
    op: "attention by frames",
    shape: `${shapes(one.shape)}, ${frames} frames`,
    dtype,
    bound: "fma",
    peer: { kind: "attention_frames", dtype, frames, frameTokens, width: 512 },
    // Frame f sees f + 1 of the frames.
    flopsShare: (frames + 1) / (2 * frames),
    inputs: { q: one, k: one, v: one },
    run: ({ q, k, v }) => attention(q, k, v, { frameTokens }),
  });
}

function causal(dtype: Float): BenchCase {
  const q = { shape: [1, 1024, 32, 128], dtype };
  const kv = { shape: [1, 1024, 8, 128], dtype };
  return forward({
    op: "attention causal",
    shape: shapes(q.shape, kv.shape),
    dtype,
    bound: "fma",
    peer: { kind: "attention_causal", dtype, tokens: 1024, heads: 32, kvHeads: 8, width: 128 },
    inputs: { q, k: kv, v: kv },
    run: (t) => attention(t.q, t.k, t.v, { causal: true }),
  });
}

export const cases: readonly BenchCase[] = [
  ...full(4096, 8, "f32"),
  ...full(4096, 8, "bf16"),
  ...full(1344, 24, "f32"),
  ...full(1344, 24, "bf16"),
  overFrames("f32"),
  overFrames("bf16"),
  causal("f32"),
  causal("bf16"),
];
