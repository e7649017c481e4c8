/** Shapes and strides: plain arrays of numbers, checked once where they come in. */
import { invalid, seen } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";

export type Shape = readonly number[];

/** Axes that native code can walk (native/core/tensor_view.h). */
export const maxRank = 6;

/** Elements, dimensions and strides stay below this, so that no product with an element's size leaves the range of int64. */
const maxElements = 2 ** 50;

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

/** Whether native code takes the shape: its strides must fit too, also where an axis is empty and there are no elements. */
export function isAddressable(shape: Shape): boolean {
  let extent = 1;
  for (let i = 0; i < shape.length; i++) extent *= Math.max(1, shape[i] as number);
  return extent < maxElements;
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Throws unless `shape` is an array of at most 6 whole numbers ≥ 0 whose product (of those above 0) is below 2^50. */
export function checkShape(op: string, shape: unknown): asserts shape is Shape {
  if (Array.isArray(shape) && shape.length <= maxRank && areSizes(shape) && isAddressable(shape)) return;
  throw invalid(op, "shape", shape, `at most ${maxRank} whole numbers ≥ 0 with a product below 2^50`);
}

function areSizes(shape: readonly unknown[]): shape is Shape {
  // By index: `every` would step over the holes of a sparse array.
  for (let i = 0; i < shape.length; i++)
    if (!(Number.isSafeInteger(shape[i]) && (shape[i] as number) >= 0)) return false;
  return true;
}

/** Turns a possibly negative axis into 0 … rank−1. */
export function checkAxis(op: string, axis: unknown, rank: number): number {
  if (typeof axis !== "number" || !Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new HunyuanError("INVALID_ARGUMENT", `${op}: axis ${seen(axis)} is outside −${rank} … ${rank - 1}`, {
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
