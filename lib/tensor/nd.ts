/** Reading into an ndarray, apart from tensor.ts so that only those who want one load the library. */
import ndarray, { type NdArray } from "ndarray";
import type { WaitOptions } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { checkTensor } from "./check.js";
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
  checkTensor("readNd", "tensor", tensor);
  const { dtype } = tensor as Tensor;
  if (dtype === "i64") {
    const message = 'readNd: tensor is i64, which ndarray does not hold; use read(), or cast(x, "f64")';
    throw new HunyuanError("DTYPE_UNSUPPORTED", message, { op: "readNd", argument: "tensor", dtype });
  }
  return ndarray(await tensor.read(options), [...tensor.shape]);
}
