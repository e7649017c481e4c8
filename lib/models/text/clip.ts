/**
 * CLIP's text model: causal attention over at most 77 tokens; the state at the end of the text stands for the prompt. What
 * follows that token has no effect on it, so no mask is needed.
 *
 * B batch, S tokens, C hidden size.
 *
 * @see Radford et al., Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020)
 */
import { affineLayerNorm, dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { attention } from "../../ops/attention.js";
import { concat } from "../../ops/concat.js";
import { embedding } from "../../ops/layout.js";
import { add } from "../../ops/pointwise.js";
import { quickGelu } from "../../ops/unary.js";
import { flatten, reshape, select, slice } from "../../ops/views.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Shape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { ClipConfig } from "./clip-config.js";
import { type TokenBatch, tokenTensor } from "./token-batch.js";

/** Every parameter, under the names of Hugging Face's CLIPTextModel. The text projection is not used. */
export function clipSpec({
  hiddenSize: hidden,
  numLayers,
  mlpSize,
  vocabSize,
  maxLength,
}: ClipConfig): ParameterSpec[] {
  const same = (name: string, shape: Shape): ParameterSpec => ({ name: `text_model.${name}`, shape, layout: "same" });
  const linear = (name: string, out: number, inner: number) => [
    same(`${name}.weight`, [out, inner]),
    same(`${name}.bias`, [out]),
  ];
  const norm = (name: string) => [same(`${name}.weight`, [hidden]), same(`${name}.bias`, [hidden])];
  const layers = Array.from({ length: numLayers }, (_, i) => [
    ...["k_proj", "v_proj", "q_proj", "out_proj"].flatMap((name) =>
      linear(`encoder.layers.${i}.self_attn.${name}`, hidden, hidden),
    ),
    ...norm(`encoder.layers.${i}.layer_norm1`),
    ...linear(`encoder.layers.${i}.mlp.fc1`, mlpSize, hidden),
    ...linear(`encoder.layers.${i}.mlp.fc2`, hidden, mlpSize),
    ...norm(`encoder.layers.${i}.layer_norm2`),
  ]);
  return [
    same("embeddings.token_embedding.weight", [vocabSize, hidden]),
    same("embeddings.position_embedding.weight", [maxLength, hidden]),
    ...layers.flat(),
    ...norm("final_layer_norm"),
  ];
}

/**
 * The text model.
 *
 * @example const pooled = new ClipText(config, params).pooled([ids]); // [1, C]
 */
export class ClipText {
  readonly config: ClipConfig;
  readonly params: Params;

  /** @param params of {@link clipSpec} */
  constructor(config: ClipConfig, params: Params) {
    this.config = config;
    this.params = params;
  }

  /**
   * The final-normed state at the first end-of-text token of each prompt, [B, C]; no projection.
   *
   * @param ids [B][S], S ≤ 77, padded on the right
   * @throws INVALID_ARGUMENT for more tokens than positions, or ids outside the vocabulary
   */
  pooled(ids: TokenBatch): Tensor<FloatDType> {
    return scope(() => {
      let x = this.#embed(ids);
      for (let i = 0; i < this.config.numLayers; i++) {
        const next = this.#layer(i, x);
        x.dispose();
        x = next;
      }
      const ends = ids.map((row, b) => {
        const end = endOfText(row, this.config.eosTokenId);
        return select(slice(x, 0, b, b + 1), 1, end);
      });
      return affineLayerNorm(this.params.at("text_model.final_layer_norm"), concat(ends), this.config.layerNormEps);
    });
  }

  /** Every hidden state, N + 1 of them [B, S, C]: the embeddings first, the last layer's output (not normed) last. */
  hiddenStates(ids: TokenBatch): Tensor<FloatDType>[] {
    return scope(() => {
      const states = [this.#embed(ids)];
      for (let i = 0; i < this.config.numLayers; i++) states.push(this.#layer(i, states[i] as Tensor<FloatDType>));
      return states;
    });
  }

  dispose(): void {
    this.params.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #embed(ids: TokenBatch): Tensor<FloatDType> {
    const { vocabSize, maxLength } = this.config;
    const length = ids[0]?.length ?? 0;
    if (length > maxLength) {
      const message = `ClipText: ${length} tokens, at most ${maxLength} have a position; truncate the prompt`;
      throw new HunyuanError("INVALID_ARGUMENT", message, { op: "ClipText", argument: "ids" });
    }
    const p = this.params.at("text_model.embeddings");
    return scope(() => {
      const table = p.get<FloatDType>("token_embedding.weight");
      const tokens = embedding(table, tokenTensor("ClipText", ids, vocabSize, table.device));
      return add(tokens, slice(p.get<FloatDType>("position_embedding.weight"), 0, 0, length));
    });
  }

  #layer(i: number, x: Tensor<FloatDType>): Tensor<FloatDType> {
    return scope(() => clipLayer(this.params.at(`text_model.encoder.layers.${i}`), x, this.config));
  }
}

/** Place of the first end of text; as in the reference, of the first largest id where there is none. */
export function endOfText(ids: readonly number[], eosTokenId: number): number {
  const found = ids.indexOf(eosTokenId);
  return found >= 0 ? found : ids.indexOf(Math.max(...ids));
}

/** One layer: x + attention(norm(x)), then x + mlp(norm(x)). */
export function clipLayer(p: Params, x: Tensor<FloatDType>, config: ClipConfig): Tensor<FloatDType> {
  const { numHeads, hiddenSize, layerNormEps: eps, activation } = config;
  const [batch = 0, length = 0] = x.shape;
  const attn = p.at("self_attn");
  const normed = affineLayerNorm(p.at("layer_norm1"), x, eps);
  const heads = (name: string) =>
    reshape(dense(attn.at(name), normed), [batch, length, numHeads, hiddenSize / numHeads]);
  const o = attention(heads("q_proj"), heads("k_proj"), heads("v_proj"), { causal: true });
  const attended = dense(attn.at("out_proj"), flatten(o, 2, 3), { residual: x });

  const mlp = p.at("mlp");
  const second = affineLayerNorm(p.at("layer_norm2"), attended, eps);
  const inner =
    activation === "gelu"
      ? dense(mlp.at("fc1"), second, { activation: "geluErf" })
      : quickGelu(dense(mlp.at("fc1"), second));
  return dense(mlp.at("fc2"), inner, { residual: attended });
}
