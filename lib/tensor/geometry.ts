/** Where views lie: shapes, strides and offsets computed from those of a tensor. Pure arithmetic, checks nothing. */
import { isDense, type Shape, sizeOf } from "./shape.js";
import type { ViewGeometry } from "./tensor.js";

function replaced(list: readonly number[], index: number, value: number): number[] {
  return list.map((old, i) => (i === index ? value : old));
}

/** Elements start … start + size − 1 along an axis. */
export function sliceGeometry(x: ViewGeometry, axis: number, start: number, size: number): ViewGeometry {
  const shape = replaced(x.shape, axis, size);
  // An empty view points at nothing; past the last row it would lie outside the storage.
  const offset = sizeOf(shape) === 0 ? x.offset : x.offset + start * (x.strides[axis] as number);
  return { shape, strides: x.strides, offset };
}

/** Axis i of the result is axis axes[i] of x. */
export function permuteGeometry(x: ViewGeometry, axes: readonly number[]): ViewGeometry {
  return {
    shape: axes.map((axis) => x.shape[axis] as number),
    strides: axes.map((axis) => x.strides[axis] as number),
    offset: x.offset,
  };
}

/** Without one axis, at one of its indices. */
export function selectGeometry(x: ViewGeometry, axis: number, index: number): ViewGeometry {
  const { offset } = sliceGeometry(x, axis, index, 1);
  const others = (_: number, i: number) => i !== axis;
  return { shape: x.shape.filter(others), strides: x.strides.filter(others), offset };
}

/** x under another shape of the same size; undefined when its gaps do not allow that without a copy. */
export function reshapeGeometry(x: ViewGeometry, shape: Shape): ViewGeometry | undefined {
  const strides = new Array<number>(shape.length).fill(1);
  let to = shape.length;
  let step = 1;
  if (sizeOf(shape) === 0 || isDense(x.shape, x.strides)) {
    for (; to > 0; step *= shape[to] as number) strides[--to] = step;
    return { shape, strides, offset: x.offset };
  }
  // Innermost first: runs of x's axes that follow on each other are cut into axes of the new shape.
  for (let from = x.shape.length; from > 0; ) {
    while (from > 0 && x.shape[from - 1] === 1) from--;
    if (from === 0) break;
    step = x.strides[--from] as number;
    let run = x.shape[from] as number;
    for (; from > 0 && (x.shape[from - 1] === 1 || x.strides[from - 1] === step * run); from--)
      run *= x.shape[from - 1] as number;
    for (; run > 1 && to > 0; step *= shape[to] as number) {
      const n = shape[--to] as number;
      if (run % n !== 0) return undefined;
      strides[to] = step;
      run /= n;
    }
  }
  // What is left of the new shape are axes of one element.
  while (to > 0) strides[--to] = step;
  return { shape, strides, offset: x.offset };
}

/** A tensor may have this geometry: its innermost axis is dense (or has one element, and then counts as dense). */
export function asTensorGeometry(view: ViewGeometry): ViewGeometry | undefined {
  const last = view.shape.length - 1;
  if (last < 0 || view.strides[last] === 1) return view;
  return sizeOf(view.shape) <= 1 || view.shape[last] === 1
    ? { ...view, strides: replaced(view.strides, last, 1) }
    : undefined;
}
