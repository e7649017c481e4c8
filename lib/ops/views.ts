/**
 * Views: other shapes and strides on the same memory. The innermost axis of a tensor is always dense, so where a view
 * would break that (a permutation that moves the last axis, a selection along it) one copy is made instead.
 *
 * Gradients of views are views or copies of gradients; split puts one node on the tape for all of its parts.
 */
import { HunyuanError } from "../runtime/errors.js";
import { checkNumber, checkTensor, checkWholes, invalid, seen } from "../tensor/check.js";
import { bytesOf, type DType } from "../tensor/dtype.js";
import {
  asTensorGeometry,
  permuteGeometry,
  reshapeGeometry,
  selectGeometry,
  sliceGeometry,
} from "../tensor/geometry.js";
import { recordView } from "../tensor/record-view.js";
import {
  broadcastStrides,
  checkAxis,
  checkShape,
  maxRank,
  type Shape,
  sameShape,
  showShape,
  sizeOf,
} from "../tensor/shape.js";
import type { Tensor, ViewGeometry } from "../tensor/tensor.js";
import { placeParts } from "./concat.js";
import { cast, copyAs, copyView } from "./copy.js";
import { sumTo } from "./reduce.js";

/** The view when a tensor may have that geometry, else a copy of it. */
function viewOrCopy<D extends DType>(x: Tensor<D>, view: ViewGeometry): Tensor<D> {
  const legal = asTensorGeometry(view);
  return legal === undefined ? copyView(x, view, x.dtype) : x.viewAs(legal);
}

/** Gradients may come in several types (parameters gather theirs in f32); the widest holds them all. */
function inOneType(grads: readonly Tensor[]): readonly Tensor[] {
  const widest = grads.reduce((a, b) => (bytesOf(b.dtype, 1) > bytesOf(a.dtype, 1) ? b : a));
  return grads.map((grad) => cast(grad, widest.dtype));
}

function checkIndex(op: string, argument: string, value: number, min: number, max: number): void {
  checkNumber(op, argument, value, { whole: true, min, max });
}

/**
 * Elements start … end − 1 along an axis, as a view. Negative numbers count from the end; end defaults to the end.
 *
 * @throws INVALID_ARGUMENT for an axis, start or end outside the shape
 * @example slice(tokens, 1, 0, imageTokens) // tokens [B, S, C]
 */
export function slice<D extends DType>(x: Tensor<D>, axis: number, start: number, end?: number): Tensor<D> {
  checkTensor("slice", "x", x);
  const along = checkAxis("slice", axis, x.rank);
  const n = x.shape[along] as number;
  checkIndex("slice", "start", start, -n, n);
  const from = start < 0 ? start + n : start;
  if (end !== undefined) checkIndex("slice", "end", end, -n, n);
  const to = end === undefined ? n : end < 0 ? end + n : end;
  checkIndex("slice", "end", to, from, n);
  return viewsAlong("slice", x, along, [from], [to - from])[0] as Tensor<D>;
}

/** A tensor each: an axis that costs no memory (an empty or repeated one) may be longer than handles last. */
const mostParts = 65_536;

/**
 * x cut along an axis (default the last) into views: into a number of equal parts, or into parts of the given sizes.
 * One node on the tape for all of them, so that the gradient is put together once.
 *
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH when the parts do not make up the axis
 * @example const [q, k, v] = split(qkv, 3); // qkv [B, S, 3 · C]
 */
export function split<D extends DType>(x: Tensor<D>, parts: number | readonly number[], axis = -1): Tensor<D>[] {
  checkTensor("split", "x", x);
  const along = checkAxis("split", axis, x.rank);
  const n = x.shape[along] as number;
  if (typeof parts === "number") checkIndex("split", "parts", parts, 1, mostParts);
  else if (!Array.isArray(parts) || parts.length > mostParts) {
    throw invalid("split", "parts", parts, `a number or an array of at most ${mostParts} sizes`);
  } else checkWholes("split", "parts", parts, parts.length);
  const sizes = typeof parts === "number" ? new Array<number>(parts).fill(n / parts) : parts;
  const starts: number[] = [];
  let sum = 0;
  for (const size of sizes) {
    starts.push(sum);
    sum += size;
  }
  if (sum !== n || !sizes.every((size) => Number.isInteger(size) && size >= 0)) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `split: axis ${along} of ${showShape(x.shape)} cannot be cut into ${typeof parts === "number" ? `${parts} equal parts` : seen(parts)}`,
      { op: "split", argument: "parts", shapes: [x.shape] },
    );
  }
  return viewsAlong("split", x, along, starts, sizes);
}

