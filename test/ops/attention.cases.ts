import { grad, requiresGrad } from "../../lib/autograd/index.js";
import { attention } from "../../lib/ops/attention.js";
import { select } from "../../lib/ops/views.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, hostOf, type InputRecipe, type OpCase, opCase } from "./case.js";

/** The rules of visibility, in host terms. */
interface Rules {
  readonly scale?: number;
  readonly causal?: boolean;
  readonly frameTokens?: number;
  readonly cu?: readonly number[];
  readonly cuK?: readonly number[];
}

/** Sizes: batch, queries, keys, query heads, key heads, width of q and k, width of v. */
interface Sizes {
  readonly B?: number;
  readonly Sq: number;
  readonly Sk?: number;
  readonly H?: number;
  readonly Hkv?: number;
  readonly D: number;
  readonly Dv?: number;
}

/** Whether query i sees key j, and both from which position on their segment counts. */
function sees(rules: Rules, i: number, j: number, queries: number, keys: number): boolean {
  const cu = rules.cu ?? [0, queries];
  const cuK = rules.cuK ?? rules.cu ?? [0, keys];
  const s = cu.findIndex((start, n) => start <= i && i < (cu[n + 1] ?? start));
  const [q0, q1, k0, k1] = [cu[s], cu[s + 1], cuK[s], cuK[s + 1]];
  if (q0 === undefined || q1 === undefined || k0 === undefined || k1 === undefined || j < k0 || j >= k1) return false;
  if (rules.causal) return j - k0 <= i - q0 + (k1 - k0) - (q1 - q0);
  const f = rules.frameTokens;
  return f === undefined || Math.floor((j - k0) / f) <= Math.floor((i - q0) / f);
}

interface Three<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
}
const three = <T>({ q, k, v }: { readonly [name: string]: T }): Three<T> => ({ q: q as T, k: k as T, v: v as T });

/** Calls fn with the probabilities of each query and what a gradient of its output needs; answers o and lse. */
function attend(
  { q, k, v }: Three<Host>,
  mask: Host | undefined,
  rules: Rules,
  fn?: (b: number, i: number, h: number, p: Float64Array) => void,
): readonly [Host, Host] {
  const [B, Sq, H, D] = q.shape as [number, number, number, number];
  const [, Sk, Hkv] = k.shape as [number, number, number];
  const Dv = v.shape[3] ?? 0;
  const scale = rules.scale ?? 1 / Math.sqrt(D);
  const o = fill([B, Sq, H, Dv], () => 0);
  const lse = fill([B, H, Sq], () => Number.NEGATIVE_INFINITY);
  const p = new Float64Array(Sk);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const kv = Math.floor(h / (H / Hkv));
      for (let i = 0; i < Sq; i++) {
        const query = ((b * Sq + i) * H + h) * D;
        for (let j = 0; j < Sk; j++) {
          const key = ((b * Sk + j) * Hkv + kv) * D;
          let score = 0;
          for (let d = 0; d < D; d++) score += (q.data[query + d] as number) * (k.data[key + d] as number);
          const added = mask?.data[b * Sk + j] ?? 0;
          p[j] = sees(rules, i, j, Sq, Sk) && added > -1e30 ? score * scale + added : Number.NEGATIVE_INFINITY;
        }
        const total = normalize(p);
        lse.data[(b * H + h) * Sq + i] = total;
        const out = ((b * Sq + i) * H + h) * Dv;
        for (let j = 0; j < Sk; j++) {
          if (p[j] === 0) continue;
          const value = ((b * Sk + j) * Hkv + kv) * Dv;
          for (let d = 0; d < Dv; d++)
            o.data[out + d] = (o.data[out + d] as number) + (p[j] as number) * (v.data[value + d] as number);
        }
        fn?.(b, i, h, p);
      }
    }
  }
  return [o, lse];
}

/** Scores become probabilities (zeros when nothing is seen); answers the log of their sum. */
function normalize(p: Float64Array): number {
  const max = p.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (max === Number.NEGATIVE_INFINITY) {
    p.fill(0);
    return max;
  }
  const sum = p.reduce((a, x) => a + Math.exp(x - max), 0);
  for (let j = 0; j < p.length; j++) p[j] = Math.exp((p[j] as number) - max) / sum;
  return max + Math.log(sum);
}

