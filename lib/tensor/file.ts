/** Tensors from files, read on the device's transfer lane: neither the event loop nor the compute lane waits. */
import { binding } from "../runtime/binding.js";
import { type Device, type WaitOptions, waitFor } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { bytesOf, type DType } from "./dtype.js";
import { type Shape, showShape, sizeOf } from "./shape.js";
import { denseTensor, type Tensor } from "./tensor.js";

/** Bytes of a file. */
export interface FileExtent {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface FileTensorOptions {
  /** What error messages call it: a checkpoint's key. */
  readonly label: string;
  /** A dense tensor to overwrite in place of a fresh one. Ops queued before that read it are waited for. */
  readonly into?: Tensor;
}

/**
 * A tensor whose elements, in order, are the extents one after the other. Answers at once; what goes wrong with the
 * files (FILE_ERROR) is told by the first wait that depends on it.
 *
 * @throws INVALID_ARGUMENT when the extents do not add up to the tensor's bytes
 */
export function fileTensor<D extends DType>(
  device: Device,
  dtype: D,
  shape: Shape,
  extents: readonly FileExtent[],
  { label: name, into }: FileTensorOptions,
): Tensor<D> {
  // Names come from files too: of any length, and native code's texts end at a 0.
  const label = name.slice(0, 200).replaceAll("\0", "\ufffd");
  const total = bytesOf(dtype, sizeOf(shape));
  const given = extents.reduce((sum, { bytes }) => sum + bytes, 0);
  if (given !== total) {
    const message = `${label}: ${given} bytes of files for ${dtype} ${showShape(shape)}, which takes ${total}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "fileTensor", argument: "extents" });
  }
  if (into !== undefined && !(into.isDense && into.dtype === dtype && into.bytes === total)) {
    const message = `${label}: into is ${into}, expected a dense ${dtype} ${showShape(shape)}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "fileTensor", argument: "into" });
  }
  let handle = into?.handle ?? 0;
  let at = into === undefined ? 0 : bytesOf(dtype, into.offset);
  // A tensor of no elements still needs a storage.
  const parts = extents.length > 0 ? extents : [{ file: "/dev/null", offset: 0, bytes: 0 }];
  let tensor = into as Tensor<D> | undefined;
  for (const { file, offset, bytes } of parts) {
    const answer = binding().readFile(device.id, file, label, offset, bytes, handle, at, total);
    if (answer <= 0) {
      if (into === undefined) tensor?.dispose();
      throw statusToError(answer, label, device.name);
    }
    handle = answer;
    at += bytes;
    tensor ??= denseTensor(device, handle, dtype, shape);
  }
  return tensor as Tensor<D>;
}

/**
 * Bytes of a dense tensor as they lie on the device: `read()` widens the narrow types, files want them as they are.
 *
 * @param start first byte, from the tensor's own first one; the range must lie in the tensor
 * @throws INVALID_ARGUMENT, and the error of the op that failed on the way to this tensor
 */
export async function readBytes(
  tensor: Tensor,
  start = 0,
  bytes = tensor.bytes - start,
  options: WaitOptions = {},
): Promise<Uint8Array> {
  if (!(tensor.isDense && start >= 0 && bytes >= 0 && start + bytes <= tensor.bytes)) {
    const message = `readBytes: bytes ${start} … ${start + bytes} of ${tensor}, expected a range of a dense tensor`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "readBytes", argument: "start" });
  }
  const into = new ArrayBuffer(bytes);
  const { device, handle } = tensor;
  const from = bytesOf(tensor.dtype, tensor.offset) + start;
  await waitFor(device, "readBytes", () => binding().download(device.id, handle, from, into), options);
  return new Uint8Array(into);
}
