/**
 * Llama as a text encoder: hidden states of a right-padded batch. Attention is causal and padding comes last, so no valid
 * token ever sees padding and no mask is needed; what padded rows hold means nothing.
 *
 * B batch, S tokens, C hidden size, H query heads, Hkv key and value heads, D width of a head.
 *
 * @see Grattafiori et al., The Llama 3 Herd of Models (arXiv 2407.21783); Su et al., RoFormer (2104.09864)
 */
import { dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { attention } from "../../ops/attention.js";
import { embedding } from "../../ops/layout.js";
import { rmsNorm } from "../../ops/norm.js";
import { mul } from "../../ops/pointwise.js";
import { type RopeTables, rope, ropeTables1d } from "../../ops/rope.js";
import { flatten, reshape } from "../../ops/views.js";
import { checkNumber, invalid } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { hiddenStateSkipLayer, type LlamaConfig } from "./llama-config.js";
import { type TokenBatch, tokenTensor } from "./token-batch.js";

export interface LlamaSpecOptions {
  /** Layers to have, from the first. Default all; with all of them the final norm belongs to it. */
  readonly numLayers?: number;
}

/** Parameters of the layers, under the names of a bare LlamaModel. The head that predicts tokens is never needed. */
export function llamaSpec(config: LlamaConfig, options: LlamaSpecOptions = {}): ParameterSpec[] {
  const { numLayers = config.numLayers } = options;
  const { hiddenSize: hidden, headDim, numHeads, numKvHeads, mlpSize, vocabSize } = config;
  const matrix = (name: string, out: number, inner: number): ParameterSpec => ({
    name: `${name}.weight`,
    shape: [out, inner],
    layout: "same",
  });
  const norm = (name: string): ParameterSpec => ({ name: `${name}.weight`, shape: [hidden], layout: "same" });
  const layers = Array.from({ length: numLayers }, (_, i) => [
    matrix(`layers.${i}.self_attn.q_proj`, numHeads * headDim, hidden),
    matrix(`layers.${i}.self_attn.k_proj`, numKvHeads * headDim, hidden),
    matrix(`layers.${i}.self_attn.v_proj`, numKvHeads * headDim, hidden),
    matrix(`layers.${i}.self_attn.o_proj`, hidden, numHeads * headDim),
    matrix(`layers.${i}.mlp.gate_proj`, mlpSize, hidden),
    matrix(`layers.${i}.mlp.up_proj`, mlpSize, hidden),
    matrix(`layers.${i}.mlp.down_proj`, hidden, mlpSize),
    norm(`layers.${i}.input_layernorm`),
    norm(`layers.${i}.post_attention_layernorm`),
  ]);
  return [
    matrix("embed_tokens", vocabSize, hidden),
    ...layers.flat(),
    ...(numLayers === config.numLayers ? [norm("norm")] : []),
  ];
}

/** Layers whose output is hidden_states[−(skip + 1)]. */
export function layersForSkip({ numLayers }: LlamaConfig, skip: number): number {
  checkNumber("Llama", "skip", skip, { whole: true, min: 0, max: numLayers });
  return numLayers - skip;
}

/**
 * The language model without its head.
 *
 * @example const states = new Llama(config, params).hiddenState([ids], { skip: 2 }); // [1, S, C]
 */
export class Llama {
  readonly config: LlamaConfig;
  readonly params: Params;

  /** @param params of {@link llamaSpec}; layers that no call asks for may be missing */
  constructor(config: LlamaConfig, params: Params) {
    this.config = config;
    this.params = params;
  }

  /**
   * Rows of the embedding table [B, S, C] in the type of the parameters: what the first layer reads.
   *
   * @throws INVALID_ARGUMENT for ids outside the vocabulary or rows of several lengths
   */
  embed(ids: TokenBatch): Tensor<FloatDType> {
    const table = this.params.get<FloatDType>("embed_tokens.weight");
    return scope(() => embedding(table, tokenTensor("Llama", ids, this.config.vocabSize, table.device)));
  }

  /**
   * hidden_states[−(skip + 1)] [B, S, C]: the output of layer N − skip without the final norm; with skip 0 the normed
   * output of the last layer. No other layer is computed.
   *
   * @param input ids [B][S], or embeddings [B, S, C]
   */
  hiddenState(input: TokenBatch | Tensor<FloatDType>, options: { readonly skip?: number } = {}): Tensor<FloatDType> {
    const { skip = hiddenStateSkipLayer } = options;
    const count = layersForSkip(this.config, skip);
    return scope(() => {
      let x = this.#start(input);
      const tables = this.#tables(x);
      for (let i = 0; i < count; i++) {
        const next = this.#layer(i, x, tables);
        if (x !== input) x.dispose();
        x = next;
      }
      return skip === 0 ? this.#finalNorm(x) : x;
    });
  }

  /** Every hidden state, N + 1 of them [B, S, C]: the embeddings first, the normed output of the last layer last. */
  hiddenStates(input: TokenBatch | Tensor<FloatDType>): Tensor<FloatDType>[] {
    return scope(() => {
      const states = [this.#start(input)];
      const tables = this.#tables(states[0] as Tensor<FloatDType>);
      for (let i = 0; i < this.config.numLayers; i++) {
        states.push(this.#layer(i, states[i] as Tensor<FloatDType>, tables));
      }
      const last = states.pop() as Tensor<FloatDType>;
      return [...states, this.#finalNorm(last)];
    });
  }

  dispose(): void {
    this.params.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #start(input: TokenBatch | Tensor<FloatDType>): Tensor<FloatDType> {
    if (!("dtype" in input)) return this.embed(input);
    if (input.rank === 3 && input.shape[2] === this.config.hiddenSize) return input;
    throw invalid("Llama", "input", [...input.shape], `embeddings [B, S, ${this.config.hiddenSize}]`);
  }

  #tables(x: Tensor): RopeTables {
    const { headDim, ropeTheta } = this.config;
    return ropeTables1d(x.shape[1] ?? 0, headDim, { theta: ropeTheta, device: x.device });
  }

  #layer(i: number, x: Tensor<FloatDType>, tables: RopeTables): Tensor<FloatDType> {
    return scope(() => llamaLayer(this.params.at(`layers.${i}`), x, tables, this.config));
  }

  #finalNorm(x: Tensor<FloatDType>): Tensor<FloatDType> {
    return rmsNorm(x, this.params.get("norm.weight"), { eps: this.config.rmsNormEps });
  }
}

/** One layer: x + attention(norm(x)), then x + mlp(norm(x)). */
export function llamaLayer(
  p: Params,
  x: Tensor<FloatDType>,
  tables: RopeTables,
  config: LlamaConfig,
): Tensor<FloatDType> {
  const eps = config.rmsNormEps;
  const attended = selfAttention(
    p.at("self_attn"),
    rmsNorm(x, p.get("input_layernorm.weight"), { eps }),
    x,
    tables,
    config,
  );
  return gatedMlp(p.at("mlp"), rmsNorm(attended, p.get("post_attention_layernorm.weight"), { eps }), attended);
}

function selfAttention(
  p: Params,
  normed: Tensor<FloatDType>,
  residual: Tensor<FloatDType>,
  { cos, sin }: RopeTables,
  { numHeads, numKvHeads, headDim }: LlamaConfig,
): Tensor<FloatDType> {
  const [batch = 0, length = 0] = normed.shape;
  const heads = (name: string, count: number) => reshape(dense(p.at(name), normed), [batch, length, count, headDim]);
  const q = rope(heads("q_proj", numHeads), cos, sin, { interleaved: false });
  const k = rope(heads("k_proj", numKvHeads), cos, sin, { interleaved: false });
  const o = attention(q, k, heads("v_proj", numKvHeads), { causal: true });
  return dense(p.at("o_proj"), flatten(o, 2, 3), { residual });
}

/** down(silu(gate(x)) · up(x)) + residual. */
function gatedMlp(p: Params, x: Tensor<FloatDType>, residual: Tensor<FloatDType>): Tensor<FloatDType> {
  const gate = dense(p.at("gate_proj"), x, { activation: "silu" });
  return dense(p.at("down_proj"), mul(gate, dense(p.at("up_proj"), x)), { residual });
}
