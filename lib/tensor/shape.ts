/** Shapes and strides: plain arrays of numbers, checked once where they come in. */
import { HunyuanError } from "../runtime/errors.js";

export type Shape = readonly number[];

/** Axes that native code can walk (native/core/tensor_view.h). */
export const maxRank = 6;

export function sizeOf(shape: Shape): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i] as number;
  return n;
}

/** Strides, in elements, of a tensor without gaps. */
export function denseStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i] as number;
  }
  return strides;
}

export function isDense(shape: Shape, strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i] as number;
  }
  return true;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Throws unless `shape` is an array of at most 6 whole numbers ≥ 0 whose product is a safe integer. */
export function checkShape(op: string, shape: unknown): asserts shape is Shape {
  const ok =
    Array.isArray(shape) &&
    shape.length <= maxRank &&
    shape.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    Number.isSafeInteger(sizeOf(shape));
  if (!ok) {
    const seen = Array.isArray(shape) ? `[${shape.map(String).join(", ")}]` : typeof shape;
    throw new HunyuanError(
      "INVALID_ARGUMENT",
      `${op}: shape must be at most ${maxRank} whole numbers ≥ 0 with a product below 2^53, got ${seen}`,
      { op, argument: "shape" },
    );
  }
}

/** Turns a possibly negative axis into 0 … rank−1. */
export function checkAxis(op: string, axis: unknown, rank: number): number {
  if (typeof axis !== "number" || !Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new HunyuanError("INVALID_ARGUMENT", `${op}: axis ${String(axis)} is outside −${rank} … ${rank - 1}`, {
      op,
      argument: "axis",
    });
  }
  return axis < 0 ? axis + rank : axis;
}

/** The shape that two shapes broadcast to, NumPy's rule. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const m = a[a.length - i] ?? 1;
    const n = b[b.length - i] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new HunyuanError("SHAPE_MISMATCH", `${op}: ${showShape(a)} and ${showShape(b)} do not broadcast`, {
        op,
        shapes: [a, b],
      });
    }
    out[rank - i] = m === 1 ? n : m;
  }
  return out;
}

/** Strides that walk a tensor as if it had `shape`: 0 along the axes that repeat. */
export function broadcastStrides(from: Shape, strides: readonly number[], shape: Shape): number[] {
  const lead = shape.length - from.length;
  return shape.map((n, i) => (i < lead || (from[i - lead] === 1 && n !== 1) ? 0 : (strides[i - lead] as number)));
}
