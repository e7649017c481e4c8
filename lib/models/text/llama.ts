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
import { concat } from "../../ops/concat.js";
import { embedding } from "../../ops/layout.js";
import { rmsNorm } from "../../ops/norm.js";
import { mul } from "../../ops/pointwise.js";
import { type RopeTables, rope, ropeTables1d } from "../../ops/rope.js";
import { broadcastTo, flatten, reshape } from "../../ops/views.js";
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

  /**
   * What {@link hiddenState} gives for rows that all begin with the same ids, without that beginning: [B, S, C]. It is
   * computed once for all rows, which is most of the work where a template is long and prompts are short.
   *
   * @param start ids that stand before each row
   */
  hiddenStateAfter(
    start: readonly number[],
    input: TokenBatch,
    options: { readonly skip?: number } = {},
  ): Tensor<FloatDType> {
    const { skip = hiddenStateSkipLayer } = options;
    const count = layersForSkip(this.config, skip);
    return scope(() => {
      let before = this.embed([start]);
      let x = this.embed(input);
      const tables = { before: this.#tables(before), own: this.#tables(x, start.length) };
      for (let i = 0; i < count; i++) {
        const p = this.params.at(`layers.${i}`);
        x = scope(() => llamaLayerAfter(p, before, x, tables, this.config));
        // Nothing looks at the beginning after the last layer.
        if (i + 1 < count) before = this.#layer(i, before, tables.before);
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

  #tables(x: Tensor, start = 0): RopeTables {
    const { headDim, ropeTheta } = this.config;
    return ropeTables1d(x.shape[1] ?? 0, headDim, { theta: ropeTheta, start, device: x.device });
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
  return finishLayer(p, attend(headsOf(p, x, tables, config)), x, config);
}

/** The same for tokens behind `before` [1, P, C], which every row of the batch begins with. */
function llamaLayerAfter(
  p: Params,
  before: Tensor<FloatDType>,
  x: Tensor<FloatDType>,
  tables: { readonly before: RopeTables; readonly own: RopeTables },
  config: LlamaConfig,
): Tensor<FloatDType> {
  const first = headsOf(p, before, tables.before, config);
  const own = headsOf(p, x, tables.own, config);
  const behind = (a: Tensor<FloatDType>, b: Tensor<FloatDType>) =>
    concat([broadcastTo(a, [b.shape[0] ?? 0, ...a.shape.slice(1)]), b], 1);
  const o = attend({ q: own.q, k: behind(first.k, own.k), v: behind(first.v, own.v) });
  return finishLayer(p, o, x, config);
}

interface Heads {
  readonly q: Tensor<FloatDType>;
  readonly k: Tensor<FloatDType>;
  readonly v: Tensor<FloatDType>;
}

function headsOf(p: Params, x: Tensor<FloatDType>, { cos, sin }: RopeTables, config: LlamaConfig): Heads {
  const { numHeads, numKvHeads, headDim, rmsNormEps: eps } = config;
  const [batch = 0, length = 0] = x.shape;
  const normed = rmsNorm(x, p.get("input_layernorm.weight"), { eps });
  const heads = (name: string, count: number) =>
    reshape(dense(p.at("self_attn").at(name), normed), [batch, length, count, headDim]);
  const turned = { interleaved: false };
  return {
    q: rope(heads("q_proj", numHeads), cos, sin, turned),
    k: rope(heads("k_proj", numKvHeads), cos, sin, turned),
    v: heads("v_proj", numKvHeads),
  };
}

/** Each token sees those before it; the last query sees all keys. */
const attend = ({ q, k, v }: Heads) => attention(q, k, v, { causal: true });

/** What comes after attention. */
function finishLayer(
  p: Params,
  o: Tensor<FloatDType>,
  x: Tensor<FloatDType>,
  { rmsNormEps: eps }: LlamaConfig,
): Tensor<FloatDType> {
  const attended = dense(p.at("self_attn").at("o_proj"), flatten(o, 2, 3), { residual: x });
  return gatedMlp(p.at("mlp"), rmsNorm(attended, p.get("post_attention_layernorm.weight"), { eps }), attended);
}

/** down(silu(gate(x)) · up(x)) + residual. */
function gatedMlp(p: Params, x: Tensor<FloatDType>, residual: Tensor<FloatDType>): Tensor<FloatDType> {
  const gate = dense(p.at("gate_proj"), x, { activation: "silu" });
  return dense(p.at("down_proj"), mul(gate, dense(p.at("up_proj"), x)), { residual });
}
