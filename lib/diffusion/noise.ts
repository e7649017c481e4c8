/** The noise that sampling starts from. B videos, T latent frames, H × W latents, C channels. */
import { concat } from "../ops/concat.js";
import { contiguous } from "../ops/layout.js";
import { randn } from "../ops/random.js";
import { permute } from "../ops/views.js";
import type { Device } from "../runtime/device.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";

export type NoiseGenerator = "philox" | "torch";

export interface NoiseOptions {
  readonly device: Device;
  /** One for each video. */
  readonly seeds: readonly number[];
  /** [T, H, W, C] of one video. */
  readonly shape: readonly [frames: number, height: number, width: number, channels: number];
  /** "philox": the same on every device. "torch": what PyTorch's CPU generator gives for the seed. Default philox. */
  readonly rng?: NoiseGenerator | undefined;
}

/** Seeds of n videos: seed, seed + 1, … */
export function seedsOf(seed: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => seed + i);
}

/**
 * Normal noise [B, T, H, W, C] in f32. Each video's numbers are drawn from its own seed in the order [C, T, H, W], the
 * order of the reference's latents, so that a seed gives one video whether it is made alone or among others.
 *
 * @throws INVALID_ARGUMENT for seeds that are no whole numbers ≥ 0
 * @example initialNoise({ device, seeds: [42], shape: [33, 90, 160, 16], rng: "torch" })
 */
export function initialNoise({ device, seeds, shape, rng = "philox" }: NoiseOptions): Tensor<"f32"> {
  const [frames, height, width, channels] = shape;
  return scope(() => {
    const videos = seeds.map((seed) =>
      permute(randn([1, channels, frames, height, width], { seed, rng, device }), [0, 2, 3, 4, 1]),
    );
    return contiguous(videos.length === 1 ? (videos[0] as Tensor<"f32">) : concat(videos, 0));
  });
}
