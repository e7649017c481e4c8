/**
 * Scaled dot-product attention over [B, S, H, D]: full, ragged, causal, block-causal by frame, with grouped KV heads.
 * Memory is linear in the sequence: scores live in blocks and are made again for the gradient.
 *
 * B batch, Sq and Sk queries and keys, H query heads, Hkv key and value heads, D and Dv width of a head.
 */

import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkFlag, checkNumber, checkOptions, checkTensor } from "../tensor/check.js";
import { type DType, type FloatDType, sumDType } from "../tensor/dtype.js";
import { type Shape, sameShape, showShape } from "../tensor/shape.js";
import { recordingOff } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, one, optional } from "./define.js";

const rows = { layout: "rows" } as const;
const lengths = { dtypes: ["i32"] } as const;
const attrs = { scale: "f64", causal: "bool", frameTokens: "i64" } as const;

/** Multiply-adds count twice; masks are not known here, except that causal sees half of a square. */
function productFlops(q: Tensor, k: Tensor, perDepth: number, causal: boolean): number {
  const [keys = 0] = k.shape.slice(1);
  return (2 * perDepth * (q.size / Math.max(1, q.shape[3] ?? 1)) * keys) / (causal ? 2 : 1);
}

const attentionOp = defineOp({
  name: "attention",
  doc: "o = softmax(scale · q kᵀ + keyMask) v in blocks; lse = log Σ exp of the scores",
  inputs: {
    q: one(rows),
    k: one(rows),
    v: one(rows),
    keyMask: optional({ dtypes: ["f32"], layout: "rows" }),
    cuSeqlens: optional(lengths),
    cuSeqlensK: optional(lengths),
  },
  attrs: { ...attrs, wantLse: "bool" },
  outputs: ["o", "lse"],
  shape({ q, k, v, keyMask, cuSeqlens, cuSeqlensK }, { wantLse }) {
    checkHeads(q, k, v);
    if (keyMask !== undefined) checkMask(k, keyMask);
    checkLengths(q, k, cuSeqlens, cuSeqlensK);
    const [batch = 0, queries = 0, heads = 0] = q.shape;
    return {
      o: { dtype: q.dtype, shape: [batch, queries, heads, v.shape[3] ?? 0] },
      lse: wantLse ? { dtype: sumDType(q), shape: [batch, heads, queries] } : undefined,
    };
  },
  saves: ["q", "k", "v", "keyMask", "cuSeqlens", "cuSeqlensK", "o", "lse"],
  vjp({ saved, given, needs, grads, attrs }) {
    if (grads.o === undefined && grads.lse === undefined) return {};
    const { scale, causal, frameTokens } = attrs;
    const { dq, dk, dv } = runOp<{ dq: FloatDType; dk: FloatDType; dv: FloatDType }>(
      attentionBackwardOp,
      {
        q: saved.q,
        k: saved.k,
        v: saved.v,
        keyMask: given.keyMask ? saved.keyMask : undefined,
        cuSeqlens: given.cuSeqlens ? saved.cuSeqlens : undefined,
        cuSeqlensK: given.cuSeqlensK ? saved.cuSeqlensK : undefined,
        o: saved.o,
        lse: saved.lse,
        dout: grads.o,
        dlse: grads.lse,
      },
      { scale, causal, frameTokens, wantQ: needs.q, wantK: needs.k, wantV: needs.v },
    );
    return { q: needs.q ? dq : undefined, k: needs.k ? dk : undefined, v: needs.v ? dv : undefined };
  },
  cost: ({ q, k, v }, { causal }) => ({
    bytes: 2 * q.bytes + k.bytes + v.bytes,
    flops: productFlops(q, k, (q.shape[3] ?? 0) + (v.shape[3] ?? 0), causal),
  }),
});

const attentionBackwardOp = defineOp({
  name: "attention_backward",
  doc: "gradients of attention for q, k and v, from probabilities made again out of lse; the same bytes each time",
  inputs: {
    q: one(rows),
    k: one(rows),
    v: one(rows),
    keyMask: optional({ dtypes: ["f32"], layout: "rows" }),
    cuSeqlens: optional(lengths),
    cuSeqlensK: optional(lengths),
    o: one(rows),
    lse: one({ dtypes: ["f32", "f64"] }),
    dout: optional(rows),
    dlse: optional({ dtypes: ["f32", "f64"] }),
  },
  attrs: { ...attrs, wantQ: "bool", wantK: "bool", wantV: "bool" },
  outputs: ["dq", "dk", "dv"],
  shape: ({ q, k, v }, { wantQ, wantK, wantV }) => ({
    dq: wantQ ? { dtype: q.dtype, shape: q.shape } : undefined,
    dk: wantK ? { dtype: k.dtype, shape: k.shape } : undefined,
    dv: wantV ? { dtype: v.dtype, shape: v.shape } : undefined,
  }),
  cost: ({ q, k, v }, { causal }) => ({
    bytes: 3 * q.bytes + 2 * (k.bytes + v.bytes),
    flops: productFlops(q, k, 3 * (q.shape[3] ?? 0) + 2 * (v.shape[3] ?? 0), causal),
  }),
});

