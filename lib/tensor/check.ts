/** Checks of tensors, lists of them, devices and types, for public functions that look at an argument before runOp does. */
import { checkOptions as checkObject, invalid } from "../runtime/check.js";
import { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { type DType, dtypeNames, isDType } from "./dtype.js";
import { disposedError, Tensor } from "./tensor.js";

export { checkFlag, checkNumber, checkOneOf, checkWholes, invalid, seen } from "../runtime/check.js";

/** Throws unless the value is a tensor that has not been disposed of. */
export function checkTensor(op: string, argument: string, value: unknown): void {
  if (!(value instanceof Tensor)) throw invalid(op, argument, value, "a tensor");
  if (value.disposed) throw disposedError(op, argument);
}

/** The same for arguments by name. */
export function checkTensors(op: string, values: { readonly [argument: string]: unknown }): void {
  for (const argument in values) checkTensor(op, argument, values[argument]);
}

export function checkTensorList(op: string, argument: string, values: unknown): void {
  if (!Array.isArray(values)) throw invalid(op, argument, values, "an array of tensors");
  // By index, so that a hole is found where it is.
  for (let i = 0; i < values.length; i++) {
    const value: unknown = values[i];
    if (!(value instanceof Tensor) || value.disposed) checkTensor(op, `${argument}[${i}]`, value);
  }
}

export function checkDType(op: string, argument: string, { dtype }: Tensor, allowed: readonly DType[]): void {
  if (allowed.includes(dtype)) return;
  throw new HunyuanError(
    "DTYPE_UNSUPPORTED",
    `${op}: ${argument} is ${dtype}, expected ${allowed.join(", ")}; cast() it`,
    { op, argument, dtype },
  );
}

/** Throws unless the value names a type. */
export function checkDTypeName(op: string, value: unknown): void {
  if (!isDType(value)) throw invalid(op, "dtype", value, dtypeNames.join(", "));
}

/** Throws unless the value is a device. One that was disposed of is refused where the op is queued. */
export function checkDevice(op: string, value: unknown): void {
  if (!(value instanceof Device)) throw invalid(op, "device", value, "a device; openDevice() makes one");
}

/** Throws unless options are an object; a tensor in their place is one argument too many. */
export function checkOptions(op: string, options: unknown): void {
  checkObject(op, options);
  if (options instanceof Tensor) throw invalid(op, "options", options, "an options object, not a tensor");
}
