/** Rearranging elements: padding, repeating, gathering, patches. Copies are in copy.ts, joining in concat.ts. */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkOneOf, checkOptions, checkTensor, checkTensors, checkWholes, invalid } from "../tensor/check.js";
import { type DType, dtypeNames, type FloatDType, type IndexDType, isFloat, sumDType } from "../tensor/dtype.js";
import { permuteGeometry, sliceGeometry } from "../tensor/geometry.js";
import { recordView } from "../tensor/record-view.js";
import { checkAxis, checkShape, denseStrides, type Shape, showShape, sizeOf } from "../tensor/shape.js";
import type { Tensor, ViewGeometry } from "../tensor/tensor.js";
import { rearranged } from "./copy.js";
import { defineOp, one } from "./define.js";
import { sumTo } from "./reduce.js";
import { reshape } from "./views.js";

export { cast, contiguous } from "./copy.js";

// --- padding ---------------------------------------------------------------------------------------------------------

const padModes = ["zero", "replicate"] as const;

const padded = (shape: Shape, before: readonly number[], after: readonly number[]): Shape =>
  shape.map((n, i) => n + (before[i] as number) + (after[i] as number));

const padOp = defineOp({
  name: "pad",
  doc: "x with a rim on every axis: zeros, or the edge repeated",
  inputs: { x: one({ dtypes: dtypeNames, layout: "rows" }) },
  attrs: { mode: padModes, before: "i64[]", after: "i64[]" },
  outputs: ["y"],
  shape: ({ x }, { before, after }) => ({ y: { dtype: x.dtype, shape: padded(x.shape, before, after) } }),
  vjp({ grads, attrs, specs }) {
    const dy = grads.y;
    if (dy === undefined || !isFloat(dy.dtype)) return {};
    if (attrs.mode === "replicate") {
      const { before, after } = attrs;
      return { x: runOp<{ dx: FloatDType }>(padBackwardOp, { dy }, { shape: specs.x.shape, before, after }).dx };
    }
    let inside: ViewGeometry = dy;
    specs.x.shape.forEach((n, axis) => {
      inside = sliceGeometry(inside, axis, attrs.before[axis] as number, n);
    });
    return { x: dy.viewAs(inside) };
  },
  cost: ({ x }) => ({ bytes: 2 * x.bytes, flops: 0 }),
});

const padBackwardOp = defineOp({
  name: "pad_backward",
  doc: "gradient of pad with repeated edges: each edge gathers the sum of its rim, in a fixed order",
  inputs: { dy: one({ layout: "rows" }) },
  attrs: { shape: "i64[]", before: "i64[]", after: "i64[]" },
  outputs: ["dx"],
  shape: ({ dy }, { shape }) => ({ dx: { dtype: dy.dtype, shape } }),
  cost: ({ dy }) => ({ bytes: 2 * dy.bytes, flops: sizeOf(dy.shape) }),
});

export interface PadOptions {
  /** What stands in the rim: zeros, or copies of the nearest element. Default zero. */
  readonly mode?: "zero" | "replicate";
}

/**
 * x with a rim round it.
 *
 * @param padding [before, after] for every axis, in elements
 * @throws INVALID_ARGUMENT for a padding that is no list of pairs, one for each axis
 * @throws SHAPE_MISMATCH when an axis without elements is to be replicated
 * @example pad(video, [[0, 0], [2, 0], [1, 1], [1, 1], [0, 0]], { mode: "replicate" }) // [B, T, H, W, C], causal in T
 */
export function pad<D extends DType>(
  x: Tensor<D>,
  padding: readonly (readonly [number, number])[],
  options: PadOptions = {},
): Tensor<D> {
  checkTensor("pad", "x", x);
  checkOptions("pad", options);
  const { mode = "zero" } = options;
  checkOneOf("pad", "mode", mode, padModes);
  if (!Array.isArray(padding) || padding.length !== x.rank) {
    throw invalid("pad", "padding", padding, `[before, after] for each axis of ${showShape(x.shape)}`);
  }
  for (let i = 0; i < padding.length; i++) checkWholes("pad", `padding[${i}]`, padding[i], 2, 0);
  const before = padding.map(([n]) => n);
  const after = padding.map(([, n]) => n);
  checkShape("pad", padded(x.shape, before, after));
  if (mode === "replicate" && padding.some(([b, a], axis) => x.shape[axis] === 0 && a + b > 0)) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `pad: ${showShape(x.shape)} has an empty axis, which has no edge to repeat`,
      {
        op: "pad",
        argument: "x",
        shapes: [x.shape],
      },
    );
  }
  return runOp<{ y: D }>(padOp, { x }, { mode, before, after }).y;
}

