/** From words of the command line to values; what is no such value is a usage error that names the option. */
import { InvalidArgumentError } from "commander";

export function numberOf(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

export function wholeOf(text: string): number {
  const value = numberOf(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("Expected a whole number.");
  return value;
}

const powers: { readonly [unit: string]: number } = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes, or with a unit: "12GiB", "12 GB", "900M" (units count in 1024). */
export function bytesOf(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(text);
  const factor = powers[found?.[2]?.toLowerCase() ?? "?"];
  if (found === null || factor === undefined) throw new InvalidArgumentError('Expected bytes, such as "12GiB".');
  return Math.floor(Number(found[1]) * factor);
}

export interface LoraChoice {
  readonly path: string;
  readonly strength: number;
}

/** "style.safetensors" or "style.safetensors:0.8". */
export function loraOf(text: string): LoraChoice {
  const [, path = "", strength] = /^(.+?)(?::(-?(?:\d+\.?\d*|\.\d+)))?$/.exec(text) ?? [];
  if (path === "") throw new InvalidArgumentError('Expected a file, or "file:strength".');
  return { path, strength: strength === undefined ? 1 : Number(strength) };
}

/** Gathers an option that may stand several times. */
export function gathered<T>(parse: (text: string) => T): (text: string, before: readonly T[] | undefined) => T[] {
  return (text, before = []) => [...before, parse(text)];
}
