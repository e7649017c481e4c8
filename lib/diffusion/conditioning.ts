/** What the model is told besides the latents. B videos, L text tokens, T latent frames, H × W latents, C channels. */
import { concat } from "../ops/concat.js";
import { full, zeros } from "../ops/fill.js";
import { pad } from "../ops/layout.js";
import { slice } from "../ops/views.js";
import type { FloatDType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";

/** A prompt as the text encoders give it. Rows past a sample's length are never read. */
export interface Conditioning {
  /** [B, L, textDim] */
  readonly text: Tensor<FloatDType>;
  /** Tokens that count, for each sample; they come first. */
  readonly textLengths: readonly number[];
  /** [B, pooledDim] */
  readonly pooled: Tensor<FloatDType>;
}

/** How an image enters the model; as `i2v` in a transformer's configuration. */
export interface ImageLatents {
  /** [B, 1, H, W, C], f32. */
  readonly latents: Tensor<"f32">;
  readonly mode: "token_replace" | "latent_concat";
}

/** Two batches of conditions, one after the other; the shorter texts get rows that nobody reads. */
export function joinConditioning(a: Conditioning, b: Conditioning): Conditioning {
  const length = Math.max(a.text.shape[1] as number, b.text.shape[1] as number);
  const padded = ({ text }: Conditioning) =>
    text.shape[1] === length
      ? text
      : pad(text, [
          [0, 0],
          [0, length - (text.shape[1] as number)],
          [0, 0],
        ]);
  return {
    text: concat([padded(a), padded(b)], 0),
    textLengths: [...a.textLengths, ...b.textLengths],
    pooled: concat([a.pooled, b.pooled], 0),
  };
}

/** The image in the place of the first frame. */
export function withFirstFrame<D extends FloatDType>(latents: Tensor<D>, image: Tensor<D>): Tensor<D> {
  return concat([image, slice(latents, 1, 1)], 1);
}

/**
 * Noise, image and mask side by side, [B, T, H, W, 2 C + 1]: the image's channels are zero after the first frame, and the
 * mask is one in the first frame only.
 */
export function withImageChannels(latents: Tensor<"f32">, image: Tensor<"f32">): Tensor<"f32"> {
  const { shape, device } = latents;
  const [batch = 0, frames = 0, height = 0, width = 0, channels = 0] = shape;
  const later = (size: number) => zeros([batch, frames - 1, height, width, size], { device });
  const images = frames === 1 ? image : concat([image, later(channels)], 1);
  const first = full([batch, 1, height, width, 1], 1, { device });
  const mask = frames === 1 ? first : concat([first, later(1)], 1);
  return concat([latents, images, mask], -1);
}