/** o, dq, dk and dv for a gradient of o, written out. */
function attendGradients(x: Three<Host>, dout: Host, mask: Host | undefined, rules: Rules): Host[] {
  const { q, k, v } = x;
  const [, Sq, H, D] = q.shape as [number, number, number, number];
  const [, Sk, Hkv] = k.shape as [number, number, number];
  const Dv = v.shape[3] ?? 0;
  const scale = rules.scale ?? 1 / Math.sqrt(D);
  const [dq, dk, dv] = [q, k, v].map((t) => fill(t.shape, () => 0)) as [Host, Host, Host];
  const add = (to: Float64Array, at: number, by: number) => {
    to[at] = (to[at] as number) + by;
  };
  const [o] = attend(x, mask, rules, (b, i, h, p) => {
    const kv = Math.floor(h / (H / Hkv));
    const [query, out] = [((b * Sq + i) * H + h) * D, ((b * Sq + i) * H + h) * Dv];
    const dp = p.map((_, j) => {
      const value = ((b * Sk + j) * Hkv + kv) * Dv;
      let sum = 0;
      for (let d = 0; d < Dv; d++) sum += (dout.data[out + d] as number) * (v.data[value + d] as number);
      return sum;
    });
    const mean = p.reduce((sum, x, j) => sum + x * (dp[j] as number), 0);
    p.forEach((probability, j) => {
      if (probability === 0) return;
      const row = (b * Sk + j) * Hkv + kv;
      const ds = probability * ((dp[j] as number) - mean) * scale;
      for (let d = 0; d < D; d++) {
        add(dq.data, query + d, ds * (k.data[row * D + d] as number));
        add(dk.data, row * D + d, ds * (q.data[query + d] as number));
      }
      for (let d = 0; d < Dv; d++) add(dv.data, row * Dv + d, probability * (dout.data[out + d] as number));
    });
  });
  return [o, dq, dk, dv];
}

function recipes({ B = 1, Sq, Sk = Sq, H = 1, Hkv = H, D, Dv = D }: Sizes) {
  return { q: { shape: [B, Sq, H, D] }, k: { shape: [B, Sk, Hkv, D] }, v: { shape: [B, Sk, Hkv, Dv] } } as const;
}

const lengths = (cu: readonly number[]): InputRecipe => ({
  shape: [cu.length],
  dtype: "i32",
  value: (i) => cu[i] as number,
});

/** The public options; tensors among them are inputs of the case. */
function optionsOf({ cu: _, cuK: __, ...rest }: Rules, t: { readonly [name: string]: AnyTensor }) {
  return { ...rest, keyMask: t.keyMask, cuSeqlens: t.cuSeqlens, cuSeqlensK: t.cuSeqlensK };
}

function recipesOf(
  sizes: Sizes,
  rules: Rules,
  keyMask: InputRecipe["value"],
): { readonly [name: string]: InputRecipe } {
  const { B = 1, Sq, Sk = Sq } = sizes;
  return {
    ...recipes(sizes),
    ...(keyMask && { keyMask: { shape: [B, Sk], dtype: "f32", value: keyMask } }),
    ...(rules.cu && { cuSeqlens: lengths(rules.cu) }),
    ...(rules.cuK && { cuSeqlensK: lengths(rules.cuK) }),
  };
}

