/** How a checkpoint's keys differ from those that a model needs. */
import type { Checkpoint } from "../io/tensor-file.js";
import type { Naming, ParameterSpec } from "../nn/spec.js";
import { type Shape, sameShape } from "../tensor/shape.js";

/** What is wrong with the keys; everything in the file's own spelling. */
export interface KeyReport {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly { readonly key: string; readonly expected: Shape; readonly seen: Shape }[];
}

/** The first keys of a list, for a message. */
export function listKeys(keys: readonly string[]): string {
  const shown = keys
    .slice(0, 4)
    .map((key) => key.slice(0, 120))
    .join(", ");
  return keys.length > 4 ? `${shown} and ${keys.length - 4} more keys` : shown;
}

/**
 * Compares a checkpoint's keys and shapes with what a model has.
 *
 * @param isOurs whether a key of no parameter is worth a word: others belong to other models in the same file
 */
export function compareKeys(
  entries: Checkpoint["entries"],
  naming: Naming,
  specs: readonly ParameterSpec[],
  isOurs: (key: string) => boolean,
): KeyReport {
  const expected = new Map<string, Shape>();
  for (const spec of specs) {
    for (const { key, rows, start = 0 } of naming(spec)) {
      const before = expected.get(key)?.[0] ?? 0;
      expected.set(key, [Math.max(before, start + rows), ...spec.shape.slice(1)]);
    }
  }
  const missing: string[] = [];
  const misshapen: { key: string; expected: Shape; seen: Shape }[] = [];
  for (const [key, shape] of expected) {
    const seen = entries.get(key)?.shape;
    if (seen === undefined) missing.push(key);
    else if (!sameShape(seen, shape)) misshapen.push({ key, expected: shape, seen });
  }
  const unexpected = [...entries.keys()].filter((key) => !expected.has(key) && isOurs(key));
  return { missing, unexpected, misshapen };
}
