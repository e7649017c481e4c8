/** One conformance case of test/fixtures: its tolerance, its tensors, and how far a result is from them. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { type FixtureTensor, readSafetensors } from "./safetensors.js";

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures");

interface CaseFile {
  readonly config?: { readonly [key: string]: unknown };
  readonly tensors: { readonly [name: string]: { readonly bf16_vs_fp64?: number } };
  readonly tolerance: { readonly float32: number };
}

export interface StoredCase {
  readonly about: CaseFile;
  /** Of results in f32. */
  readonly tolerance: number;
  readonly stored: ReadonlyMap<string, FixtureTensor>;
}

export function loadCase(name: string): StoredCase {
  const about: CaseFile = JSON.parse(readFileSync(join(fixtures, `${name}.json`), "utf8"));
  return { about, tolerance: about.tolerance.float32, stored: readSafetensors(join(fixtures, `${name}.safetensors`)) };
}

export function storedTensor(stored: StoredCase["stored"], name: string): FixtureTensor {
  const found = stored.get(name);
  if (found === undefined) throw new Error(`the case has no tensor ${name}`);
  return found;
}

export function values(stored: StoredCase["stored"], name: string): Float64Array {
  return storedTensor(stored, name).data;
}

/** max|got − want| / max|want| */
export function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  assert.is(got.length, want.length);
  let [worst, largest] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs((got[i] as number) - (want[i] as number)));
    largest = Math.max(largest, Math.abs(want[i] as number));
    if (Number.isNaN(got[i])) return Number.POSITIVE_INFINITY;
  }
  return worst / largest;
}
