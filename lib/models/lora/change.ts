/** One weight with LoRAs added: reading their tensors, and the sum. */
import type { TensorEntry } from "../../io/tensor-file.js";
import { placeParts } from "../../ops/concat.js";
import { cast, copyViewInto } from "../../ops/copy.js";
import { zeros } from "../../ops/fill.js";
import { matmul } from "../../ops/linear.js";
import { add, mul } from "../../ops/pointwise.js";
import { reshape, slice } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import { bytesOf } from "../../tensor/dtype.js";
import { fileTensor } from "../../tensor/file.js";
import { scope } from "../../tensor/scope.js";
import { sizeOf } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Lora, LoraTerm } from "./load.js";

/** A term with the strength at which its LoRA is used. */
export interface LoraChange {
  readonly lora: Lora;
  readonly term: LoraTerm;
  readonly strength: number;
}

/** Numbers that are summed at a time: what the sum needs beside the weight is bounded, and fits a processor's cache better. */
const blockNumbers = 8 * 2 ** 20;

/**
 * weight (· scale) + the changes, summed in f32 and rounded once to `dtype`; block by block of the weight's rows.
 *
 * @param weight [rows, …], dense
 */
export function changed(
  weight: Tensor,
  scale: Tensor<"f32"> | undefined,
  changes: readonly LoraChange[],
  dtype: Tensor["dtype"],
): Tensor {
  const { device, shape } = weight;
  const rows = shape[0] ?? 1;
  const width = sizeOf(shape.slice(1));
  const step = Math.max(1, Math.floor(blockNumbers / Math.max(1, width)));
  return scope(() => {
    const out = zeros(shape, { dtype, device });
    const downs = downsOf(device, changes, width);
    for (let first = 0; first < rows; first += step) {
      const end = Math.min(rows, first + step);
      const inside = changes.flatMap((change) => within(change, first, end) ?? []);
      scope(() => {
        const sum = summed(slice(weight, 0, first, end), scale, inside, downs);
        copyViewInto(sum, sum, slice(out, 0, first, end));
      });
    }
    return out;
  });
}

/** The right factors, which every block of rows needs whole, as f32. */
function downsOf(
  device: Device,
  changes: readonly LoraChange[],
  width: number,
): ReadonlyMap<TensorEntry, Tensor<"f32">> {
  const downs = new Map<TensorEntry, Tensor<"f32">>();
  for (const { term } of changes) {
    const { product } = term;
    if (product === undefined || downs.has(product.down)) continue;
    downs.set(product.down, rowsFrom(device, product.down, 0, [product.rank, width]));
  }
  return downs;
}

/** The part of a change that falls on rows first … end − 1, counted from `first`; undefined where none does. */
function within(change: LoraChange, first: number, end: number): LoraChange | undefined {
  const { term } = change;
  const from = Math.max(term.from, first);
  const rows = Math.min(term.from + term.rows, end) - from;
  if (rows <= 0) return undefined;
  const skipped = from - term.from;
  const { product, diff } = term;
  return {
    ...change,
    term: {
      ...term,
      from: from - first,
      rows,
      product: product && { ...product, upFrom: product.upFrom + skipped },
      diff: diff && { ...diff, diffFrom: diff.diffFrom + skipped },
    },
  };
}

function summed(
  weight: Tensor,
  scale: Tensor<"f32"> | undefined,
  changes: readonly LoraChange[],
  downs: ReadonlyMap<TensorEntry, Tensor<"f32">>,
): Tensor<"f32"> {
  const rows = weight.shape[0] ?? 1;
  let sum: Tensor<"f32"> = cast(weight, "f32");
  if (scale !== undefined) sum = mul(sum, scale);
  for (const group of apart(changes)) {
    const parts = group.map((change) => deltaOf(weight, change, downs));
    const starts = group.map(({ term }) => term.from);
    const [only] = parts;
    const whole = parts.length === 1 && only !== undefined && only.shape[0] === rows;
    sum = add(sum, whole ? only : placeParts(parts, { axis: 0, size: rows, starts }));
  }
  return sum;
}

/** In as few groups as need be, so that no two of a group change the same row; each in the order of its rows. */
function apart(changes: readonly LoraChange[]): readonly (readonly LoraChange[])[] {
  const groups: LoraChange[][] = [];
  for (const change of changes) {
    const { from, rows } = change.term;
    const free = groups.find((group) =>
      group.every(({ term }) => from >= term.from + term.rows || term.from >= from + rows),
    );
    if (free === undefined) groups.push([change]);
    else free.push(change);
  }
  return groups.map((group) => group.sort((a, b) => a.term.from - b.term.from));
}

/** strength · scale · up · down, or strength · diff: the rows that change, as wide as the weight. */
function deltaOf(
  { device, shape }: Tensor,
  { term, strength }: LoraChange,
  downs: ReadonlyMap<TensorEntry, Tensor<"f32">>,
): Tensor<"f32"> {
  const { rows, product, diff } = term;
  const rest = shape.slice(1);
  if (diff !== undefined) return mul(rowsFrom(device, diff.entry, diff.diffFrom, [rows, ...rest]), strength);
  const down = product && downs.get(product.down);
  if (product === undefined || down === undefined) throw new RangeError(`${term.parameter}: a term without a change`);
  const up = rowsFrom(device, product.up, product.upFrom, [rows, product.rank]);
  return reshape(mul(matmul(up, down), strength * product.scale), [rows, ...rest]);
}

/** Rows of a tensor in a file, as f32. */
function rowsFrom(device: Device, entry: TensorEntry, first: number, shape: readonly number[]): Tensor<"f32"> {
  const { name, dtype, file, offset } = entry;
  const start = bytesOf(dtype, first * sizeOf(shape.slice(1)));
  const extents = [{ file, offset: offset + start, bytes: bytesOf(dtype, sizeOf(shape)) }];
  return cast(fileTensor(device, dtype, shape, extents, { label: name }), "f32");
}
