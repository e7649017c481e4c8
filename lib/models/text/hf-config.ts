/** Reads Hugging Face's config.json files. */
import type { z } from "zod";
import { HunyuanError } from "../../runtime/errors.js";

/** A value of a text encoder that is understood, but that this library does not run. */
export function unsupportedText(what: string, value: unknown, expected: string): HunyuanError<"MODEL_UNSUPPORTED"> {
  const seen = typeof value === "object" ? JSON.stringify(value) : String(value);
  return new HunyuanError("MODEL_UNSUPPORTED", `text encoder: ${what} is ${seen}, expected ${expected}`, { what });
}

/**
 * A config checked by its schema; that of a model with a text part (LLaVA, CLIP) is its `text_config`.
 *
 * @throws CHECKPOINT_INVALID naming the key
 */
export function parseHfConfig<T>(schema: z.ZodType<T>, json: unknown, file: string): T {
  const inner = typeof json === "object" && json !== null && "text_config" in json ? json.text_config : json;
  const parsed = schema.safeParse(inner);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const key = issue?.path.join(".") ?? "";
  const message = `${file}: ${key === "" ? "" : `${key}: `}${issue?.message ?? "is no configuration"}`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file, ...(key === "" ? {} : { key }) });
}
