/** How the readers of lib/io say what is wrong with a file: always which file, and which key where it is about one. */
import { HunyuanError, isHunyuanError } from "../runtime/errors.js";

const shownKey = 120;

/** A name from a file as messages show it: files may hold names of any length. */
export function shown(name: string): string {
  return JSON.stringify(name.length > shownKey ? `${name.slice(0, shownKey)}…` : name);
}

export function invalidCheckpoint(file: string, message: string, key?: string): HunyuanError<"CHECKPOINT_INVALID"> {
  const about = key === undefined ? "" : `${shown(key)}: `;
  return new HunyuanError("CHECKPOINT_INVALID", `${file}: ${about}${message}`, {
    file,
    ...(key === undefined ? {} : { key }),
  });
}

/** What the system said about a file, as FILE_ERROR; our own errors pass unchanged. */
export function fileError(op: string, file: string, cause: unknown): HunyuanError {
  if (isHunyuanError(cause)) return cause;
  return new HunyuanError(
    "FILE_ERROR",
    `${op}: ${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
    { op, file },
    { cause },
  );
}
