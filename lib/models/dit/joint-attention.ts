/**
 * Attention over the joint sequence of video and text tokens. The sequence comes in runs, each with a projection of its
 * own to queries, keys and values.
 *
 * B batch, n tokens of a run, S of all runs, C = H · D hidden size, heads and width of a head.
 */
import { attention } from "../../ops/attention.js";
import { concat } from "../../ops/concat.js";
import { zeros } from "../../ops/fill.js";
import { qkNormRope, type RopeTables } from "../../ops/rope.js";
import { reshape, split } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { recordingOff } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { apply, type Dense } from "./dense.js";

/** Consecutive tokens on their way into attention. */
export interface Run<D extends FloatDType> {
  /** [B, n, C], normed and modulated. */
  readonly tokens: Tensor<D>;
  /** To q, k, v side by side, each with its heads in a row: [3 C, C]. */
  readonly toQkv: Dense;
  /** Weights of the RMS norms of queries and keys, [D]. */
  readonly qNorm: Tensor;
  readonly kNorm: Tensor;
  /** Tables for the first of the tokens; those after, text, are not turned. */
  readonly rope?: RopeTables | undefined;
}

/** How the joint sequence is attended to. */
export interface AttentionLayout {
  readonly numHeads: number;
  /**
   * For samples whose texts differ in length, laid end to end: where each sample's tokens end and where its padding
   * does, so that padding is a segment of its own. Else every token sees all of its sample.
   */
  readonly cuSeqlens?: Tensor<"i32"> | undefined;
}

type Heads<D extends FloatDType> = readonly [q: Tensor<D>, k: Tensor<D>, v: Tensor<D>];

/**
 * Attention of all runs over all runs: [B, n, C] for each, views of one sequence.
 *
 * @param onQkv is shown the projections before they are normed
 */
export function jointAttention<D extends FloatDType>(
  runs: readonly Run<D>[],
  layout: AttentionLayout,
  onQkv?: (qkv: readonly Tensor<D>[]) => void,
): Tensor<D>[] {
  return scope(() => {
    const attn = scope(() => attend(joinedHeads(runs, layout.numHeads, onQkv), layout));
    return split(attn, runs.map(lengthOf), 1);
  });
}

const lengthOf = ({ tokens }: Run<FloatDType>): number => tokens.shape[1] ?? 0;

/** softmax(q kᵀ / √D) v over q, k and v [B, S, H, D], packed or not; gives [B, S, C]. */
export function attend<D extends FloatDType>([q, k, v]: Heads<D>, { cuSeqlens }: AttentionLayout): Tensor<D> {
  const [batch = 0, length = 0, heads = 0, width = 0] = q.shape;
  const ends = (x: Tensor<D>) => (cuSeqlens === undefined ? x : reshape(x, [1, batch * length, heads, width]));
  return reshape(attention(ends(q), ends(k), ends(v), { cuSeqlens }), [batch, length, heads * width]);
}

/** Packed q, k, v [B, n, 3 C] as three views [B, n, H, D]. */
export function unpackHeads<D extends FloatDType>(qkv: Tensor<D>, numHeads: number): Heads<D> {
  const [batch = 0, length = 0, width = 0] = qkv.shape;
  const [q, k, v] = split(qkv, 3).map((part) => reshape(part, [batch, length, numHeads, width / (3 * numHeads)]));
  return [q, k, v] as Heads<D>;
}

/**
 * Queries and keys of all runs, normed and turned, and their values, as sequences [B, S, H, D]. Runs write into one
 * sequence, and norms over what they read; but not what gradients are recorded of.
 */
function joinedHeads<D extends FloatDType>(
  runs: readonly Run<D>[],
  numHeads: number,
  onQkv?: (qkv: readonly Tensor<D>[]) => void,
): Heads<D> {
  const recorded = isRecorded(runs);
  const joint = recorded || runs.length === 1 ? undefined : emptyJoint(runs);
  const places = joint && split(joint, runs.map(lengthOf), 1);
  const packed = runs.map(({ toQkv, tokens }, i) => {
    const into = places?.[i];
    return apply(toQkv, tokens, into === undefined ? {} : { into });
  });
  onQkv?.(packed);
  const heads = packed.map((qkv, i) => normedHeads(unpackHeads(qkv, numHeads), runs[i] as Run<D>, !recorded));
  return joint === undefined ? concatenated(heads) : unpackHeads(joint, numHeads);
}

function normedHeads<D extends FloatDType>([q, k, v]: Heads<D>, run: Run<D>, inPlace: boolean): Heads<D> {
  const { qNorm, kNorm, rope } = run;
  const normed = qkNormRope(q, k, qNorm, kNorm, rope?.cos, rope?.sin, inPlace ? { into: { q, k } } : {});
  return [normed.q, normed.k, v];
}

function concatenated<D extends FloatDType>(heads: readonly Heads<D>[]): Heads<D> {
  const [only] = heads;
  if (heads.length === 1 && only !== undefined) return only;
  const joined = ([0, 1, 2] as const).map((i) => {
    const parts = heads.map((one) => one[i]);
    return concat(parts, 1);
  });
  return joined as readonly Tensor<D>[] as Heads<D>;
}

/** Room for q, k, v of all tokens, [B, S, 3 C]; every element is written by a projection. */
function emptyJoint<D extends FloatDType>(runs: readonly Run<D>[]): Tensor<D> {
  const [first] = runs as readonly [Run<D>, ...Run<D>[]];
  const { device, dtype, shape } = first.tokens;
  const length = runs.reduce((sum, run) => sum + lengthOf(run), 0);
  return zeros([shape[0] ?? 0, length, first.toQkv.weight.shape[0] ?? 0], { dtype, device });
}

function isRecorded(runs: readonly Run<FloatDType>[]): boolean {
  if (recordingOff()) return false;
  return runs.some(({ tokens, toQkv, qNorm, kNorm }) =>
    [tokens, toQkv.weight, toQkv.bias, toQkv.adapter?.down, toQkv.adapter?.up, qNorm, kNorm].some(
      (tensor) => tensor?.requiresGrad,
    ),
  );
}