function viewsAlong<D extends DType>(
  op: string,
  x: Tensor<D>,
  axis: number,
  starts: readonly number[],
  sizes: readonly number[],
): Tensor<D>[] {
  const views = starts.map((start, i) => x.viewAs(sliceGeometry(x, axis, start, sizes[i] as number)));
  const size = x.shape[axis] as number;
  recordView(op, x, views, (grads) => {
    const given = grads.flatMap((grad, i) => (grad === undefined ? [] : [{ grad, start: starts[i] as number }]));
    return placeParts(inOneType(given.map(({ grad }) => grad)), {
      axis,
      size,
      starts: given.map(({ start }) => start),
    });
  });
  return views;
}

/**
 * x at one index of an axis, without that axis. A view, but for the last axis, where it is a copy.
 *
 * @throws INVALID_ARGUMENT for an axis or index outside the shape
 * @example select(hidden, 1, -1) // [B, S, C] gives [B, C], the last token
 */
export function select<D extends DType>(x: Tensor<D>, axis: number, index: number): Tensor<D> {
  checkTensor("select", "x", x);
  const along = checkAxis("select", axis, x.rank);
  const size = x.shape[along] as number;
  checkIndex("select", "index", index, -size, size - 1);
  const start = index < 0 ? index + size : index;
  const y = viewOrCopy(x, selectGeometry(x, along, start));
  recordView(
    "select",
    x,
    [y],
    ([dy]) => dy && placeParts([unsqueeze(dy, along)], { axis: along, size, starts: [start] }),
  );
  return y;
}

/**
 * x under another shape of the same size; one dimension may be −1 and is worked out. A view where x's strides allow it,
 * else a copy.
 *
 * @throws INVALID_ARGUMENT, SHAPE_MISMATCH
 * @example reshape(q, [B, S, heads, -1])
 */
export function reshape<D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> {
  checkTensor("reshape", "x", x);
  if (!Array.isArray(shape) || shape.length > maxRank) checkShape("reshape", shape);
  return reshaped("reshape", x, fillIn(x, shape));
}

function fillIn(x: Tensor, shape: Shape): Shape {
  const open = shape.indexOf(-1);
  const others = [...shape];
  if (open >= 0) others.splice(open, 1);
  checkShape("reshape", others);
  const full = open < 0 ? others : shape.map((n, i) => (i === open ? x.size / Math.max(1, sizeOf(others)) : n));
  if (full.length <= maxRank && full.every(Number.isInteger) && sizeOf(full) === x.size) return full;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `reshape: ${showShape(x.shape)} has ${x.size} elements, ${showShape(shape)} takes another number`,
    {
      op: "reshape",
      argument: "shape",
      shapes: [x.shape, shape],
    },
  );
}

function reshaped<D extends DType>(op: string, x: Tensor<D>, shape: Shape): Tensor<D> {
  const geometry = reshapeGeometry(x, shape);
  const legal = geometry && asTensorGeometry(geometry);
  const y = legal === undefined ? copyAs(x, x, shape) : x.viewAs(legal);
  const before = x.shape;
  recordView(op, x, [y], ([dy]) => dy && reshaped(op, dy, before));
  return y;
}

/**
 * Axes first … last (default all) joined into one.
 *
 * @example flatten(latents, 1, 3) // [B, T, H, W, C] gives [B, T · H · W, C]
 */
export function flatten<D extends DType>(x: Tensor<D>, first = 0, last = -1): Tensor<D> {
  checkTensor("flatten", "x", x);
  if (x.rank === 0) return reshaped("flatten", x, [1]);
  const from = checkAxis("flatten", first, x.rank);
  const to = checkAxis("flatten", last, x.rank);
  checkIndex("flatten", "last", to, from, x.rank - 1);
  return reshaped("flatten", x, [
    ...x.shape.slice(0, from),
    sizeOf(x.shape.slice(from, to + 1)),
    ...x.shape.slice(to + 1),
  ]);
}

/**
 * A new axis of one element; −1 puts it last.
 *
 * @throws INVALID_ARGUMENT for an axis outside −(rank + 1) … rank or a seventh axis
 */