// --- gathering -------------------------------------------------------------------------------------------------------

const gatherOp = defineOp({
  name: "gather",
  doc: "slices of x along an axis, picked by index",
  inputs: { x: one({ dtypes: dtypeNames }), ids: one({ dtypes: ["i32", "i64"] }) },
  attrs: { axis: "i64" },
  outputs: ["y"],
  shape({ x, ids }, { axis }) {
    const shape = [...x.shape.slice(0, axis), ...ids.shape, ...x.shape.slice(axis + 1)];
    checkShape("gather", shape);
    return { y: { dtype: x.dtype, shape } };
  },
  saves: ["ids"],
  vjp({ saved, grads, attrs, specs }) {
    if (grads.y === undefined || !isFloat(grads.y.dtype)) return {};
    const inputs = { dy: grads.y, ids: saved.ids };
    return { x: runOp<{ dx: FloatDType }>(gatherBackwardOp, inputs, { axis: attrs.axis, shape: specs.x.shape }).dx };
  },
  cost: ({ x, ids }, { axis }) => ({ bytes: ((2 * x.bytes) / (x.shape[axis] || 1)) * ids.size + ids.bytes, flops: 0 }),
});

const gatherBackwardOp = defineOp({
  name: "gather_backward",
  doc: "gradient of gather: slices of dy added where they were picked from, in the order of ids",
  inputs: { dy: one(), ids: one({ dtypes: ["i32", "i64"] }) },
  attrs: { axis: "i64", shape: "i64[]" },
  outputs: ["dx"],
  // A slice may be picked any number of times, so the sums are kept in f32.
  shape: ({ dy }, { shape }) => ({ dx: { dtype: sumDType(dy), shape } }),
  cost: ({ dy }, { shape }) => ({ bytes: dy.bytes + 4 * sizeOf(shape), flops: dy.size }),
});

export interface GatherOptions {
  /** Default 0; negative axes count from the end. */
  readonly axis?: number;
}

/**
 * Slices of x along an axis, picked by index: the axis is replaced by the axes of `ids`. The gradient of x is f32 (f64
 * for f64).
 *
 * @throws INVALID_ARGUMENT for an axis outside the shape; at the next read, for an index outside the axis
 * @example gather(hidden, tensor([3, 1], { dtype: "i32" }), { axis: 1 }) // [B, S, C] gives [B, 2, C]
 */
export function gather<D extends DType>(x: Tensor<D>, ids: Tensor<IndexDType>, options: GatherOptions = {}): Tensor<D> {
  checkTensor("gather", "x", x);
  checkOptions("gather", options);
  const { axis = 0 } = options;
  return runOp<{ y: D }>(gatherOp, { x, ids }, { axis: checkAxis("gather", axis, x.rank) }).y;
}

/**
 * Rows of a table, one for each token id: [...ids, C].
 *
 * @param table [V, C]
 * @param ids whole numbers in 0 … V − 1, any shape
 * @throws SHAPE_MISMATCH; at the next read INVALID_ARGUMENT for an id outside the table
 * @example embedding(weights, tokens) // weights [V, C], tokens [B, S] give [B, S, C]
 */
export function embedding<D extends FloatDType>(table: Tensor<D>, ids: Tensor<IndexDType>): Tensor<D> {
  checkTensors("embedding", { table, ids });
  if (table.rank !== 2) {
    throw new HunyuanError("SHAPE_MISMATCH", `embedding: table is ${showShape(table.shape)}, expected [V, C]`, {
      op: "embedding",
      argument: "table",
      shapes: [table.shape],
    });
  }
  return gather(table, ids);
}

// --- repeating and patches -------------------------------------------------------------------------------------------

/**
 * x laid down again and again along each axis, as a whole: counts [2] turns [a, b] into [a, b, a, b].
 *
 * @param counts how often, for each axis
 * @throws INVALID_ARGUMENT when counts is not one whole number ≥ 0 for each axis
 * @example repeat(latents, [2, 1, 1, 1, 1]) // the same latents with and without the prompt
 */
export function repeat<D extends DType>(x: Tensor<D>, counts: readonly number[]): Tensor<D> {
  checkTensor("repeat", "x", x);
  checkWholes("repeat", "counts", counts, x.rank, 0);
  checkShape(
    "repeat",
    x.shape.map((n, i) => n * (counts[i] as number)),
  );
  // The innermost axis first: its copy has the shortest runs, and is smallest now.
  let y = x;
  for (let axis = x.rank - 1; axis >= 0; axis--) {
    if (counts[axis] === 1) continue;
    const before = y;
    y = repeatAxis(before, axis, counts[axis] as number);
    if (before !== x) before.dispose();
  }
  return y;
}

