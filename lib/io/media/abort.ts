/** How media work ends early, and which errors it speaks. */
import { HunyuanError, isHunyuanError } from "../../runtime/errors.js";

/** @throws ABORTED once the signal is */
export function throwIfAborted(op: string, signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  throw new HunyuanError("ABORTED", `${op}: aborted`, { op }, { cause: signal.reason });
}

/**
 * The promise, or ABORTED as soon as the signal is: for work in libraries that cannot be stopped. What the work still
 * yields is dropped; it ends on its own thread.
 */
export async function orAborted<T>(op: string, signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) return work;
  throwIfAborted(op, signal);
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new HunyuanError("ABORTED", `${op}: aborted`, { op }, { cause: signal.reason }));
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (stop !== undefined) signal.removeEventListener("abort", stop);
  }
}

/** MEDIA_INVALID for a file or for bytes without a name. */
export function mediaInvalid(
  file: string | undefined,
  problem: string,
  options?: ErrorOptions,
): HunyuanError<"MEDIA_INVALID"> {
  const message = `${file ?? "media"}: ${problem}`;
  return new HunyuanError("MEDIA_INVALID", message, file === undefined ? {} : { file }, options);
}

/** An error of the file system as FILE_ERROR; ours stay as they are. */
export function fileError(op: string, file: string, cause: unknown): HunyuanError {
  if (isHunyuanError(cause)) return cause;
  return new HunyuanError("FILE_ERROR", `${op}: ${file}: ${reason(cause)}`, { op, file }, { cause });
}

/** What an unknown thrown value says, in one line. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, " ").trim().slice(0, 500);
}
