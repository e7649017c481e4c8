/** Batches of bytes as tensors. */
import { cast } from "../../ops/copy.js";
import { add, mul } from "../../ops/pointwise.js";
import type { Device } from "../../runtime/device.js";
import { fromBytes } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { ClipBatch } from "./dataset.js";

/**
 * The pixels of a batch in −1 … 1, f32 [B, T, H, W, 3]: what the autoencoder takes.
 *
 * @throws QUEUE_FULL
 * @example using video = pixelsOf(await stream.take());
 */
export function pixelsOf(
  { pixels, shape }: Pick<ClipBatch, "pixels" | "shape">,
  options: { readonly device?: Device } = {},
): Tensor<"f32"> {
  return scope(() => {
    const bytes = fromBytes(pixels, { dtype: "u8", shape, ...options });
    return add(mul(cast(bytes, "f32"), 1 / 127.5), -1);
  });
}
