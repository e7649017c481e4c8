/** Which failures cost one file only. */
import { isHunyuanError } from "../../runtime/errors.js";

/**
 * Whether the fault is the file's own. An abort, a decoder that is not installed, or a lack of memory is everybody's.
 */
export function isOfOneFile(error: unknown): boolean {
  if (isHunyuanError(error)) return error.code === "MEDIA_INVALID" || error.code === "FILE_ERROR";
  return error instanceof Error && "code" in error && typeof error.code === "string" && /^E[A-Z]+$/.test(error.code);
}

export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").trim().slice(0, 500);
}