function mismatch(argument: string, seen: Shape, expected: string, other: Shape): HunyuanError<"SHAPE_MISMATCH"> {
  return new HunyuanError("SHAPE_MISMATCH", `attention: ${argument} is ${showShape(seen)}, expected ${expected}`, {
    op: "attention",
    argument,
    shapes: [seen, other],
  });
}

function invalid(argument: string, message: string): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `attention: ${message}`, { op: "attention", argument });
}

function checkHeads(q: Tensor, k: Tensor, v: Tensor): void {
  if (q.rank !== 4) throw mismatch("q", q.shape, "[batch, queries, heads, width]", k.shape);
  const [batch, , heads = 0, width] = q.shape;
  if (k.rank !== 4 || k.shape[0] !== batch || k.shape[3] !== width) {
    throw mismatch("k", k.shape, `[${batch}, keys, kv heads, ${width}] (q is ${showShape(q.shape)})`, q.shape);
  }
  if (v.rank !== 4 || v.shape[0] !== batch || v.shape[1] !== k.shape[1] || v.shape[2] !== k.shape[2]) {
    throw mismatch("v", v.shape, `[${k.shape.slice(0, 3).join(", ")}, width] (k is ${showShape(k.shape)})`, k.shape);
  }
  const kvHeads = k.shape[2] ?? 0;
  if (kvHeads === 0 ? heads !== 0 : heads % kvHeads !== 0) {
    throw mismatch("k", k.shape, `a number of heads that divides the ${heads} of q`, q.shape);
  }
  checkType("k", k, q);
  checkType("v", v, q);
}

function checkType(argument: string, { dtype }: Tensor, q: Tensor): void {
  if (dtype === q.dtype) return;
  throw new HunyuanError("DTYPE_UNSUPPORTED", `attention: ${argument} is ${dtype}, expected ${q.dtype} as q is`, {
    op: "attention",
    argument,
    dtype,
  });
}

function checkMask(k: Tensor, keyMask: Tensor): void {
  const expected = k.shape.slice(0, 2);
  if (sameShape(keyMask.shape, expected)) return;
  throw mismatch("keyMask", keyMask.shape, `${showShape(expected)} (k is ${showShape(k.shape)})`, k.shape);
}

function checkLengths(q: Tensor, k: Tensor, cuSeqlens: Tensor | undefined, cuSeqlensK: Tensor | undefined): void {
  if (cuSeqlens === undefined) {
    if (cuSeqlensK === undefined) return;
    throw invalid("cuSeqlensK", "cuSeqlensK was given without cuSeqlens");
  }
  if (cuSeqlens.rank !== 1 || cuSeqlens.size < 1)
    throw mismatch("cuSeqlens", cuSeqlens.shape, "[segments + 1]", q.shape);
  if (cuSeqlensK !== undefined && !sameShape(cuSeqlensK.shape, cuSeqlens.shape)) {
    throw mismatch("cuSeqlensK", cuSeqlensK.shape, `${showShape(cuSeqlens.shape)} as cuSeqlens`, cuSeqlens.shape);
  }
  if (q.shape[0] !== 1) throw mismatch("q", q.shape, "a batch of 1: cuSeqlens cuts one axis of tokens", k.shape);
  if (cuSeqlensK === undefined && q.shape[1] !== k.shape[1]) {
    throw mismatch("k", k.shape, `${q.shape[1]} keys as q, or cuSeqlensK besides cuSeqlens`, q.shape);
  }
}