function repeatAxis<D extends DType>(x: Tensor<D>, axis: number, count: number): Tensor<D> {
  const rows = sizeOf(x.shape.slice(0, axis));
  const run = sizeOf(x.shape.slice(axis));
  const shape = x.shape.map((n, i) => (i === axis ? n * count : n));
  const y = rearranged(x, { shape: [rows, count, run], strides: [run, 0, 1] }, shape);
  const before = x.shape;
  recordView("repeat", x, [y], ([dy]) => dy && reshape(sumTo(reshape(dy, [rows, count, run]), [rows, 1, run]), before));
  return y;
}

function refuseLatents(op: string, argument: string, seen: Shape, expected: string): HunyuanError<"SHAPE_MISMATCH"> {
  return new HunyuanError("SHAPE_MISMATCH", `${op}: ${argument} is ${showShape(seen)}, expected ${expected}`, {
    op,
    argument,
    shapes: [seen],
  });
}

/**
 * Latents as tokens of 2 × 2 places of one frame: [B, T, H, W, C] gives [B, T · H/2 · W/2, 4 · C]. Tokens go by t, h, w;
 * inside a token the order is (C, pt, ph, pw), that of the checkpoint's patch embedding and final layer.
 *
 * @throws SHAPE_MISMATCH when H or W is odd
 */
export function patchify<D extends DType>(latents: Tensor<D>): Tensor<D> {
  checkTensor("patchify", "latents", latents);
  const [b, t, h, w, c] = latents.shape;
  if (latents.rank !== 5 || (h as number) % 2 !== 0 || (w as number) % 2 !== 0) {
    throw refuseLatents("patchify", "latents", latents.shape, "[B, T, H, W, C] with even H and W");
  }
  return patches("patchify", latents, grid(b, t, h, w, c), true);
}

/**
 * Tokens back to latents: the inverse of patchify.
 *
 * @param tokens [B, T · H/2 · W/2, 4 · C], may be a slice of a longer sequence
 * @param size T, H, W of the latents
 * @throws SHAPE_MISMATCH when the tokens do not make up the latents
 */
export function unpatchify<D extends DType>(
  tokens: Tensor<D>,
  size: readonly [frames: number, height: number, width: number],
): Tensor<D> {
  checkTensor("unpatchify", "tokens", tokens);
  checkWholes("unpatchify", "size", size, 3, 0);
  const [t, h, w] = size;
  const [b, s, c4] = tokens.shape;
  if (tokens.rank !== 3 || h % 2 !== 0 || w % 2 !== 0 || s !== (t * h * w) / 4 || (c4 as number) % 4 !== 0) {
    throw refuseLatents("unpatchify", "tokens", tokens.shape, `[B, ${t} · ${h}/2 · ${w}/2, 4 · C], even H and W`);
  }
  return patches("unpatchify", tokens, grid(b, t, h, w, (c4 as number) / 4), false);
}

/** Sizes of both sides: images [B · T, h, 2, w, 2, C], tokens [B · T, h, w, C, 2, 2] with h = H/2, w = W/2. */
interface PatchGrid {
  readonly latents: Shape;
  readonly tokens: Shape;
  readonly images: Shape;
  readonly patches: Shape;
}

function grid(b = 0, t = 0, h = 0, w = 0, c = 0): PatchGrid {
  return {
    latents: [b, t, h, w, c],
    tokens: [b, (t * h * w) / 4, 4 * c],
    images: [b * t, h / 2, 2, w / 2, 2, c],
    patches: [b * t, h / 2, w / 2, c, 2, 2],
  };
}

const toPatches = [0, 1, 3, 5, 2, 4];
const toImages = [0, 1, 4, 2, 5, 3];

function patches<D extends DType>(
  op: "patchify" | "unpatchify",
  x: Tensor<D>,
  sizes: PatchGrid,
  forward: boolean,
): Tensor<D> {
  const [axes, from, shape] = forward
    ? [toPatches, sizes.images, sizes.tokens]
    : [toImages, sizes.patches, sizes.latents];
  const y = rearranged(x, permuteGeometry({ shape: from, strides: denseStrides(from), offset: 0 }, axes), shape);
  recordView(op, x, [y], ([dy]) => dy && patches(op, dy, sizes, !forward));
  return y;
}
