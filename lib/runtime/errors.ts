/**
 * Every error this library throws or rejects with. `code` is for programs, `message` for people, `details` for both.
 */

export interface ErrorDetails {
  /** No binary for this machine was found. */
  BINDING_NOT_FOUND: { searched: string; cause?: string };
  /** The binary was built from other op declarations than this JavaScript. */
  BINDING_MISMATCH: { expected: string; seen: string };
  /** This operating system, processor or C library is not supported. */
  PLATFORM_UNSUPPORTED: { platform: string; arch: string };
  DEVICE_UNAVAILABLE: { device: string; reason: string };
  SHAPE_MISMATCH: { op: string; argument?: string; shapes: readonly (readonly number[])[] };
  DTYPE_UNSUPPORTED: { op: string; argument?: string; dtype: string };
  DEVICE_MISMATCH: { op: string; devices: readonly string[] };
  INVALID_ARGUMENT: { op: string; argument?: string };
  /** The device has no kernel for this op at this dtype; nothing else runs it in silence. */
  KERNEL_MISSING: { op: string; device: string; dtype?: string };
  OUT_OF_MEMORY: { op: string };
  /** More uploads or ops wait than the queue may hold: `await device.sync()` first. */
  QUEUE_FULL: { device: string };
  /** The device itself failed. */
  DEVICE_ERROR: { op: string };
  ABORTED: { op: string };
  /** A tensor, scope or device was used after its end. */
  DISPOSED: { op: string; argument?: string };
  /** A scope was still open when the code that opened it awaited. */
  SCOPE_ACROSS_AWAIT: Record<string, never>;
  GRADIENT_UNAVAILABLE: { op: string };
  /** A file could not be opened, read or written, or ended before it should. */
  FILE_ERROR: { op: string; file?: string };
  /** A checkpoint that is malformed, incomplete, or not of the model that was asked for. */
  CHECKPOINT_INVALID: { file?: string; key?: string; keys?: readonly string[] };
  /** A checkpoint, variant or option that is understood, but that this version does not run. */
  MODEL_UNSUPPORTED: { what: string };
  /** Values turned NaN or infinite; `block` is the first that gave such values. */
  NOT_FINITE: { block: string };
  /** A model could not be fetched from the hub. */
  DOWNLOAD_FAILED: { repo: string; file?: string; status?: number };
  /** No encoder for this format is installed; the message says what to install. */
  ENCODER_MISSING: { format: string };
  /** No decoder for this file is installed; the message says what to install. */
  DECODER_MISSING: { format: string };
  /** A picture or video that cannot be read, or is not what its name says. */
  MEDIA_INVALID: { file?: string };
}

export type ErrorCode = keyof ErrorDetails;

export class HunyuanError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "HunyuanError";
  readonly code: C;
  readonly details: ErrorDetails[C];

  constructor(code: C, message: string, details: ErrorDetails[C], options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** Narrows an unknown error to one of ours, optionally to one code. */
export function isHunyuanError<C extends ErrorCode = ErrorCode>(error: unknown, code?: C): error is HunyuanError<C> {
  return error instanceof HunyuanError && (code === undefined || error.code === code);
}
