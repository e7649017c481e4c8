/** Reading into an ndarray, apart from tensor.ts so that only those who want one load the library. */
import ndarray, { type NdArray } from "ndarray";
import type { WaitOptions } from "../runtime/device.js";
import type { DType, HostArrays } from "./dtype.js";
import type { Tensor } from "./tensor.js";

/**
 * Reads a tensor into an ndarray of its shape. i64 is not supported by ndarray: use `read()`.
 *
 * @throws as `Tensor.read`
 */
export async function readNd<D extends Exclude<DType, "i64">>(
  tensor: Tensor<D>,
  options: WaitOptions = {},
): Promise<NdArray<HostArrays[D]>> {
  return ndarray(await tensor.read(options), [...tensor.shape]);
}
