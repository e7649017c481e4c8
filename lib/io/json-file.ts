/** JSON files beside a checkpoint: configurations and tokenizers. */
import { readFile, stat } from "node:fs/promises";
import { fileError, invalidCheckpoint } from "./failure.js";
import { isJsonObject, type JsonObject } from "./strict-json.js";

/** Llama 3's tokenizer.json has 9 MB; parsing one much larger would hold up the event loop. */
const maxBytes = 64 * 2 ** 20;

/**
 * The object that the file holds. Tokenizers have more values than the strict parser of checkpoint headers takes.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID naming the file
 */
export async function readJsonFile(file: string): Promise<JsonObject> {
  const text = await textOfFile(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidCheckpoint(file, `is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!isJsonObject(value)) throw invalidCheckpoint(file, "is not a JSON object");
  return value;
}

/** The same, or undefined when there is no such file. */
export async function findJsonFile(file: string): Promise<JsonObject | undefined> {
  try {
    return await readJsonFile(file);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * The whole file as text.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID for more than 64 MiB
 */
export async function textOfFile(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > maxBytes) throw invalidCheckpoint(file, `has ${size} bytes, at most ${maxBytes} are read`);
    return await readFile(file, "utf8");
  } catch (error) {
    throw fileError("readJsonFile", file, error);
  }
}

/** Whether an error, or what caused it, says that there is no such file. */
function isMissing(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return true;
  return isMissing(error.cause);
}
