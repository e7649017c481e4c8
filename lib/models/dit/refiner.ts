/**
 * The text refiner: the language model's states become text tokens of the hidden size, which have seen each other and the
 * timestep.
 *
 * B batch, L text tokens, C hidden size.
 */
import { affineLayerNorm, dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { zeros } from "../../ops/fill.js";
import { add } from "../../ops/pointwise.js";
import { mean } from "../../ops/reduce.js";
import { silu } from "../../ops/unary.js";
import { slice, split } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { embedNumber } from "./embed.js";
import { type AttentionLayout, attend, unpackHeads } from "./joint-attention.js";
import type { Probe } from "./probe.js";

const eps = 1e-6;

export interface RefinerInput<D extends FloatDType> {
  /** The language model's states, [B, L, textDim]. */
  readonly text: Tensor<D>;
  /** How many of the L are text, for each sample; the others are padding. */
  readonly textLengths: readonly number[];
  /** [B] */
  readonly timestep: Tensor<"f32">;
  readonly depth: number;
  readonly layout: AttentionLayout;
}

/** Text tokens [B, L, C]. */
export function refineText<D extends FloatDType>(p: Params, input: RefinerInput<D>, probe?: Probe): Tensor<D> {
  const { text, textLengths, timestep, depth, layout } = input;
  return scope((born) => {
    const cond = scope(() => {
      const pooled = meanOfText(text, textLengths);
      const embedded = dense(
        p.at("c_embedder.linear_2"),
        dense(p.at("c_embedder.linear_1"), pooled, { activation: "silu" }),
      );
      const c = add(embedNumber(p.at("t_embedder"), timestep, text.dtype), embedded);
      probe?.(`${p.path}.c`, c);
      return silu(c);
    });
    let tokens = dense(p.at("input_embedder"), text);
    probe?.(`${p.path}.input_embedder`, tokens);
    for (let i = 0; i < depth; i++) {
      const before = tokens;
      tokens = refinerBlock(p.at(`individual_token_refiner.blocks.${i}`), before, cond, layout);
      if (born.owns(before)) before.dispose();
      probe?.(`${p.path}.blocks.${i}`, tokens);
    }
    probe?.(p.path, tokens);
    return tokens;
  });
}

/** Attention and MLP on plainly normed tokens; the condition gives their gates only. */
function refinerBlock<D extends FloatDType>(
  p: Params,
  x: Tensor<D>,
  cond: Tensor<D>,
  layout: AttentionLayout,
): Tensor<D> {
  return scope(() => {
    const [gateAttn, gateMlp] = split(dense(p.at("adaLN_modulation.1"), cond), 2);
    const attn = scope(() => {
      const qkv = dense(p.at("self_attn_qkv"), affineLayerNorm(p.at("norm1"), x, eps));
      return attend(unpackHeads(qkv, layout.numHeads), layout);
    });
    const afterAttn = dense(p.at("self_attn_proj"), attn, { residual: x, gate: gateAttn });
    const up = dense(p.at("mlp.fc1"), affineLayerNorm(p.at("norm2"), afterAttn, eps), { activation: "silu" });
    return dense(p.at("mlp.fc2"), up, { residual: afterAttn, gate: gateMlp });
  });
}

/** The mean of each sample's own text states, [B, textDim]; zeros where a sample has none. */
function meanOfText<D extends FloatDType>(text: Tensor<D>, lengths: readonly number[]): Tensor<D> {
  const [longest = 0, width = 0] = text.shape.slice(1);
  if (longest > 0 && lengths.every((length) => length === longest)) return mean(text, { axes: 1 });
  const means = lengths.map((length, i) =>
    length === 0
      ? zeros([1, width], { dtype: text.dtype, device: text.device })
      : mean(slice(slice(text, 0, i, i + 1), 1, 0, length), { axes: 1 }),
  );
  return concat(means, 0);
}
