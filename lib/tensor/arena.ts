/** Tensors laid into one block of memory by hand: they are written and given back together. */
import { binding } from "../runtime/binding.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { bytesOf, type DType } from "./dtype.js";
import type { Owner } from "./ownership.js";
import { denseStrides, type Shape, showShape, sizeOf } from "./shape.js";
import { Tensor } from "./tensor.js";

/** Places in a block begin at multiples of this: a cache line, and more than any load wants. */
const alignment = 256;

export function alignedUp(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/**
 * A dense tensor of any type on bytes of a block. It shares the block's storage, and lives on when the block's own
 * tensor is disposed of.
 *
 * @param start first byte, a multiple of the type's size
 * @throws INVALID_ARGUMENT when the tensor would not lie in the block
 */
export function tensorIn<D extends DType>(
  block: Tensor<"u8">,
  start: number,
  dtype: D,
  shape: Shape,
  owner: Owner | undefined,
): Tensor<D> {
  const size = bytesOf(dtype, 1);
  const bytes = bytesOf(dtype, sizeOf(shape));
  if (!(block.isDense && start % size === 0 && start + bytes <= block.bytes)) {
    const message = `tensorIn: ${dtype} ${showShape(shape)} at byte ${start} does not lie in a block of ${block.bytes} bytes`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "tensorIn", argument: "start" });
  }
  const handle = binding().alias(block.handle);
  if (handle <= 0) throw statusToError(handle, "tensorIn", block.device.name);
  const offset = (block.offset + start) / size;
  return new Tensor(block.device, handle, dtype, { shape, strides: denseStrides(shape), offset }, owner);
}
