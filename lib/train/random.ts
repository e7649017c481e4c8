/** Seeds for the device's generator, from what they are for: nothing hidden that a resumed run could miss. */
import { randn } from "../ops/random.js";
import type { Device } from "../runtime/device.js";
import { sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { Draws } from "./data/draws.js";

/** A seed for `rand` and `randn` that depends on the keys alone. @example seedOf("noise", seed, step) */
export function seedOf(...keys: readonly (string | number)[]): number {
  const draws = new Draws(...keys);
  return (draws.next() % 2 ** 21) * 2 ** 32 + draws.next();
}

/**
 * Normal numbers for samples `first` … of a step, [B, …]: each sample gets the same numbers whether the step's samples
 * come in one batch or in several.
 */
export function noiseFor(
  shape: readonly number[],
  of: { readonly seed: number; readonly first: number; readonly device: Device },
): Tensor<"f32"> {
  const { seed, first, device } = of;
  return randn(shape, { seed, device, offset: first * sizeOf(shape.slice(1)) });
}
