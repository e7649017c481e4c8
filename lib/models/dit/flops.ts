/**
 * What a transformer costs before anything is loaded: parameters, FLOPs, bytes moved and memory of a forward pass.
 *
 * N tokens of a sample, video and text, C hidden size, M width of the MLPs. A multiply-add is two FLOPs; norms, rotations
 * and the like are left out of FLOPs: they are bound by memory.
 */
import { bytesOf, type FloatDType } from "../../tensor/dtype.js";
import { sizeOf } from "../../tensor/shape.js";
import { type DitConfig, headDim, mlpSize, patchElements, refinerMlpRatio } from "./config.js";
import { ditSpec } from "./spec.js";

/** The size of a forward pass. */
export interface DitWork {
  /** Default 1; true guidance in one batch makes it 2. */
  readonly batch?: number;
  /** Of the latents: (frames − 1) / 4 + 1, and an eighth of the pixels. */
  readonly latentFrames: number;
  readonly latentHeight: number;
  readonly latentWidth: number;
  /** Text tokens of a sample. Default 256, the most there are. */
  readonly textTokens?: number;
}

/** How many numbers the checkpoint holds. @example ditParameters(ditPresets.t2v) // 12821012544 */
export function ditParameters(config: DitConfig): number {
  return ditSpec(config).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

interface Tokens {
  readonly batch: number;
  readonly video: number;
  readonly text: number;
}

function tokensOf({ patchSize: [t, h, w] }: DitConfig, work: DitWork): Tokens {
  const { batch = 1, latentFrames, latentHeight, latentWidth, textTokens = 256 } = work;
  return { batch, video: (latentFrames * latentHeight * latentWidth) / (t * h * w), text: textTokens };
}

export interface DitFlops {
  /** Scores and weighted sums, in all blocks. */
  readonly attention: number;
  /** Matrix products with weights. */
  readonly linear: number;
  readonly total: number;
}

/**
 * FLOPs of one forward pass: of one step, or of half a step where true guidance takes two.
 *
 * @example ditFlops(ditPresets.t2v, { latentFrames: 33, latentHeight: 90, latentWidth: 160 }).total // 1.207e16
 */
export function ditFlops(config: DitConfig, work: DitWork): DitFlops {
  const { hiddenSize: c, numDoubleBlocks, numSingleBlocks, refinerDepth, textDim, inChannels, outChannels } = config;
  const { batch, video, text } = tokensOf(config, work);
  const m = mlpSize(config);
  const both = video + text;
  // q, k, v and projection, then the two layers of the MLP: the same products in both kinds of block.
  const block = 2 * both * (4 * c * c + 2 * c * m);
  const refiner = 2 * text * (4 + 2 * refinerMlpRatio) * c * c;
  const ends = 2 * video * c * (patchElements(inChannels, config) + patchElements(outChannels, config));
  // For each sample, not for each token.
  const modulations = 2 * c * c * (12 * numDoubleBlocks + 3 * numSingleBlocks + 2 * refinerDepth + 2);
  const linear =
    (numDoubleBlocks + numSingleBlocks) * block + refinerDepth * refiner + 2 * text * textDim * c + ends + modulations;
  const attention = 4 * c * ((numDoubleBlocks + numSingleBlocks) * both ** 2 + refinerDepth * text ** 2);
  return { attention: batch * attention, linear: batch * linear, total: batch * (attention + linear) };
}

/**
 * Bytes that a forward pass moves between memory and units when no cache helps: each weight once, each tensor of tokens
 * once for each op that reads or writes it.
 */
export function ditTraffic(config: DitConfig, work: DitWork, dtype: FloatDType, weightBytes: number): number {
  const { batch, video, text } = tokensOf(config, work);
  const mlp = mlpSize(config) / config.hiddenSize;
  // In tokens × C. Double: two norms (4), q k v (4, and 3 for making room), their norms (4), attention (4), projection
  // with residual (3), MLP. Single: the same with one norm, and a residual for each of attention and MLP.
  const double = 4 + 7 + 4 + 4 + 3 + (1 + 2 * mlp + 2);
  const single = 2 + 4 + 4 + 4 + 3 + (1 + 2 * mlp + 2);
  const passes = config.numDoubleBlocks * double + config.numSingleBlocks * single;
  return weightBytes + bytesOf(dtype, batch * (video + text) * config.hiddenSize * passes);
}

/**
 * The most bytes that live at once during a forward pass without gradients, besides weights and inputs: in a single block,
 * the tokens before it, those after attention, normed ones and the MLP's inner ones; or, where the MLP is narrow, what
 * surrounds attention. Workspaces of kernels, some tens of megabytes, are not counted.
 */
export function ditActivationBytes(config: DitConfig, work: DitWork, dtype: FloatDType): number {
  const { hiddenSize: c, numHeads, numSingleBlocks, numDoubleBlocks } = config;
  const { batch, video, text } = tokensOf(config, work);
  const m = mlpSize(config);
  const tokens = batch * (video + text);
  // x, its normed form, q, k, v and o; and, in f32, a number for each head of each token.
  const aroundAttention = bytesOf(dtype, 6 * tokens * c) + bytesOf("f32", tokens * numHeads);
  const singleMlp = numSingleBlocks > 0 ? bytesOf(dtype, tokens * (3 * c + m)) : 0;
  const doubleMlp = numDoubleBlocks > 0 ? bytesOf(dtype, tokens * 2 * c + batch * video * (c + m)) : 0;
  const rope = bytesOf("f32", 2 * video * headDim(config));
  return rope + Math.max(aroundAttention, singleMlp, doubleMlp);
}
