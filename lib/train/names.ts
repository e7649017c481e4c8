/** Patterns for names of parameters: `*` stands for any characters, everything else for itself. */

/**
 * Whether a name fits one of the patterns, as a whole.
 *
 * @example matchesAny("double_blocks.3.img_attn_qkv.weight", ["*_blocks.*.weight"]) // true
 */
export function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => matches(name, pattern));
}

/** Each run between stars is found from left to right, the last one at the end: linear in the name, whatever the pattern. */
function matches(name: string, pattern: string): boolean {
  const parts = pattern.split("*");
  const [first = ""] = parts;
  if (parts.length === 1) return name === pattern;
  const last = parts.at(-1) as string;
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
  let at = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
