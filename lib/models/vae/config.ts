/** What an autoencoder of the HunyuanVideo family is made of, and the one that was released. */
import { HunyuanError } from "../../runtime/errors.js";

/** Plain data; strides of the blocks are derived from the ratios. */
export interface VaeConfig {
  /** Colours that go in. */
  readonly inChannels: number;
  /** Colours that come out. */
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Width of each of the encoder's blocks, from the pixels inwards; the decoder's are the same in reverse. */
  readonly blockChannels: readonly number[];
  /** Residual blocks in each block of the encoder; the decoder's have one more. */
  readonly layersPerBlock: number;
  /** Groups of every GroupNorm; divides every width. */
  readonly normGroups: number;
  /** Whether the middle blocks attend from frame to frame. */
  readonly midAttention: boolean;
  /** Pixels that become one latent along height and width. */
  readonly spatialRatio: number;
  /** Frames that become one latent frame: 4n + 1 frames become n + 1. */
  readonly temporalRatio: number;
  /** The transformer sees latents times this. */
  readonly scalingFactor: number;
}

/** Added under the root of every GroupNorm. */
export const normEps = 1e-6;

/**
 * The released autoencoder.
 *
 * @example vaePresets["884-16c-hy"].scalingFactor // 0.476986
 */
export const vaePresets = {
  /** 8 × 8 pixels and 4 frames to a latent of 16 channels; 246 million parameters. */
  "884-16c-hy": {
    inChannels: 3,
    outChannels: 3,
    latentChannels: 16,
    blockChannels: [128, 256, 512, 512],
    layersPerBlock: 2,
    normGroups: 32,
    midAttention: true,
    spatialRatio: 8,
    temporalRatio: 4,
    scalingFactor: 0.476986,
  },
} as const satisfies { readonly [name: string]: VaeConfig };

export type Stride = readonly [t: 1 | 2, h: 1 | 2, w: 1 | 2];

/**
 * By how much block i of the encoder shrinks and block i of the decoder enlarges, undefined where it does neither: space
 * in the first blocks, time in the last ones before the end.
 */
export function blockStride({ blockChannels, spatialRatio, temporalRatio }: VaeConfig, i: number): Stride | undefined {
  const last = blockChannels.length - 1;
  const space = i < Math.log2(spatialRatio) ? 2 : 1;
  const time = i < last && i >= last - Math.log2(temporalRatio) ? 2 : 1;
  return space === 1 && time === 1 ? undefined : [time, space, space];
}

/** Latent frames of a clip of 4n + 1 frames. */
export function latentFrames({ temporalRatio }: VaeConfig, frames: number): number {
  return (frames - 1) / temporalRatio + 1;
}

/** Frames that so many latent frames become. */
export function decodedFrames({ temporalRatio }: VaeConfig, frames: number): number {
  return (frames - 1) * temporalRatio + 1;
}

/**
 * Throws unless this library runs such a model.
 *
 * @throws MODEL_UNSUPPORTED naming the first value that it does not
 */
export function checkVaeConfig(config: VaeConfig): void {
  for (const what of ["inChannels", "outChannels", "latentChannels", "layersPerBlock", "normGroups"] as const) {
    if (!isWhole(config[what])) throw unsupported(what, config[what], "a whole number ≥ 1");
  }
  const { blockChannels, normGroups, spatialRatio, temporalRatio, scalingFactor } = config;
  if (blockChannels.length === 0 || !blockChannels.every((n) => isWhole(n) && n % normGroups === 0)) {
    throw unsupported("blockChannels", blockChannels, `widths that are multiples of ${normGroups} groups`);
  }
  const most = 2 ** (blockChannels.length - 1);
  if (![1, 2, 4, 8].includes(spatialRatio) || spatialRatio > most) {
    throw unsupported("spatialRatio", spatialRatio, `a power of two, 8 and ${most} at most`);
  }
  if (![1, 2, 4].includes(temporalRatio) || temporalRatio > most) {
    throw unsupported("temporalRatio", temporalRatio, `a power of two, 4 and ${most} at most`);
  }
  if (!(scalingFactor > 0)) throw unsupported("scalingFactor", scalingFactor, "a number > 0");
}

const isWhole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;

/** @internal */
export function unsupported(what: string, value: unknown, expected: string): HunyuanError<"MODEL_UNSUPPORTED"> {
  const seen = typeof value === "object" ? JSON.stringify(value) : String(value);
  return new HunyuanError("MODEL_UNSUPPORTED", `autoencoder: ${what} is ${seen}, expected ${expected}`, { what });
}
