/** `--config file.json`: options by their long names in camelCase. What the command line says goes first. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { UsageError } from "./errors.js";

/** What the options of a command are, when they come from a file. */
export type Shape = z.ZodRawShape;

/**
 * The command's options: those of the file, and over them those that were given.
 *
 * @param given options of the command line alone, without defaults
 * @throws UsageError naming the file and what in it is wrong
 */
export async function withConfig<S extends Shape>(
  shape: S,
  given: Readonly<Record<string, unknown>>,
  file: string | undefined,
): Promise<z.output<z.ZodObject<{ [K in keyof S]: z.ZodOptional<S[K]> }>>> {
  const schema = z.strictObject(shape).partial();
  const fromFile = file === undefined ? {} : check(schema, await readJson(file), file);
  return check(schema, { ...fromFile, ...given }, "options") as z.output<
    z.ZodObject<{ [K in keyof S]: z.ZodOptional<S[K]> }>
  >;
}

/** @throws UsageError for a file that cannot be read, or that holds no JSON */
export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError(`--config: ${error instanceof Error ? error.message : String(error)}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--config: ${file} is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function check(schema: z.ZodObject, value: unknown, where: string): Record<string, unknown> {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  if (issue?.code === "unrecognized_keys") {
    const known = Object.keys(schema.shape).join(", ");
    throw new UsageError(`${where}: there is no option ${issue.keys.join(", ")}; known are ${known}`);
  }
  const path = issue?.path.map(String).join(".");
  throw new UsageError(`${where}: ${path ? `${path}: ` : ""}${issue?.message ?? "is not valid"}`);
}
