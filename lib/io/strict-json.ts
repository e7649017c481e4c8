/** JSON from files that nobody vouches for: valid UTF-8, no key twice, no deep nesting, and an object at the top. */
import { invalidCheckpoint, shown } from "./failure.js";

/** Headers are flat; who nests deeper wants to see a parser fall over. */
const maxDepth = 16;
/** Commas and opening brackets: those of some 30,000 tensors. The largest models have a tenth of that. */
const maxMarks = 250_000;

export type JsonObject = { readonly [key: string]: unknown };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws CHECKPOINT_INVALID naming the file and, for a key that stands twice, the key */
export function parseStrictJson(file: string, what: string, bytes: Uint8Array): JsonObject {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidCheckpoint(file, `${what} is not UTF-8 text`);
  }
  // Before JSON.parse: it keeps the last of several values of a key in silence.
  checkStructure(file, what, text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidCheckpoint(file, `${what} is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!isJsonObject(value)) throw invalidCheckpoint(file, `${what} is not a JSON object`);
  return value;
}

/** Walks brackets and strings only; whatever else is wrong with the text, JSON.parse will find. */
function checkStructure(file: string, what: string, text: string): void {
  // A set for each open object, nothing for an array.
  const open: (Set<string> | undefined)[] = [];
  let keyNext = false;
  let marks = 0;
  const mark = () => {
    if (++marks > maxMarks) throw invalidCheckpoint(file, `${what} holds more than ${maxMarks} values`);
  };
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: // [
        if (open.length === maxDepth) throw invalidCheckpoint(file, `${what} is nested deeper than ${maxDepth} levels`);
        mark();
        keyNext = text.charCodeAt(at) === 0x7b;
        open.push(keyNext ? new Set() : undefined);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        keyNext = false;
        break;
      case 0x2c: // ,
        mark();
        keyNext = open[open.length - 1] !== undefined;
        break;
      case 0x22: {
        const end = endOfString(text, at);
        if (keyNext) addKey(file, what, open[open.length - 1], text.slice(at, end + 1));
        keyNext = false;
        at = end;
        break;
      }
    }
  }
}

/** The place of the closing quote; the text's end when there is none. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) return at;
    if (code === 0x5c) at++; // a backslash takes the next one with it
  }
  return text.length;
}

function addKey(file: string, what: string, keys: Set<string> | undefined, quoted: string): void {
  let key: string;
  try {
    // Escapes may spell one key in two ways.
    key = quoted.includes("\\") ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
  } catch {
    return; // an invalid string: JSON.parse of the whole will say so
  }
  if (keys?.has(key)) throw invalidCheckpoint(file, `${what} has the key ${shown(key)} twice`, key);
  keys?.add(key);
}
