/**
 * Checks of what callers pass in: plain values here, tensors in lib/tensor/check.ts. A message names op, argument, what
 * was seen and what was expected; none of these throws anything but a HunyuanError, whatever the value.
 */
import { HunyuanError } from "./errors.js";

const shownItems = 8;
const shownDepth = 2;

/** A value as messages show it: short, and without calling anything of the value's own. */
export function seen(value: unknown, depth = 0): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value)) return "an object";
  if (depth === shownDepth) return "[…]";
  const items = Array.from(value.slice(0, shownItems), (item) => seen(item, depth + 1));
  return `[${items.join(", ")}${value.length > shownItems ? ", …" : ""}]`;
}

export function invalid(
  op: string,
  argument: string,
  value: unknown,
  expected: string,
): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `${op}: ${argument} is ${seen(value)}, expected ${expected}`, {
    op,
    argument,
  });
}

export interface NumberRule {
  /** Safe integers only. Default false. */
  readonly whole?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** The number must be greater. */
  readonly above?: number;
}

/** Throws unless the value is a finite number that keeps the rule. */
export function checkNumber(op: string, argument: string, value: unknown, rule: NumberRule = {}): void {
  if (
    typeof value === "number" &&
    (rule.whole ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    !(rule.min !== undefined && value < rule.min) &&
    !(rule.max !== undefined && value > rule.max) &&
    !(rule.above !== undefined && value <= rule.above)
  )
    return;
  throw invalid(op, argument, value, describeRule(rule));
}

function describeRule({ whole, min, max, above }: NumberRule): string {
  const kind = whole ? "a whole number" : "a finite number";
  if (min !== undefined && max !== undefined) return `${kind} in ${min} … ${max}`;
  if (min !== undefined) return `${kind} ≥ ${min}`;
  if (above !== undefined) return `${kind} > ${above}`;
  return max === undefined ? kind : `${kind} ≤ ${max}`;
}

/** Throws unless the value is an array of `length` whole numbers, none below `min` where that is given. */
export function checkWholes(op: string, argument: string, value: unknown, length: number, min = -Infinity): void {
  let ok = Array.isArray(value) && value.length === length;
  // By index: holes are found, and nothing walks the billion places of a sparse array.
  for (let i = 0; ok && i < length; i++) {
    const n: unknown = (value as readonly unknown[])[i];
    ok = Number.isSafeInteger(n) && (n as number) >= min;
  }
  if (!ok)
    throw invalid(
      op,
      argument,
      value,
      `${length} whole number${length === 1 ? "" : "s"}${Number.isFinite(min) ? ` ≥ ${min}` : ""}`,
    );
}

export function checkOneOf(op: string, argument: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  throw invalid(op, argument, value, allowed.map((name) => `"${name}"`).join(", "));
}

export function checkFlag(op: string, argument: string, value: unknown): void {
  if (typeof value !== "boolean") throw invalid(op, argument, value, "true or false");
}

export function checkFunction(op: string, argument: string, value: unknown): void {
  if (typeof value !== "function") throw invalid(op, argument, value, "a function");
}

/** Throws unless an options argument (where its default has been put in) is an object. */
export function checkOptions(op: string, options: unknown): void {
  if (typeof options === "object" && options !== null && !Array.isArray(options)) return;
  throw invalid(op, "options", options, "an object; leave it out for the defaults");
}
