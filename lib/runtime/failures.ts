/** Turns the numbers and plain objects that native code answers with into errors. */
import type { NativeFailure } from "./binding.js";
import { type ErrorCode, HunyuanError } from "./errors.js";

/** hn::Code of native/core/status.h, in order. */
const codes: readonly ErrorCode[] = [
  "INVALID_ARGUMENT",
  "INVALID_ARGUMENT",
  "OUT_OF_MEMORY",
  "KERNEL_MISSING",
  "DEVICE_ERROR",
  "ABORTED",
  "DISPOSED",
  "FILE_ERROR",
];

/** An error that happened on the device's own thread, told by the promise that waited for it. */
export function failureToError(failure: NativeFailure, device: string): HunyuanError {
  const code = codes[failure.code] ?? "DEVICE_ERROR";
  return makeError(code, failure.message, failure.op, device);
}

/** The reference, "cpu", lacks nothing: only other devices answer KERNEL_MISSING. */
const missingAdvice =
  'docs/ops.md lists the types that a device has kernels for: cast to one of them, or use device "cpu"';

function makeError(code: ErrorCode, message: string, op: string, device: string): HunyuanError {
  switch (code) {
    case "KERNEL_MISSING":
      return new HunyuanError(code, `${message} (device ${device}). ${missingAdvice}`, { op, device });
    case "OUT_OF_MEMORY":
    case "DEVICE_ERROR":
    case "ABORTED":
    case "DISPOSED":
    case "FILE_ERROR":
      return new HunyuanError(code, message, { op });
    default:
      return new HunyuanError("INVALID_ARGUMENT", message, { op });
  }
}

/** native/addon/status_codes.h */
const status = {
  badArgument: -1,
  disposed: -2,
  deviceGone: -3,
  wrongDevice: -4,
  outOfBounds: -5,
  queueFull: -6,
  handlesExhausted: -7,
  noHostMemory: -8,
} as const;

/** An error found before anything was queued. `argument` names the input that the mailbox's details point at. */
export function statusToError(code: number, op: string, device: string, argument?: string): HunyuanError {
  const where = argument === undefined ? {} : { argument };
  const what = argument ?? "a tensor";
  switch (code) {
    case status.disposed:
      return new HunyuanError("DISPOSED", `${op}: ${what} has been disposed of`, { op, ...where });
    case status.deviceGone:
      return new HunyuanError("DISPOSED", `${op}: device ${device} has been disposed of`, { op });
    case status.wrongDevice:
      return new HunyuanError("DEVICE_MISMATCH", `${op}: ${what} is on another device than ${device}`, {
        op,
        devices: [device],
      });
    case status.queueFull:
      return new HunyuanError(
        "QUEUE_FULL",
        `${op}: more work or host bytes wait for ${device} than its queue holds; await device.sync() first`,
        { device },
      );
    case status.handlesExhausted:
      return new HunyuanError(
        "OUT_OF_MEMORY",
        `${op}: more than 2^24 tensors are alive; dispose of some (scope(), using)`,
        {
          op,
        },
      );
    case status.noHostMemory:
      return new HunyuanError("OUT_OF_MEMORY", `${op}: the host has no memory for the bytes to upload`, { op });
    case status.outOfBounds:
      return new HunyuanError("INVALID_ARGUMENT", `${op}: ${what} reaches beyond its storage`, { op, ...where });
    default:
      return new HunyuanError("INVALID_ARGUMENT", `${op}: native code refused the call (status ${code})`, {
        op,
        ...where,
      });
  }
}
