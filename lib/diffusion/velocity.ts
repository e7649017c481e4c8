/** The model as the sampler sees it: latents and conditions in, velocity out. B videos, T latent frames, H × W latents. */
import type { HunyuanDit } from "../models/dit/model.js";
import { cast } from "../ops/copy.js";
import type { RopeTables } from "../ops/rope.js";
import type { FloatDType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Conditioning } from "./conditioning.js";

/** Is shown what each part of the model gives, by the part's name; the tensors are lent for the call. */
export type OnBlock = (block: string, values: readonly Tensor[]) => void;

export interface VelocityInput extends Conditioning {
  /** [B, T, H, W, C], f32. */
  readonly latents: Tensor<"f32">;
  /** [B] in 0 … 1000 */
  readonly timestep: Tensor<"f32">;
  /** [B], 1000 × the scale; only for models that take it. */
  readonly guidance?: Tensor<"f32">;
  readonly onBlock?: OnBlock;
}

/** Predicts noise − data: [B, T, H, W, C]. */
export type VelocityModel = (input: VelocityInput) => Tensor<FloatDType>;

/**
 * The transformer, computing in a type of its own.
 *
 * @param ropeTables those of the latents' shape: the same in each step
 */
export function ditVelocity(dit: HunyuanDit, dtype: FloatDType, ropeTables: RopeTables): VelocityModel {
  return ({ latents, onBlock, ...rest }) =>
    dit.forward({ ...rest, latents: cast(latents, dtype), ropeTables }, onBlock === undefined ? {} : { onBlock });
}
