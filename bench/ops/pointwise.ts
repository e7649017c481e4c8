/** Element by element on [S, 3072], 200 MB for each operand: memory is the limit, whatever the function. */
import { add, cast, clamp, exp, gelu, mul, silu, type Tensor, tanh, where } from "../../lib/tensor.js";
import { type BenchCase, forward, shapes } from "../case.js";

type Float = "f32" | "bf16";

const rowsOf = (dtype: Float) => (dtype === "f32" ? 16_384 : 32_768);

/** Functions of one tensor, by the library's name. */
const unary = {
  "mul number": (x: Tensor<Float>) => mul(x, 0.5),
  silu,
  "gelu tanh": (x: Tensor<Float>) => gelu(x, { approximate: "tanh" }),
  exp,
  tanh,
  clamp: (x: Tensor<Float>) => clamp(x, { min: -0.5, max: 0.5 }),
} as const;

/** What the peer calls them. */
const peers: { readonly [op: string]: string } = { silu: "silu", "gelu tanh": "gelu_tanh", exp: "exp", tanh: "tanh" };

function onRows(dtype: Float): readonly BenchCase[] {
  const x = { shape: [rowsOf(dtype), 3072], dtype };
  const spec = { shape: shapes(x.shape), dtype, bound: "copy" as const };
  return [
    forward({
      ...spec,
      op: "add",
      shape: shapes(x.shape, x.shape),
      peer: { kind: "add", dtype, shape: x.shape },
      inputs: { x, y: x },
      run: (t) => add(t.x, t.y),
    }),
    forward({
      ...spec,
      op: "add",
      shape: shapes(x.shape, [3072]),
      inputs: { x, row: { shape: [3072], dtype } },
      run: (t) => add(t.x, t.row),
    }),
    forward({
      ...spec,
      op: "where",
      inputs: { cond: { shape: x.shape, dtype: "bool" }, x, y: x },
      run: (t) => where(t.cond, t.x, t.y),
    }),
    ...Object.entries(unary).map(([op, fn]) => {
      const name = peers[op];
      const peer = name === undefined ? undefined : { kind: "unary", fn: name, dtype, shape: x.shape };
      return forward({ ...spec, op, peer, inputs: { x }, run: (t) => fn(t.x) });
    }),
    forward({
      ...spec,
      op: "cast",
      dtype: dtype === "f32" ? "f32→bf16" : "bf16→f32",
      inputs: { x },
      run: (t) => cast(t.x, dtype === "f32" ? "bf16" : "f32"),
    }),
  ];
}

export const cases: readonly BenchCase[] = [...onRows("f32"), ...onRows("bf16")];
