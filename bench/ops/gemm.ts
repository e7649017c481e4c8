/**
 * Matrix products: the square one that everybody knows, and the linears of a HunyuanVideo block (hidden size 3072, MLP
 * 12288) at 1,024 of the 119,056 tokens that a 720p clip has.
 */
import { linear, type Shape } from "../../lib/tensor.js";
import { type BenchCase, backward, forward, shapes } from "../case.js";

type Float = "f32" | "bf16";
type Weight = Float | "f8e4m3";

const typeName = (x: Float, w: Weight) => (x === w ? x : `${x}·${w}`);
const weightScale = (inner: number) => 1 / Math.sqrt(inner);

/** x [rows, inner] by the transpose of w [columns, inner]. */
export function plain(rows: number, inner: number, columns: number, x: Float, w: Float): BenchCase {
  const [xShape, wShape]: [Shape, Shape] = [
    [rows, inner],
    [columns, inner],
  ];
  return forward({
    op: "linear",
    shape: shapes(xShape, wShape),
    dtype: typeName(x, w),
    // One row meets each weight once: reading it is the work.
    bound: rows === 1 ? "read" : "fma",
    peer: { kind: "linear", dtype: x, weight: w, rows, inner, columns },
    inputs: { x: { shape: xShape, dtype: x }, w: { shape: wShape, dtype: w, scale: weightScale(inner) } },
    run: (t) => linear(t.x, t.w),
  });
}

const tokens = 1024;
const hidden = 3072;
const mlp = 12288;

function block(x: Float, w: Weight): readonly BenchCase[] {
  const dtype = typeName(x, w);
  const input = (name: string, inner: number, columns: number) => ({
    op: `linear ${name}`,
    shape: shapes([1, tokens, inner], [columns, inner]),
    dtype,
    bound: "fma" as const,
    inputs: {
      x: { shape: [1, tokens, inner], dtype: x },
      w: { shape: [columns, inner], dtype: w, scale: weightScale(inner) },
      bias: { shape: [columns], dtype: x },
    },
  });
  return [
    forward({ ...input("qkv", hidden, 3 * hidden), run: ({ x, w, bias }) => linear(x, w, { bias }) }),
    forward({
      ...input("fc1 gelu", hidden, mlp),
      run: ({ x, w, bias }) => linear(x, w, { bias, activation: "gelu" }),
    }),
    forward({
      ...input("fc2 gate", mlp, hidden),
      inputs: {
        ...input("", mlp, hidden).inputs,
        residual: { shape: [1, tokens, hidden], dtype: x },
        gate: { shape: [1, hidden], dtype: x },
      },
      run: ({ x, w, bias, residual, gate }) => linear(x, w, { bias, residual, gate }),
    }),
  ];
}

export const cases: readonly BenchCase[] = [
  plain(2048, 2048, 2048, "f32", "f32"),
  plain(2048, 2048, 2048, "f32", "bf16"),
  plain(2048, 2048, 2048, "bf16", "bf16"),
  ...block("f32", "f32"),
  ...block("bf16", "bf16"),
  forward({
    op: "linear qkv",
    shape: shapes([1, tokens, hidden], [3 * hidden, hidden]),
    dtype: "bf16·f8e4m3",
    bound: "fma",
    inputs: {
      x: { shape: [1, tokens, hidden], dtype: "bf16" },
      w: { shape: [3 * hidden, hidden], dtype: "f8e4m3" },
      scale: { shape: [1], dtype: "f32", scale: 0.02 },
    },
    run: ({ x, w, scale }) => linear(x, w, { weightScale: scale }),
  }),
  // The modulation of a dual-stream block: one row for all tokens of a sample.
  plain(1, hidden, 6 * hidden, "f32", "f32"),
  plain(1, hidden, 6 * hidden, "bf16", "bf16"),
  ...(["f32", "bf16"] as const).map((dtype) =>
    backward({
      op: "linear gradients",
      shape: shapes([1, tokens, hidden], [hidden, hidden]),
      dtype,
      bound: "fma",
      peer: { kind: "linear_backward", dtype, rows: tokens, inner: hidden, columns: hidden },
      inputs: {
        x: { shape: [1, tokens, hidden], dtype },
        w: { shape: [hidden, hidden], dtype, scale: weightScale(hidden) },
        bias: { shape: [hidden], dtype },
      },
      gradients: ["x", "w", "bias"],
      run: ({ x, w, bias }) => linear(x, w, { bias }),
    }),
  ),
];
