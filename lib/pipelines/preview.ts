/**
 * Small pictures of latents while they are sampled, one pixel a latent: cheap enough for every step. How a latent looks is
 * asked of the autoencoder itself, once: what colour it gives to each channel alone.
 */
import type { CausalVae } from "../models/vae/model.js";
import { concat } from "../ops/concat.js";
import { cast } from "../ops/copy.js";
import { full, zeros } from "../ops/fill.js";
import { matmul } from "../ops/linear.js";
import { add, sub } from "../ops/pointwise.js";
import { mean } from "../ops/reduce.js";
import { reshape, slice } from "../ops/views.js";
import type { Device } from "../runtime/device.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ComputeDType } from "./load-options.js";
import type { Preview } from "./progress.js";
import { toBytes } from "./video-bytes.js";

/** Latents of a probe along height and width: few, but with a middle that no border is near. */
const probeSide = 4;

/** Shows latents [1, T, H, W, C]. */
export class Previewer implements Disposable {
  /** [C, 3] */
  readonly #colours: Tensor<"f32">;
  /** [1, 3] */
  readonly #grey: Tensor<"f32">;

  private constructor(colours: Tensor<"f32">, grey: Tensor<"f32">) {
    this.#colours = colours;
    this.#grey = grey;
  }

  /** Decodes C + 1 pictures of 32 × 32 pixels: latents of zero, and of one in each channel. */
  static async of(
    vae: CausalVae,
    device: Device,
    dtype: ComputeDType,
    signal: AbortSignal | undefined,
  ): Promise<Previewer> {
    const { latentChannels } = vae.config;
    const means: Tensor<"f32">[] = [];
    try {
      for (let channel = -1; channel < latentChannels; channel++) {
        const picture = scope(() => {
          const z = cast(vae.unscaleLatents(probe(device, channel, latentChannels)), dtype);
          const decoded = cast(vae.decode(z), "f32");
          return reshape(mean(decoded, { axes: [1, 2, 3] }), [1, 3]);
        });
        means.push(picture);
        await device.sync(signal === undefined ? {} : { signal });
      }
      const [grey, ...channels] = means as [Tensor<"f32">, ...Tensor<"f32">[]];
      const colours = scope(() => sub(concat(channels, 0), grey));
      return new Previewer(colours, grey.alias());
    } finally {
      for (const tensor of means) tensor.dispose();
    }
  }

  /** The middle frame. */
  async show(latents: Tensor<"f32">, signal: AbortSignal | undefined): Promise<Preview> {
    const [, frames = 0, height = 0, width = 0, channels = 0] = latents.shape;
    const middle = Math.floor(frames / 2);
    using bytes = scope(() => {
      const rows = reshape(slice(latents, 1, middle, middle + 1), [height * width, channels]);
      return toBytes(add(matmul(rows, this.#colours), this.#grey));
    });
    return { width, height, data: await bytes.read(signal === undefined ? {} : { signal }) };
  }

  [Symbol.dispose](): void {
    this.#colours.dispose();
    this.#grey.dispose();
  }
}

/** One in a channel (none for −1), zero in the others: [1, 1, side, side, C]. */
function probe(device: Device, channel: number, channels: number): Tensor<"f32"> {
  const part = (size: number, value: number) => full([1, 1, probeSide, probeSide, size], value, { device });
  if (channel < 0) return zeros([1, 1, probeSide, probeSide, channels], { device });
  const parts = [part(channel, 0), part(1, 1), part(channels - channel - 1, 0)];
  return concat(
    parts.filter(({ size }) => size > 0),
    -1,
  );
}