export function unsqueeze<D extends DType>(x: Tensor<D>, axis: number): Tensor<D> {
  checkTensor("unsqueeze", "x", x);
  const at = checkAxis("unsqueeze", axis, x.rank + 1);
  const shape = [...x.shape.slice(0, at), 1, ...x.shape.slice(at)];
  checkShape("unsqueeze", shape);
  return reshaped("unsqueeze", x, shape);
}

/**
 * Without an axis of one element; without any, all such axes go.
 *
 * @throws SHAPE_MISMATCH when the axis has another size
 */
export function squeeze<D extends DType>(x: Tensor<D>, axis?: number): Tensor<D> {
  checkTensor("squeeze", "x", x);
  if (axis === undefined)
    return reshaped(
      "squeeze",
      x,
      x.shape.filter((n) => n !== 1),
    );
  const at = checkAxis("squeeze", axis, x.rank);
  if (x.shape[at] !== 1) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `squeeze: axis ${at} of ${showShape(x.shape)} has ${x.shape[at]} elements, expected 1`,
      {
        op: "squeeze",
        argument: "axis",
        shapes: [x.shape],
      },
    );
  }
  return reshaped(
    "squeeze",
    x,
    x.shape.filter((_, i) => i !== at),
  );
}

/**
 * The axes in another order: axis i of the result is axis axes[i] of x. A view when the last axis stays last, else one
 * copy.
 *
 * @throws INVALID_ARGUMENT when axes is no permutation
 * @example permute(latents, [0, 2, 3, 4, 1]) // [B, C, T, H, W] gives [B, T, H, W, C]
 */
export function permute<D extends DType>(x: Tensor<D>, axes: readonly number[]): Tensor<D> {
  checkTensor("permute", "x", x);
  if (!Array.isArray(axes) || axes.length > maxRank)
    throw invalid("permute", "axes", axes, `an order of ${x.rank} axes`);
  const order = Array.from(axes, (axis) => checkAxis("permute", axis, x.rank));
  if (order.length !== x.rank || new Set(order).size !== x.rank) {
    throw new HunyuanError(
      "INVALID_ARGUMENT",
      `permute: ${showShape(axes)} is no order of the ${x.rank} axes of ${showShape(x.shape)}`,
      {
        op: "permute",
        argument: "axes",
      },
    );
  }
  const y = viewOrCopy(x, permuteGeometry(x, order));
  const inverse = order.map((_, i) => order.indexOf(i));
  recordView("permute", x, [y], ([dy]) => dy && permute(dy, inverse));
  return y;
}

/**
 * Two axes (default the last two) exchanged.
 *
 * @throws INVALID_ARGUMENT for axes outside the shape
 */
export function transpose<D extends DType>(x: Tensor<D>, a = -2, b = -1): Tensor<D> {
  checkTensor("transpose", "x", x);
  const i = checkAxis("transpose", a, x.rank);
  const j = checkAxis("transpose", b, x.rank);
  return permute(
    x,
    x.shape.map((_, axis) => (axis === i ? j : axis === j ? i : axis)),
  );
}

/**
 * x repeated along axes of one element, and along new leading axes, until it has the given shape: a view that costs no
 * memory, but for a repeat along the last axis, which is a copy.
 *
 * @throws SHAPE_MISMATCH when x does not broadcast to the shape
 * @example broadcastTo(vec, [B, S, C]) // vec [B, 1, C]
 */
export function broadcastTo<D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> {
  checkTensor("broadcastTo", "x", x);
  checkShape("broadcastTo", shape);
  const lead = shape.length - x.rank;
  if (lead < 0 || !x.shape.every((n, i) => n === shape[lead + i] || n === 1)) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `broadcastTo: ${showShape(x.shape)} does not broadcast to ${showShape(shape)}`,
      {
        op: "broadcastTo",
        argument: "shape",
        shapes: [x.shape, shape],
      },
    );
  }
  const y = viewOrCopy(x, {
    shape: [...shape],
    strides: broadcastStrides(x.shape, x.strides, shape),
    offset: x.offset,
  });
  const before = x.shape;
  recordView("broadcastTo", x, [y], ([dy]) => dy && (sameShape(dy.shape, before) ? dy : sumTo(dy, before)));
  return y;
}

/** The same as broadcastTo, by PyTorch's name. */
export const expand = broadcastTo;
