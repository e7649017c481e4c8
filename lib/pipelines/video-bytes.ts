/** From what the decoder gives to bytes that can be shown. T frames of H × W pixels. */
import { spread } from "../diffusion/finite.js";
import { cast } from "../ops/copy.js";
import { add, mul } from "../ops/pointwise.js";
import { slice } from "../ops/views.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";

/** Elements that are converted at once: what the f32 in between takes stays far below what decoding took. */
const chunkElements = 2 ** 22;

/**
 * Pixels as bytes: −1 … 1 becomes 0 … 255, rounded; what lies outside is cut off.
 *
 * @param x any shape
 */
export function toBytes(x: Tensor<FloatDType>): Tensor<"u8"> {
  // A cast truncates and saturates, so half a step more than (x / 2 + 1/2) · 255 rounds.
  return scope(() => cast(add(mul(cast(x, "f32"), 127.5), 128), "u8"));
}

/** Bytes as pixels in −1 … 1. */
export function fromBytes(x: Tensor<"u8">): Tensor<"f32"> {
  return scope(() => add(mul(cast(x, "f32"), 1 / 127.5), -1));
}

/**
 * Decoded frames [1, T, H, W, 3] as RGB bytes, frame after frame. The tensor stays the caller's.
 *
 * @returns undefined when there is NaN or infinity among them
 * @throws ABORTED
 */
export async function readFrames(
  decoded: Tensor<FloatDType>,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  const wait = signal === undefined ? {} : { signal };
  using mark = spread(decoded);
  if (!Number.isFinite(await mark.item(wait))) return undefined;
  const [, frames = 0] = decoded.shape;
  const bytes = new Uint8Array(decoded.size);
  const frameBytes = decoded.size / frames;
  const atOnce = Math.max(1, Math.floor(chunkElements / frameBytes));
  for (let first = 0; first < frames; first += atOnce) {
    using chunk = scope(() => toBytes(slice(decoded, 1, first, Math.min(frames, first + atOnce))));
    bytes.set(await chunk.read(wait), first * frameBytes);
  }
  return bytes;
}
