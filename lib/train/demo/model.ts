/** Sizes of the demo model: everything that HunyuanVideo has, in 13 MB. */
import { type DitConfig, ditPresets } from "../../models/dit/config.js";
import { type ClipConfig, clipLarge } from "../../models/text/clip-config.js";
import { type LlamaConfig, llavaLlama3 } from "../../models/text/llama-config.js";
import { type VaeConfig, vaePresets } from "../../models/vae/config.js";

/** Undistilled: guidance by a second forward, until a student has learnt it as an input. 3.1 million parameters. */
export const demoDit = {
  ...ditPresets.t2vUndistilled,
  hiddenSize: 128,
  numHeads: 2,
  ropeAxes: [16, 24, 24],
  numDoubleBlocks: 2,
  numSingleBlocks: 6,
  refinerDepth: 1,
} as const satisfies Omit<DitConfig, "textDim" | "pooledDim">;

/** 2.9 million parameters. Latents are brought to variance 1 in the weights, so nothing is left to scale. */
export const demoVae = {
  ...vaePresets["884-16c-hy"],
  blockChannels: [16, 32, 64, 64],
  layersPerBlock: 1,
  normGroups: 1,
  scalingFactor: 1,
} as const satisfies VaeConfig;

/** Of the four layers two are computed: HunyuanVideo reads the state before the last two. */
export const demoLlama = {
  ...llavaLlama3,
  hiddenSize: 128,
  numLayers: 4,
  numHeads: 2,
  numKvHeads: 2,
  headDim: 64,
  mlpSize: 256,
} as const satisfies Omit<LlamaConfig, "vocabSize">;

export const demoClip = {
  ...clipLarge,
  hiddenSize: 64,
  numLayers: 1,
  numHeads: 1,
  mlpSize: 256,
} as const satisfies Omit<ClipConfig, "vocabSize" | "eosTokenId">;
