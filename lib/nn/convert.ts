/** From one checkpoint to another, naming and types changed: nothing but the piece at hand is in memory. */
import { withFile } from "../io/file-reader.js";
import {
  chunkBytes,
  type TensorData,
  tensorChunks,
  type WriteOptions,
  writeSafetensors,
} from "../io/safetensors-write.js";
import type { Checkpoint } from "../io/tensor-file.js";
import { cast } from "../ops/copy.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { bytesOf, type DType, dtypes } from "../tensor/dtype.js";
import { type FileExtent, fileTensor } from "../tensor/file.js";
import { scope } from "../tensor/scope.js";
import { sizeOf } from "../tensor/shape.js";
import { type ForeignTensor, foreignTensors } from "./foreign.js";
import { findSources, heldDType, type ParameterSource } from "./sources.js";
import { type Naming, type ParameterSpec, releasedNaming } from "./spec.js";

export interface ConvertOptions extends WriteOptions {
  /** The checkpoint's names. */
  readonly from: Naming;
  /** The names under which it is saved. Default: the released checkpoint's. */
  readonly to?: Naming | undefined;
  /** The type in which a parameter is saved. Default: as in the checkpoint. */
  readonly dtype?: ((spec: ParameterSpec) => DType | undefined) | undefined;
}

/**
 * Writes a checkpoint anew as safetensors. Types are converted on the device; where none changes it computes nothing.
 *
 * @param path such as "diffusion_pytorch_model.safetensors"; more than `shardBytes` are split, with an index
 * @returns the files that were written
 * @throws CHECKPOINT_INVALID, FILE_ERROR, ABORTED; then no file is there
 */
export async function convertCheckpoint(
  device: Device,
  checkpoint: Checkpoint,
  specs: readonly ParameterSpec[],
  path: string,
  options: ConvertOptions,
): Promise<readonly string[]> {
  const sources = new Map(findSources(checkpoint, specs, options.from).map((source) => [source.spec, source]));
  const tensors = foreignTensors(specs, options.to ?? releasedNaming).map((foreign): TensorData => {
    const dtype = savedDType(foreign, sources, options);
    const { name, shape } = foreign;
    return { name, dtype, shape, chunks: () => chunks(device, foreign, sources, dtype, options.signal) };
  });
  return writeSafetensors(path, tensors, { metadata: Object.fromEntries(checkpoint.metadata), ...options });
}

function savedDType(
  { name, parts }: ForeignTensor,
  sources: ReadonlyMap<ParameterSpec, ParameterSource>,
  { dtype }: ConvertOptions,
): DType {
  const types = new Set(
    parts.map(({ spec }) => {
      const source = sources.get(spec) as ParameterSource;
      return heldDType(source, dtype?.(spec) ?? source.dtype);
    }),
  );
  const [first] = types;
  if (first !== undefined && types.size === 1) return first;
  const message = `convertCheckpoint: ${name} is made of several types (${[...types].join(", ")}); give its parts one dtype`;
  throw new HunyuanError("INVALID_ARGUMENT", message, { op: "convertCheckpoint", argument: "dtype" });
}

async function* chunks(
  device: Device,
  { parts }: ForeignTensor,
  sources: ReadonlyMap<ParameterSpec, ParameterSource>,
  dtype: DType,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (const { spec, from, rows } of parts) {
    const source = sources.get(spec) as ParameterSource;
    const rowBytes = bytesOf(source.dtype, sizeOf(spec.shape.slice(1)));
    for (const extent of within(source.extents, from * rowBytes, rows * rowBytes)) {
      if (source.dtype === dtype) yield* fileChunks(extent, source.keys.join(" + "));
      else yield* castChunks(device, extent, source, dtype, signal);
    }
  }
}

/** The part of some extents that holds bytes start … start + bytes − 1 of them all. */
function within(extents: readonly FileExtent[], start: number, bytes: number): FileExtent[] {
  let at = 0;
  return extents.flatMap((extent) => {
    const from = Math.max(0, start - at);
    const to = Math.min(extent.bytes, start + bytes - at);
    at += extent.bytes;
    return from < to ? [{ file: extent.file, offset: extent.offset + from, bytes: to - from }] : [];
  });
}

/** Cut into pieces of chunkBytes, which all element sizes divide. */
function* pieces({ file, offset, bytes }: FileExtent): Generator<FileExtent> {
  for (let at = 0; at < bytes; at += chunkBytes) {
    yield { file, offset: offset + at, bytes: Math.min(chunkBytes, bytes - at) };
  }
}

async function* fileChunks(extent: FileExtent, key: string): AsyncGenerator<Uint8Array> {
  for (const { file, offset, bytes } of pieces(extent)) {
    yield await withFile(file, (reader) => reader.read(offset, bytes, key));
  }
}

async function* castChunks(
  device: Device,
  extent: FileExtent,
  { dtype: from, keys }: ParameterSource,
  dtype: DType,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (const piece of pieces(extent)) {
    const shape = [piece.bytes / dtypes[from].blockBytes];
    const made = scope(() => cast(fileTensor(device, from, shape, [piece], { label: keys.join(" + ") }), dtype));
    made.moveTo(undefined);
    try {
      yield* tensorChunks(made, signal);
    } finally {
      made.dispose();
    }
  }
}
