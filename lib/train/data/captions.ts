/** Captions: the text or JSON file beside a clip, or the fields of a line of JSONL. */
import { readFile, stat } from "node:fs/promises";

/** A file that is longer than this is no caption. */
const maxBytes = 2 ** 20;
const keys = ["captions", "caption", "text", "prompt"] as const;

/** @returns none when neither file is there, or what is there is empty; throws plain errors for what is no caption */
export async function captionsBeside(path: string): Promise<string[]> {
  const stem = path.replace(/\.[^./\\]+$/, "");
  for (const name of new Set([`${stem}.txt`, `${path}.txt`])) {
    const text = await textOf(name);
    if (text !== undefined) return textsOf(text);
  }
  for (const name of new Set([`${stem}.json`, `${path}.json`])) {
    const text = await textOf(name);
    if (text === undefined) continue;
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return textsOf(value);
    return textsOf(captionsIn(value as Readonly<Record<string, unknown>>));
  }
  return [];
}

/** The field that holds captions. */
export function captionsIn(record: Readonly<Record<string, unknown>>): unknown {
  const key = keys.find((name) => record[name] !== undefined && record[name] !== null);
  return key === undefined ? undefined : record[key];
}

/** Texts in one line each, without those that are empty. */
export function textsOf(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list
    .map((item) => {
      if (typeof item !== "string")
        throw new Error(`its caption is a ${typeof item}, expected text or a list of texts`);
      return item.replace(/\s+/g, " ").trim();
    })
    .filter((text) => text !== "");
}

/** Undefined when there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !found.isFile()) return undefined;
  if (found.size > maxBytes)
    throw new Error(`its caption ${path} has ${found.size} bytes, at most ${maxBytes} are read`);
  return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
}