export interface AttentionOptions {
  /** Factor of q kᵀ. Default 1 / √D. */
  readonly scale?: number | undefined;
  /**
   * Query i sees keys 0 … i + Sk − Sq: the last query sees all keys, as in flash-attention from 2.1 on. With
   * cuSeqlens, i, Sq and Sk count within the segment. Default false.
   */
  readonly causal?: boolean | undefined;
  /**
   * Tokens of a frame: queries of frame f see the keys of frames 0 … f whole (HunyuanVideo's autoencoder). Frames are
   * counted from the first token (of the segment), for queries and keys alike; the last one may be cut short.
   */
  readonly frameTokens?: number | undefined;
  /**
   * i32 [n + 1], needs B = 1: the token axis is n segments, segment s from cuSeqlens[s] to cuSeqlens[s + 1], and tokens
   * attend within their segment only. Starts at 0 and never falls; segments may be empty; tokens after the last one
   * see nothing.
   */
  readonly cuSeqlens?: Tensor<"i32"> | undefined;
  /** The same for the keys, where they are cut differently. Default cuSeqlens. */
  readonly cuSeqlensK?: Tensor<"i32"> | undefined;
  /** f32 [B, Sk], added to the scores of a key. −inf, or anything below −1e30, hides the key. Gets no gradient. */
  readonly keyMask?: Tensor<"f32"> | undefined;
  /** Also return lse. Default false. */
  readonly returnLse?: boolean | undefined;
}

export interface AttentionResult<D extends DType> {
  /** [B, Sq, H, Dv] */
  readonly o: Tensor<D>;
  /** [B, H, Sq]: natural log of Σ exp(scale · q·k + keyMask); f32, for f64 inputs f64. */
  readonly lse: Tensor<"f32" | "f64">;
}

/**
 * softmax(scale · q kᵀ + keyMask) v for each head, with exact softmax in blocks (online maximum and sum): memory is
 * linear in the sequence. Sums are f32 (f64 for f64). With H > Hkv each key head serves H / Hkv query heads in a row.
 * A query that sees no key gives o = 0, lse = −inf and no gradient.
 *
 * q, k and v may be views with any strides of the outer axes: slices of one packed qkv cost no copy.
 *
 * @param q [B, Sq, H, D]
 * @param k [B, Sk, Hkv, D], H a multiple of Hkv
 * @param v [B, Sk, Hkv, Dv]
 * @returns o [B, Sq, H, Dv]; with `returnLse` both o and lse [B, H, Sq]
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT; cuSeqlens that fall or leave the axis reject the next
 * wait, since their values are known on the device only. A GPU does not look at them on the way: there o, lse and the
 * gradients are NaN then.
 * @example const o = attention(q, k, v, { cuSeqlens }) // video and text tokens in one segment, padding in another
 * @see Dao et al., FlashAttention (arXiv 2205.14135); Milakov and Gimelshein, Online normalizer calculation (1805.02867)
 */
export function attention<D extends FloatDType>(
  q: Tensor<D>,
  k: Tensor<D>,
  v: Tensor<D>,
  options?: AttentionOptions & { readonly returnLse?: false | undefined },
): Tensor<D>;
export function attention<D extends FloatDType>(
  q: Tensor<D>,
  k: Tensor<D>,
  v: Tensor<D>,
  options: AttentionOptions & { readonly returnLse: true },
): AttentionResult<D>;
export function attention<D extends FloatDType>(
  q: Tensor<D>,
  k: Tensor<D>,
  v: Tensor<D>,
  options: AttentionOptions = {},
): Tensor<D> | AttentionResult<D> {
  checkTensor("attention", "q", q);
  checkTensor("attention", "k", k);
  checkTensor("attention", "v", v);
  checkOptions("attention", options);
  const { causal = false, frameTokens, keyMask, cuSeqlens, cuSeqlensK, returnLse = false } = options;
  checkFlag("attention", "returnLse", returnLse);
  if (frameTokens !== undefined) checkNumber("attention", "frameTokens", frameTokens, { whole: true, min: 1 });
  if (causal && frameTokens !== undefined) throw invalid("frameTokens", "causal and frameTokens exclude each other");
  const { scale = 1 / Math.sqrt(Math.max(1, q.shape.at(-1) ?? 1)) } = options;
  checkNumber("attention", "scale", scale);
  // The gradient needs lse; without one it costs a tensor for nothing.
  const recorded =
    !recordingOff() && (q.requiresGrad || k.requiresGrad || v.requiresGrad || keyMask?.requiresGrad === true);
  const out = runOp<{ o: D; lse: "f32" | "f64" }>(
    attentionOp,
    { q, k, v, keyMask, cuSeqlens, cuSeqlensK },
    { scale, causal, frameTokens: frameTokens ?? 0, wantLse: returnLse || recorded },
  );
  if (returnLse) return out;
  if (recorded) out.lse.dispose();
  return out.o;
}
