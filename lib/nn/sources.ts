/** Finds the bytes of each parameter in a checkpoint, and says everything that does not fit before any are read. */
import type { Checkpoint, TensorEntry } from "../io/tensor-file.js";
import { HunyuanError } from "../runtime/errors.js";
import { bytesOf, type DType, dtypes } from "../tensor/dtype.js";
import type { FileExtent } from "../tensor/file.js";
import { type Shape, showShape, sizeOf } from "../tensor/shape.js";
import type { Naming, ParameterSpec, Piece } from "./spec.js";

/** A parameter, and the bytes of the checkpoint that make it up. */
export interface ParameterSource {
  readonly spec: ParameterSpec;
  /** In the files. */
  readonly dtype: DType;
  readonly extents: readonly FileExtent[];
  readonly bytes: number;
  /** The checkpoint's keys, one for each extent. */
  readonly keys: readonly string[];
}

const shownKeys = 8;

/**
 * Sources of all parameters, in the order of the specs.
 *
 * @throws CHECKPOINT_INVALID naming the first keys that are missing, or the key whose shape or type does not fit
 */
export function findSources(
  checkpoint: Checkpoint,
  specs: readonly ParameterSpec[],
  naming: Naming,
): readonly ParameterSource[] {
  const pieces = specs.map((spec) => naming(spec));
  const missing = [...new Set(pieces.flat().map(({ key }) => key))].filter((key) => !checkpoint.entries.has(key));
  if (missing.length > 0) throw missingKeys(checkpoint.source, missing);
  const covered = new Map<TensorEntry, number>();
  const sources = specs.map((spec, i) => findSource(checkpoint, spec, pieces[i] ?? [], covered));
  for (const [entry, rows] of covered) {
    if (rows < rowsOf(entry.shape)) {
      throw unfit(entry, `${showShape(entry.shape)} has ${rowsOf(entry.shape)} rows, of which the model has ${rows}`);
    }
  }
  return sources;
}

/** The error that lists keys which a model needs and a checkpoint does not have. */
export function missingKeys(source: string, missing: readonly string[]): HunyuanError<"CHECKPOINT_INVALID"> {
  const first = missing.slice(0, shownKeys);
  const more = missing.length > first.length ? `, and ${missing.length - first.length} more` : "";
  return new HunyuanError(
    "CHECKPOINT_INVALID",
    `${source}: ${missing.length} parameter${missing.length === 1 ? " is" : "s are"} missing: ${first.join(", ")}${more}`,
    { file: source, key: first[0] ?? "", keys: missing },
  );
}

/** Axes are what they are in the file; a parameter without axes is one row. */
export function rowsOf(shape: Shape): number {
  return shape[0] ?? 1;
}

function findSource(
  checkpoint: Checkpoint,
  spec: ParameterSpec,
  pieces: readonly Piece[],
  covered: Map<TensorEntry, number>,
): ParameterSource {
  const extents: FileExtent[] = [];
  let [rows, dtype] = [0, undefined as DType | undefined];
  for (const { key, start = 0, rows: count } of pieces) {
    const entry = checkpoint.entries.get(key) as TensorEntry;
    checkPiece(spec, entry, start, count);
    dtype ??= entry.dtype;
    if (entry.dtype !== dtype)
      throw unfit(entry, `is ${entry.dtype}, but ${pieces[0]?.key}, of the same parameter, ${dtype}`);
    const rowBytes = bytesOf(dtype, rowSize(spec.shape));
    extents.push({ file: entry.file, offset: entry.offset + start * rowBytes, bytes: count * rowBytes });
    covered.set(entry, (covered.get(entry) ?? 0) + count);
    rows += count;
  }
  if (rows !== rowsOf(spec.shape) || dtype === undefined) {
    const message = `${spec.name}: its naming gives ${rows} rows, but it is ${showShape(spec.shape)}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: checkpoint.source, key: spec.name });
  }
  const bytes = bytesOf(dtype, sizeOf(spec.shape));
  return { spec, dtype, extents, bytes, keys: pieces.map(({ key }) => key) };
}

function rowSize(shape: Shape): number {
  return sizeOf(shape.slice(1));
}

/** Axes of one element may be written or left out (1 × 1 convolutions as matrices, scalars as [1]). */
function checkPiece(spec: ParameterSpec, entry: TensorEntry, start: number, rows: number): void {
  const essential = (shape: Shape) => shape.slice(1).filter((n) => n !== 1);
  const expected = essential(spec.shape);
  const seen = essential(entry.shape);
  const fits = seen.length === expected.length && seen.every((n, i) => n === expected[i]);
  if (fits && start + rows <= rowsOf(entry.shape)) return;
  const from = rows === rowsOf(spec.shape) ? "" : ` from row ${start} on`;
  throw unfit(
    entry,
    `is ${showShape(entry.shape)}, expected ${showShape([rows, ...spec.shape.slice(1)])}${from} for ${spec.name}`,
  );
}

function unfit(entry: TensorEntry, message: string): HunyuanError<"CHECKPOINT_INVALID"> {
  return new HunyuanError("CHECKPOINT_INVALID", `${entry.file}: ${entry.name}: ${message}`, {
    file: entry.file,
    key: entry.name,
  });
}

/**
 * The type in which a parameter is held.
 *
 * @throws CHECKPOINT_INVALID for whole numbers where the model computes with floats, and the other way round
 */
export function heldDType({ spec, dtype, keys, extents }: ParameterSource, wanted: DType): DType {
  if (dtype === wanted || dtypes[dtype].kind === dtypes[wanted].kind) return wanted;
  throw new HunyuanError(
    "CHECKPOINT_INVALID",
    `${extents[0]?.file}: ${keys[0]}: is ${dtype}, which cannot be the ${wanted} parameter ${spec.name}`,
    { file: extents[0]?.file ?? "", key: keys[0] ?? spec.name },
  );
}
