/** What a transformer of the HunyuanVideo family is made of, and the variants that were released. */
import { HunyuanError } from "../../runtime/errors.js";

/** How an image enters an image-to-video model: as the first latent frame, or as further channels of every frame. */
export type ImageCondition = "token_replace" | "latent_concat";

/** Plain data; `headDim` and `mlpSize` below are derived from it. */
export interface DitConfig {
  /** Width of the token stream, a multiple of numHeads. */
  readonly hiddenSize: number;
  readonly numHeads: number;
  /** Width of each head's part that turns with the frame, the row and the column; even, their sum is the head's width. */
  readonly ropeAxes: readonly [t: number, h: number, w: number];
  readonly ropeTheta: number;
  /** Blocks with a stream each for video and text. */
  readonly numDoubleBlocks: number;
  /** Blocks with one stream for both, after the others. */
  readonly numSingleBlocks: number;
  /** Width of the MLPs as a multiple of hiddenSize; those of the text refiner are always 4 times as wide. */
  readonly mlpRatio: number;
  /** Channels of the latents that go in: with "latent_concat" those of noise, of image and a mask. */
  readonly inChannels: number;
  readonly outChannels: number;
  /** Latents of a token: frames, rows, columns. */
  readonly patchSize: readonly [t: number, h: number, w: number];
  /** Width of the language model's states. */
  readonly textDim: number;
  /** Width of CLIP's pooled state. */
  readonly pooledDim: number;
  /** Whether the model was distilled to take the guidance scale as an input. */
  readonly guidanceEmbed: boolean;
  /** Blocks of the text refiner. */
  readonly refinerDepth: number;
  readonly i2v?: ImageCondition | undefined;
}

/** Width of the sinusoid that timestep and guidance enter as. */
export const sinusoidSize = 256;

/** Width of the text refiner's MLPs as a multiple of hiddenSize. */
export const refinerMlpRatio = 4;

/** Width of a head. */
export function headDim({ hiddenSize, numHeads }: DitConfig): number {
  return hiddenSize / numHeads;
}

/** Width of the blocks' MLPs; as in the reference, a fraction is cut off. */
export function mlpSize({ hiddenSize, mlpRatio }: DitConfig): number {
  return Math.trunc(hiddenSize * mlpRatio);
}

/** Elements of a token: channels × places of its patch. */
export function patchElements(channels: number, { patchSize: [t, h, w] }: DitConfig): number {
  return channels * t * h * w;
}

const released = {
  hiddenSize: 3072,
  numHeads: 24,
  ropeAxes: [16, 56, 56],
  ropeTheta: 256,
  numDoubleBlocks: 20,
  numSingleBlocks: 40,
  mlpRatio: 4,
  inChannels: 16,
  outChannels: 16,
  patchSize: [1, 2, 2],
  textDim: 4096,
  pooledDim: 768,
  guidanceEmbed: true,
  refinerDepth: 2,
} as const satisfies DitConfig;

/**
 * The released variants, 13 billion parameters each.
 *
 * @example ditPresets.t2v.hiddenSize // 3072
 */
export const ditPresets = {
  /** Text to video with guidance as an input: the weights that HunyuanVideo was released with. */
  t2v: released,
  /** Text to video without: true classifier-free guidance, two forwards a step. */
  t2vUndistilled: { ...released, guidanceEmbed: false },
  /** Image to video: the first latent frame is the image (16 channels). */
  i2vTokenReplace: { ...released, i2v: "token_replace" },
  /** Image to video, the first release: noise, image and mask side by side (33 channels), no guidance as an input. */
  i2vConcat: { ...released, inChannels: 33, guidanceEmbed: false, i2v: "latent_concat" },
} as const satisfies { readonly [name: string]: DitConfig };

/**
 * Throws unless this library runs such a model.
 *
 * @throws MODEL_UNSUPPORTED naming the first value that it does not
 */
export function checkDitConfig(config: DitConfig): void {
  const wholes = [
    ["hiddenSize", 1],
    ["numHeads", 1],
    ["numDoubleBlocks", 0],
    ["numSingleBlocks", 0],
    ["inChannels", 1],
    ["outChannels", 1],
    ["textDim", 1],
    ["pooledDim", 1],
    ["refinerDepth", 0],
  ] as const;
  for (const [what, least] of wholes) {
    const value = config[what];
    if (!Number.isSafeInteger(value) || value < least) throw unsupported(what, value, `a whole number ≥ ${least}`);
  }
  const { hiddenSize, numHeads, ropeAxes, ropeTheta, patchSize, mlpRatio, i2v } = config;
  if (hiddenSize % numHeads !== 0) throw unsupported("hiddenSize", hiddenSize, `a multiple of ${numHeads} heads`);
  const width = headDim(config);
  if (ropeAxes.length !== 3 || ropeAxes.some((n) => n < 0 || n % 2 !== 0) || sum(ropeAxes) !== width) {
    throw unsupported("ropeAxes", ropeAxes, `three even widths that make up a head's ${width}`);
  }
  if (!(ropeTheta > 0)) throw unsupported("ropeTheta", ropeTheta, "a number > 0");
  if (String(patchSize) !== "1,2,2") throw unsupported("patchSize", patchSize, "[1, 2, 2]");
  if (!(mlpSize(config) >= 1)) throw unsupported("mlpRatio", mlpRatio, "a number ≥ 1 / hiddenSize");
  if (i2v !== undefined && i2v !== "token_replace" && i2v !== "latent_concat") {
    throw unsupported("i2v", i2v, '"token_replace", "latent_concat" or none');
  }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** @internal */
export function unsupported(what: string, value: unknown, expected: string): HunyuanError<"MODEL_UNSUPPORTED"> {
  const seen = typeof value === "object" ? JSON.stringify(value) : String(value);
  return new HunyuanError("MODEL_UNSUPPORTED", `transformer: ${what} is ${seen}, expected ${expected}`, { what });
}
