/**
 * The transformer's blocks. Tokens come as parts, runs of tokens that are modulated alike: usually one of video and one
 * of text; with token replacement the first frame is a part of its own. Text tokens follow the video's.
 *
 * B batch, n tokens of a part, C hidden size, M width of the MLP.
 */
import { dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { layerNormModulate } from "../../ops/norm.js";
import type { RopeTables } from "../../ops/rope.js";
import { split } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { apply, type Dense, denseAt, splitInputs, splitOutputs } from "./dense.js";
import { type AttentionLayout, jointAttention } from "./joint-attention.js";
import { type Probe, showJoined } from "./probe.js";

export interface Part<D extends FloatDType> {
  /** Whose weights a double block uses for it. */
  readonly stream: "img" | "txt";
  /** [B, n, C] */
  readonly x: Tensor<D>;
  /** SiLU of the conditioning vector, [B, C]. */
  readonly cond: Tensor<D>;
  /** Tables for the first of the tokens; there are none for text. */
  readonly rope?: RopeTables | undefined;
}

/** `count` vectors [B, C] that shift, scale and gate: views of one product. */
function modulation<D extends FloatDType>(
  p: Params,
  cond: Tensor<D>,
  count: number,
  probe?: Probe,
): readonly Tensor<D>[] {
  const vectors = dense(p.at("linear"), cond);
  probe?.(p.path, vectors);
  return split(vectors, count);
}

type DoubleModulation<D extends FloatDType> = readonly [
  ...[shift1: Tensor<D>, scale1: Tensor<D>, gate1: Tensor<D>],
  ...[shift2: Tensor<D>, scale2: Tensor<D>, gate2: Tensor<D>],
];

/** A dual-stream block: weights of their own for video and text, one attention over both. Answers each part's tokens. */
export function doubleBlock<D extends FloatDType>(
  p: Params,
  parts: readonly Part<D>[],
  layout: AttentionLayout,
  probe?: Probe,
): Tensor<D>[] {
  return scope(() => {
    const mods = parts.map(
      ({ stream, cond }) => modulation(p.at(`${stream}_mod`), cond, 6, probe) as DoubleModulation<D>,
    );
    const show = (place: string) => (values: readonly Tensor<D>[]) => showStreams(probe, p, place, parts, values);
    const afterAttn = scope(() => {
      const runs = parts.map(({ stream, x, rope }, i) => {
        const [shift1, scale1] = mods[i] as DoubleModulation<D>;
        return {
          tokens: layerNormModulate(x, shift1, scale1),
          toQkv: denseAt(p.at(`${stream}_attn_qkv`)),
          qNorm: p.get(`${stream}_attn_q_norm.weight`),
          kNorm: p.get(`${stream}_attn_k_norm.weight`),
          rope,
        };
      });
      const attn = jointAttention(runs, layout, show("attn_qkv"));
      show("attn")(attn);
      return parts.map(({ stream, x }, i) => {
        const [, , gate1] = mods[i] as DoubleModulation<D>;
        return dense(p.at(`${stream}_attn_proj`), attn[i] as Tensor<D>, { residual: x, gate: gate1 });
      });
    });
    return afterAttn.map((x, i) => {
      const { stream } = parts[i] as Part<D>;
      const [, , , shift2, scale2, gate2] = mods[i] as DoubleModulation<D>;
      return scope(() => {
        const up = scope(() => {
          const tokens = layerNormModulate(x, shift2, scale2);
          return dense(p.at(`${stream}_mlp.fc1`), tokens, { activation: "gelu" });
        });
        return dense(p.at(`${stream}_mlp.fc2`), up, { residual: x, gate: gate2 });
      });
    });
  });
}

type SingleModulation<D extends FloatDType> = readonly [shift: Tensor<D>, scale: Tensor<D>, gate: Tensor<D>];

/**
 * A single-stream block: attention and MLP side by side on the same normed tokens. The checkpoint's `linear1` is q, k, v
 * and the MLP's first layer in one, its `linear2` takes attention and MLP in one. They are applied in parts, so that
 * neither [B, n, 3 C + M] nor [B, n, C + M] is ever in memory.
 */
export function singleBlock<D extends FloatDType>(
  p: Params,
  parts: readonly Part<D>[],
  layout: AttentionLayout,
  probe?: Probe,
): Tensor<D>[] {
  return scope(() => {
    const { toQkv, toMlp, fromAttn, fromMlp } = singleLayers(p);
    const mods = parts.map(({ cond }) => modulation(p.at("modulation"), cond, 3) as SingleModulation<D>);
    const tokens = parts.map(({ x }, i) => {
      const [shift, scale] = mods[i] as SingleModulation<D>;
      return layerNormModulate(x, shift, scale);
    });
    const afterAttn = scope(() => {
      const [qNorm, kNorm] = [p.get("q_norm.weight"), p.get("k_norm.weight")];
      const runs = parts.map(({ rope }, i) => ({ tokens: tokens[i] as Tensor<D>, toQkv, qNorm, kNorm, rope }));
      const attn = jointAttention(runs, layout);
      if (probe !== undefined) showLinear2Input(probe, p, attn, tokens, toMlp);
      return parts.map(({ x }, i) => {
        const [, , gate] = mods[i] as SingleModulation<D>;
        return apply(fromAttn, attn[i] as Tensor<D>, { residual: x, gate });
      });
    });
    return afterAttn.map((x, i) => {
      const [, , gate] = mods[i] as SingleModulation<D>;
      return scope(() => {
        const up = apply(toMlp, tokens[i] as Tensor<D>, { activation: "gelu" });
        tokens[i]?.dispose(); // nothing reads them any more, and the result is about to take their room
        return apply(fromMlp, up, { residual: x, gate });
      });
    });
  });
}

/** `linear1` by its outputs and `linear2` by its inputs; the results of its two parts add up. */
function singleLayers(p: Params): Record<"toQkv" | "toMlp" | "fromAttn" | "fromMlp", Dense> {
  const linear2 = denseAt(p.at("linear2"));
  const [hidden = 0, inner = 0] = linear2.weight.shape;
  const mlp = inner - hidden;
  const [toQkv, toMlp] = splitOutputs(denseAt(p.at("linear1")), [3 * hidden, mlp]) as [Dense, Dense];
  const [fromAttn, fromMlp] = splitInputs(linear2, [hidden, mlp]) as [Dense, Dense];
  return { toQkv, toMlp, fromAttn, fromMlp };
}

/** Shift and scale by the condition, then back from the hidden size to patches: [B, n, C] to [B, n, 4 · outChannels]. */
export function finalLayer<D extends FloatDType>(p: Params, x: Tensor<D>, cond: Tensor<D>): Tensor<D> {
  return scope(() => {
    const [shift, scale] = split(dense(p.at("adaLN_modulation.1"), cond), 2) as [Tensor<D>, Tensor<D>];
    return dense(p.at("linear"), layerNormModulate(x, shift, scale));
  });
}

function showStreams<D extends FloatDType>(
  probe: Probe | undefined,
  p: Params,
  place: string,
  parts: readonly Part<D>[],
  values: readonly Tensor<D>[],
): void {
  if (probe === undefined) return;
  for (const stream of ["img", "txt"] as const) {
    const own = values.filter((_, i) => parts[i]?.stream === stream);
    showJoined(probe, `${p.path}.${stream}_${place}`, own);
  }
}

/** What `linear2` would take in one: attention, then the MLP's first layer, computed once more for the show. */
function showLinear2Input<D extends FloatDType>(
  probe: Probe,
  p: Params,
  attn: readonly Tensor<D>[],
  tokens: readonly Tensor<D>[],
  toMlp: Dense,
): void {
  scope(() => {
    const inputs = attn.map((one, i) => concat([one, apply(toMlp, tokens[i] as Tensor<D>, { activation: "gelu" })], 2));
    showJoined(probe, `${p.path}.linear2_in`, inputs);
  });
}