const describe = (sizes: Sizes, rules: Rules) =>
  JSON.stringify({ ...sizes, ...rules })
    .replace(/["{}]/g, "")
    .replace(/,/g, ", ");

interface Extra {
  readonly keyMask?: InputRecipe["value"];
  readonly gradients?: boolean;
  readonly pitch?: boolean;
  /** Off where a gradient is checked and some query sees nothing: −inf has no differences. */
  readonly lse?: boolean;
  readonly slack?: number;
}

/** o and lse against the plain formula. */
function valueCase(
  what: string,
  sizes: Sizes,
  rules: Rules = {},
  { keyMask, gradients, pitch, lse = true, slack = 32 }: Extra = {},
): OpCase {
  return {
    name: `attention ${what} ${describe(sizes, rules)}`,
    inputs: recipesOf(sizes, rules, keyMask),
    run: (t) => {
      const { q, k, v } = three(t);
      if (!lse) return attention(q, k, v, optionsOf(rules, t));
      const out = attention(q, k, v, { ...optionsOf(rules, t), returnLse: true });
      return [out.o, out.lse];
    },
    reference: (h) => attend(three(h), h.keyMask, rules).slice(0, lse ? 2 : 1),
    ...(gradients && { gradients: ["q", "k", "v"] }),
    ...(pitch && { pitch: ["q", "k", "v"] }),
    slack,
  };
}

/** o and the gradients of q, k and v against the formulas, at sizes where finite differences would take too long. */
function gradientCase(what: string, sizes: Sizes, rules: Rules = {}, { keyMask }: Extra = {}): OpCase {
  const { B = 1, Sq, H = 1, D, Dv = D } = sizes;
  return {
    name: `attention gradients, ${what} ${describe(sizes, rules)}`,
    inputs: { ...recipesOf(sizes, rules, keyMask), dout: { shape: [B, Sq, H, Dv] } },
    run: (t) => {
      const leaf = (x: AnyTensor) => requiresGrad(x.alias());
      const { q, k, v } = three(t);
      const leaves = [leaf(q), leaf(k), leaf(v)] as const;
      const o: Tensor = attention(...leaves, optionsOf(rules, t));
      return [o, ...(grad(o, leaves, { gradient: t.dout as AnyTensor }) as Tensor[])];
    },
    reference: (h) => attendGradients(three(h), h.dout as Host, h.keyMask, rules),
    slack: 32,
  };
}

// Where blocks end: on the CPU 112 and 56 queries, 512 keys (f64: 256) and panels of 32 or 16 tokens (AVX-512); on CUDA
// 128 queries (heads beyond 128: 64) and 64 keys (narrow heads: 96; wide ones: 32).
const full: readonly Sizes[] = [
  { Sq: 1, D: 1 },
  { Sq: 1, Sk: 130, H: 2, D: 64 },
  { Sq: 17, Sk: 13, H: 3, Hkv: 1, D: 17, Dv: 5 },
  { Sq: 32, Sk: 31, D: 8 },
  { Sq: 113, Sk: 33, D: 64 },
  { B: 2, Sq: 57, Sk: 64, H: 2, D: 16 },
  { Sq: 28, Sk: 513, D: 16, Dv: 33 },
  { Sq: 29, Sk: 511, D: 8 },
  { Sq: 65, Sk: 257, D: 128 },
  { Sq: 129, Sk: 97, D: 64 },
  { Sq: 127, Sk: 96, H: 2, Hkv: 1, D: 40, Dv: 64 },
  { Sq: 128, Sk: 64, D: 128 },
  { Sq: 130, Sk: 63, D: 72, Dv: 128 },
  { Sq: 65, Sk: 33, D: 512 },
  { B: 2, Sq: 64, Sk: 31, D: 136, Dv: 300 },
  { Sq: 5, Sk: 6, D: 520, Dv: 530 },
  { Sq: 0, Sk: 4, D: 8 },
  { Sq: 4, Sk: 0, D: 8 },
  { B: 0, Sq: 3, D: 8 },
  { B: 2, Sq: 0, Sk: 0, H: 2, D: 8 },
];

const odd = (i: number, random: () => number) => (i % 5 === 1 ? Number.NEGATIVE_INFINITY : 2 * random() - 1);
const hideFirst = (i: number) => (i < 3 ? Number.NEGATIVE_INFINITY : i === 4 ? -3.4e38 : 0);
const unseen: Extra = { gradients: true, lse: false };

export const cases: OpCase[] = [
  ...full.map((sizes) => valueCase("full", sizes, {}, { slack: sizes.D > 256 ? 64 : 32 })),
  valueCase("small", { B: 2, Sq: 3, Sk: 5, H: 2, D: 8 }, {}, { gradients: true, pitch: true }),
  valueCase("grouped heads", { Sq: 4, H: 4, Hkv: 2, D: 3, Dv: 5 }, { scale: 0.7 }, { gradients: true, pitch: true }),
  valueCase("causal", { Sq: 7, H: 2, Hkv: 1, D: 4 }, { causal: true }, { gradients: true }),
  valueCase("causal, more keys", { Sq: 3, Sk: 7, D: 4 }, { causal: true }, { gradients: true }),
  valueCase("causal, more queries: the first see nothing", { Sq: 7, Sk: 3, D: 4 }, { causal: true }),
  valueCase("causal, more queries: o", { Sq: 7, Sk: 3, D: 4 }, { causal: true }, unseen),
  valueCase("causal", { Sq: 300, H: 2, Hkv: 1, D: 8 }, { causal: true }),
  valueCase("causal", { Sq: 120, Sk: 600, D: 8 }, { causal: true }),
  valueCase("causal", { Sq: 200, H: 2, Hkv: 1, D: 128 }, { causal: true }),
  valueCase("frames, the last cut short", { Sq: 8, H: 2, D: 4 }, { frameTokens: 3 }, { gradients: true }),
  valueCase("frames", { Sq: 150, D: 16 }, { frameTokens: 40 }),
  valueCase("frames, wide head", { Sq: 70, D: 512 }, { frameTokens: 24 }),
  valueCase("frames, other keys than queries", { Sq: 9, Sk: 5, D: 8 }, { frameTokens: 2 }),
  valueCase("ragged", { Sq: 9, D: 4 }, { cu: [0, 4, 4, 5, 9] }, { gradients: true, pitch: true }),
  valueCase("ragged, tokens left over", { Sq: 9, H: 2, D: 4 }, { cu: [0, 2, 6] }),
  valueCase("ragged, tokens left over: o", { Sq: 9, H: 2, D: 4 }, { cu: [0, 2, 6] }, unseen),
  valueCase("ragged, keys cut differently", { Sq: 6, Sk: 8, D: 4 }, { cu: [0, 2, 4, 6], cuK: [0, 0, 5, 7] }),
  valueCase("ragged, keys cut differently: o", { Sq: 6, Sk: 8, D: 4 }, { cu: [0, 2, 4, 6], cuK: [0, 0, 5, 7] }, unseen),
  valueCase("ragged and causal", { Sq: 140, H: 2, D: 8 }, { cu: [0, 1, 60, 60, 129, 140], causal: true }),
  valueCase("ragged and causal", { Sq: 150, H: 2, Hkv: 1, D: 128 }, { cu: [0, 130, 131, 150], causal: true }),
  valueCase("ragged, wide head", { Sq: 70, D: 256 }, { cu: [0, 1, 66] }),
  valueCase(
    "ragged, more segments than a warp has lanes",
    { Sq: 80, D: 8 },
    { cu: Array.from({ length: 41 }, (_, i) => 2 * i) },
  ),
  valueCase("ragged and frames", { Sq: 50, D: 8 }, { cu: [0, 33, 50], frameTokens: 10 }),
  valueCase("ragged without segments", { Sq: 3, D: 8 }, { cu: [0] }),
  valueCase("key mask", { B: 2, Sq: 4, Sk: 7, D: 4 }, {}, { keyMask: odd, gradients: true }),
  valueCase("key mask that hides all keys of an item", { B: 2, Sq: 3, D: 4 }, {}, { keyMask: hideFirst }),
  valueCase("key mask that hides all keys of an item: o", { B: 2, Sq: 3, D: 4 }, {}, { keyMask: hideFirst, ...unseen }),
  valueCase(
    "key mask, first block hidden",
    { Sq: 20, Sk: 700, D: 8 },
    {},
    { keyMask: (i) => (i < 600 ? Number.NEGATIVE_INFINITY : 0) },
  ),
  valueCase("key mask, wide head", { B: 2, Sq: 9, Sk: 70, D: 512 }, {}, { keyMask: odd }),
  valueCase("no width of q and k", { Sq: 3, Sk: 4, D: 0, Dv: 8 }, { scale: 1 }),
  valueCase("scale below zero", { Sq: 9, Sk: 70, D: 16 }, { scale: -0.4 }),
  valueCase("scale of zero", { Sq: 9, D: 16 }, { scale: 0, causal: true }),
  valueCase("key mask and causal", { Sq: 60, H: 2, Hkv: 1, D: 8 }, { causal: true }, { keyMask: odd }),
  valueCase("large scores", { Sq: 9, Sk: 70, D: 16 }, { scale: 2 }, { slack: 64 }),
  gradientCase("several blocks", { Sq: 270, Sk: 330, D: 16, Dv: 24 }),
  gradientCase("one panel more", { B: 2, Sq: 65, Sk: 33, H: 2, D: 64 }),
  gradientCase("one tile more", { Sq: 129, Sk: 130, H: 2, Hkv: 1, D: 128 }),
  gradientCase("wide heads", { Sq: 19, Sk: 34, D: 520, Dv: 514 }),
  gradientCase("causal, grouped heads", { Sq: 230, H: 4, Hkv: 2, D: 16 }, { causal: true }),
  gradientCase("causal, more keys", { Sq: 100, Sk: 300, D: 16 }, { causal: true }),
  gradientCase("frames", { Sq: 250, H: 2, D: 8 }, { frameTokens: 36 }),
  gradientCase("ragged", { Sq: 200, H: 2, Hkv: 1, D: 17 }, { cu: [0, 70, 70, 71, 190] }),
  gradientCase("key mask", { B: 2, Sq: 61, Sk: 90, D: 16 }, {}, { keyMask: odd }),
  gradientCase("no keys", { Sq: 3, Sk: 0, D: 4 }),
  opCase({
    name: "attention on slices of a packed qkv, without a copy",
    inputs: { qkv: { shape: [2, 9, 3, 2, 8] } },
    run: ({ qkv }) => {
      const before = qkv.device.insertedCopies;
      const [q, k, v] = [0, 1, 2].map((i) => select(qkv, 2, i)) as [AnyTensor, AnyTensor, AnyTensor];
      const o = attention(q, k, v);
      if (qkv.device.insertedCopies !== before) throw new Error("attention copied its inputs");
      return o;
    },
    reference: ({ qkv }) => {
      const [q, k, v] = [0, 1, 2].map((part) =>
        hostOf(
          [2, 9, 2, 8],
          qkv.data.filter((_, i) => Math.floor(i / 16) % 3 === part),
        ),
      );
      return attend({ q, k, v } as Three<Host>, undefined, {})[0];
    },
    gradients: ["qkv"],
    slack: 16,
  }),
];
