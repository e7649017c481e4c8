/** What a text encoder costs, worked out from its configuration before anything is loaded. */
import type { ParameterSpec } from "../../nn/spec.js";
import { bytesOf, type FloatDType } from "../../tensor/dtype.js";
import { sizeOf } from "../../tensor/shape.js";
import { clipSpec } from "./clip.js";
import type { ClipConfig } from "./clip-config.js";
import { layersForSkip, llamaSpec } from "./llama.js";
import { hiddenStateSkipLayer, type LlamaConfig } from "./llama-config.js";

export interface TextEstimate {
  readonly parameters: number;
  /** Bytes of the parameters on the device. */
  readonly parameterBytes: number;
  /** Bytes of all that one layer makes: the most there is beside the parameters, kernels' workspace (about 1 MB) apart. */
  readonly activationBytes: number;
  readonly flops: number;
}

export interface TextEstimateOptions {
  readonly dtype: FloatDType;
  /** Tokens of the batch, padding included. */
  readonly tokens: number;
  /** Bytes of an element of the linear layers' weights where they are not held in dtype (1 for f8e4m3). */
  readonly weightBytes?: number | undefined;
}

/**
 * The language model as HunyuanVideo runs it.
 *
 * @param options skip: layers at the end that are left out (default 2); 0 for a whole model
 * @example estimateLlama(llavaLlama3, { dtype: "bf16", tokens: 351 }).parameterBytes // 14.1e9
 */
export function estimateLlama(
  config: LlamaConfig,
  { dtype, tokens, weightBytes, skip = hiddenStateSkipLayer }: TextEstimateOptions & { readonly skip?: number },
): TextEstimate {
  const specs = llamaSpec(config, { numLayers: layersForSkip(config, skip) });
  const { hiddenSize, mlpSize, numHeads, numKvHeads, headDim, numLayers } = config;
  // Input, both normed, the sum after attention and the output; q and k before and after rotation, v, o; gate, up, product.
  const layer = 5 * hiddenSize + 3 * (numHeads + numKvHeads) * headDim + 3 * mlpSize;
  return {
    ...parameterCost(specs, dtype, weightBytes),
    activationBytes: bytesOf(dtype, tokens * layer) + bytesOf("f32", 2 * tokens * headDim),
    flops: matrixFlops(specs, tokens) + causalFlops(tokens, numHeads * headDim) * (numLayers - skip),
  };
}

/** CLIP's text model. */
export function estimateClip(config: ClipConfig, { dtype, tokens, weightBytes }: TextEstimateOptions): TextEstimate {
  const specs = clipSpec(config);
  const { hiddenSize, mlpSize, numLayers } = config;
  return {
    ...parameterCost(specs, dtype, weightBytes),
    activationBytes: bytesOf(dtype, tokens * (9 * hiddenSize + 2 * mlpSize)),
    flops: matrixFlops(specs, tokens) + causalFlops(tokens, hiddenSize) * numLayers,
  };
}

/** Tables are matrices too, but are read a row at a time. */
const isMultiplied = ({ name, shape }: ParameterSpec) => shape.length === 2 && !/embed/.test(name);

function parameterCost(specs: readonly ParameterSpec[], dtype: FloatDType, weightBytes: number | undefined) {
  let [parameters, parameterBytes] = [0, 0];
  for (const spec of specs) {
    const size = sizeOf(spec.shape);
    parameters += size;
    parameterBytes += isMultiplied(spec) && weightBytes !== undefined ? size * weightBytes : bytesOf(dtype, size);
  }
  return { parameters, parameterBytes };
}

/** A multiplication and an addition for each element of a weight and each token. */
function matrixFlops(specs: readonly ParameterSpec[], tokens: number): number {
  return specs.filter(isMultiplied).reduce((sum, { shape }) => sum + 2 * tokens * sizeOf(shape), 0);
}

/** q kᵀ and p v, of which causal attention needs half. */
function causalFlops(tokens: number, width: number): number {
  return 2 * tokens * tokens * width;
}
