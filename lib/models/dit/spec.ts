/** The transformer's parameters: names and shapes of the released checkpoint, in its order. */
import type { ParameterSpec } from "../../nn/spec.js";
import type { Shape } from "../../tensor/shape.js";
import { type DitConfig, headDim, mlpSize, patchElements, refinerMlpRatio, sinusoidSize } from "./config.js";

const same = (name: string, shape: Shape): ParameterSpec => ({ name, shape, layout: "same" });

/** A linear layer: `weight` [out, in] and `bias` [out]. */
const linear = (name: string, out: number, inner: number): readonly ParameterSpec[] => [
  same(`${name}.weight`, [out, inner]),
  same(`${name}.bias`, [out]),
];

/** A LayerNorm that learns: `weight` and `bias` [size]. */
const norm = (name: string, size: number): readonly ParameterSpec[] => [
  same(`${name}.weight`, [size]),
  same(`${name}.bias`, [size]),
];

/** From a sinusoid to the hidden size: `mlp.0`, SiLU, `mlp.2`. */
const sinusoidMlp = (name: string, hidden: number): readonly ParameterSpec[] => [
  ...linear(`${name}.mlp.0`, hidden, sinusoidSize),
  ...linear(`${name}.mlp.2`, hidden, hidden),
];

/**
 * Every parameter of a transformer, under the released names and in the released order.
 *
 * @example ditSpec(ditPresets.t2v)[0] // { name: "img_in.proj.weight", shape: [3072, 16, 1, 2, 2], layout: "flat" }
 */
export function ditSpec(config: DitConfig): ParameterSpec[] {
  const { hiddenSize: hidden, inChannels, outChannels, patchSize, pooledDim, guidanceEmbed } = config;
  return [
    { name: "img_in.proj.weight", shape: [hidden, inChannels, ...patchSize], layout: "flat" },
    same("img_in.proj.bias", [hidden]),
    ...refinerSpec(config),
    ...sinusoidMlp("time_in", hidden),
    ...linear("vector_in.in_layer", hidden, pooledDim),
    ...linear("vector_in.out_layer", hidden, hidden),
    ...(guidanceEmbed ? sinusoidMlp("guidance_in", hidden) : []),
    ...blocks(config.numDoubleBlocks, (i) => doubleBlockSpec(`double_blocks.${i}`, config)),
    ...blocks(config.numSingleBlocks, (i) => singleBlockSpec(`single_blocks.${i}`, config)),
    ...linear("final_layer.linear", patchElements(outChannels, config), hidden),
    ...linear("final_layer.adaLN_modulation.1", 2 * hidden, hidden),
  ];
}

const blocks = (count: number, spec: (i: number) => readonly ParameterSpec[]): readonly ParameterSpec[] =>
  Array.from({ length: count }, (_, i) => spec(i)).flat();

function refinerSpec({ hiddenSize: hidden, textDim, refinerDepth }: DitConfig): readonly ParameterSpec[] {
  return [
    ...linear("txt_in.input_embedder", hidden, textDim),
    ...sinusoidMlp("txt_in.t_embedder", hidden),
    ...linear("txt_in.c_embedder.linear_1", hidden, textDim),
    ...linear("txt_in.c_embedder.linear_2", hidden, hidden),
    ...blocks(refinerDepth, (i) => {
      const name = `txt_in.individual_token_refiner.blocks.${i}`;
      return [
        ...norm(`${name}.norm1`, hidden),
        ...linear(`${name}.self_attn_qkv`, 3 * hidden, hidden),
        ...linear(`${name}.self_attn_proj`, hidden, hidden),
        ...norm(`${name}.norm2`, hidden),
        ...linear(`${name}.mlp.fc1`, refinerMlpRatio * hidden, hidden),
        ...linear(`${name}.mlp.fc2`, hidden, refinerMlpRatio * hidden),
        ...linear(`${name}.adaLN_modulation.1`, 2 * hidden, hidden),
      ];
    }),
  ];
}

function doubleBlockSpec(name: string, config: DitConfig): readonly ParameterSpec[] {
  const { hiddenSize: hidden } = config;
  return ["img", "txt"].flatMap((stream) => [
    ...linear(`${name}.${stream}_mod.linear`, 6 * hidden, hidden),
    ...linear(`${name}.${stream}_attn_qkv`, 3 * hidden, hidden),
    same(`${name}.${stream}_attn_q_norm.weight`, [headDim(config)]),
    same(`${name}.${stream}_attn_k_norm.weight`, [headDim(config)]),
    ...linear(`${name}.${stream}_attn_proj`, hidden, hidden),
    ...linear(`${name}.${stream}_mlp.fc1`, mlpSize(config), hidden),
    ...linear(`${name}.${stream}_mlp.fc2`, hidden, mlpSize(config)),
  ]);
}

function singleBlockSpec(name: string, config: DitConfig): readonly ParameterSpec[] {
  const { hiddenSize: hidden } = config;
  return [
    ...linear(`${name}.linear1`, 3 * hidden + mlpSize(config), hidden),
    ...linear(`${name}.linear2`, hidden, hidden + mlpSize(config)),
    same(`${name}.q_norm.weight`, [headDim(config)]),
    same(`${name}.k_norm.weight`, [headDim(config)]),
    ...linear(`${name}.modulation.linear`, 3 * hidden, hidden),
  ];
}
