/** Writes safetensors: one file, or shards with an index, piece by piece, and whole or not at all. */
import { basename, dirname, join, resolve } from "node:path";
import { HunyuanError } from "../runtime/errors.js";
import { bytesOf, type DType, dtypes } from "../tensor/dtype.js";
import { readBytes } from "../tensor/file.js";
import { type Shape, showShape, sizeOf } from "../tensor/shape.js";
import { Tensor } from "../tensor/tensor.js";
import { AtomicFiles } from "./atomic-files.js";
import { maxHeaderBytes, safetensorsDTypes } from "./safetensors.js";

/** A tensor to write, whose bytes come in pieces when it is its turn. */
export interface TensorData {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** All bytes, row-major, little-endian. */
  chunks(): AsyncIterable<Uint8Array>;
}

export interface WriteProgress {
  readonly writtenBytes: number;
  readonly totalBytes: number;
}

export interface WriteOptions {
  /** Free text for the files' `__metadata__`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Bytes from which on a model is split over several files. Default 5 GB, as Hugging Face's. */
  readonly shardBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: WriteProgress) => void) | undefined;
}

const defaultShardBytes = 5e9;
/** Bytes that are read from a device at once. */
export const chunkBytes = 16 * 2 ** 20;
const fileDTypes = new Map<DType, string>([...safetensorsDTypes].map(([name, dtype]) => [dtype, name]));

/**
 * Writes tensors of a device (or several) to `path`, each in its own type.
 *
 * @param path such as "model.safetensors"; shards get "model-00001-of-00003.safetensors" beside an index
 * @returns the files that were written
 * @throws FILE_ERROR, ABORTED, and the errors of ops that led to a tensor; then no file is there
 * @example await saveSafetensors("latents.safetensors", new Map([["latents", latents]]), { prompt });
 */
export function saveSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
  options: Omit<WriteOptions, "metadata"> = {},
): Promise<readonly string[]> {
  const data = [...tensors].map(([name, tensor]): TensorData => {
    const { dtype, shape } = tensor;
    return { name, dtype, shape, chunks: () => tensorChunks(tensor, options.signal) };
  });
  return writeSafetensors(path, data, { ...options, metadata });
}

/** The bytes of a tensor, or of some of its rows, in pieces; a strided one is packed first. */
export async function* tensorChunks(
  tensor: Tensor,
  signal: AbortSignal | undefined,
  start = 0,
  bytes = tensor.bytes - start,
): AsyncGenerator<Uint8Array> {
  const dense = tensor.isDense ? tensor : Tensor.toDense(tensor, tensor.dtype);
  try {
    for (let at = start; at < start + bytes; at += chunkBytes) {
      const some = Math.min(chunkBytes, start + bytes - at);
      yield await readBytes(dense, at, some, signal === undefined ? {} : { signal });
    }
  } finally {
    if (dense !== tensor) dense.dispose();
  }
}

/** The same for tensors from anywhere. */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorData[],
  options: WriteOptions = {},
): Promise<readonly string[]> {
  const target = resolve(path);
  const shards = intoShards(tensors, options.shardBytes ?? defaultShardBytes);
  const names = shardNames(target, shards.length);
  const totalBytes = tensors.reduce((sum, tensor) => sum + sizeInFile(tensor), 0);
  const files = new AtomicFiles("saveSafetensors");
  let writtenBytes = 0;
  try {
    for (const [i, shard] of shards.entries()) {
      await files.add(join(dirname(target), names[i] as string), async (append) => {
        await append(header(shard, options.metadata ?? {}));
        for (const tensor of shard) {
          await writeTensor(tensor, async (bytes) => {
            throwIfAborted(options.signal);
            await append(bytes);
            writtenBytes += bytes.byteLength;
            options.onProgress?.({ writtenBytes, totalBytes });
          });
        }
      });
    }
    if (shards.length > 1) {
      names.push(`${basename(target)}.index.json`);
      await files.add(join(dirname(target), `${basename(target)}.index.json`), (append) =>
        append(index(shards, names, totalBytes)),
      );
    }
    await files.commit();
  } finally {
    await files.discard();
  }
  return names.map((name) => join(dirname(target), name));
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  const op = "saveSafetensors";
  throw new HunyuanError("ABORTED", `${op}: aborted by its signal`, { op }, { cause: signal.reason });
}

function sizeInFile({ dtype, shape }: TensorData): number {
  return bytesOf(dtype, sizeOf(shape));
}

async function writeTensor(tensor: TensorData, append: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  let bytes = 0;
  for await (const chunk of tensor.chunks()) {
    bytes += chunk.byteLength;
    await append(chunk);
  }
  if (bytes === sizeInFile(tensor)) return;
  const message = `saveSafetensors: ${tensor.name}: ${bytes} bytes came for ${tensor.dtype} ${showShape(tensor.shape)}`;
  throw new HunyuanError("INVALID_ARGUMENT", message, { op: "saveSafetensors", argument: "tensors" });
}

/** Runs of tensors in their order, each below the limit where one tensor allows it. */
function intoShards(tensors: readonly TensorData[], limit: number): readonly (readonly TensorData[])[] {
  const shards: TensorData[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const more = sizeInFile(tensor);
    if (bytes + more > limit && bytes > 0) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)?.push(tensor);
    bytes += more;
  }
  // Wide types first, so that every tensor of a file lies at a multiple of its element's size.
  return shards.map((shard) => shard.sort((a, b) => dtypes[b.dtype].blockBytes - dtypes[a.dtype].blockBytes));
}

function shardNames(target: string, count: number): string[] {
  if (count === 1) return [basename(target)];
  const stem = basename(target).replace(/\.safetensors$/, "");
  const number = (n: number) => String(n).padStart(5, "0");
  return Array.from({ length: count }, (_, i) => `${stem}-${number(i + 1)}-of-${number(count)}.safetensors`);
}

function header(tensors: readonly TensorData[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // "format" is what readers of Hugging Face's look for.
  const entries: [string, unknown][] = [["__metadata__", { format: "pt", ...metadata }]];
  let at = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = at + bytesOf(dtype, sizeOf(shape));
    entries.push([name, { dtype: fileDTypes.get(dtype), shape, data_offsets: [at, end] }]);
    at = end;
  }
  if (new Set(entries.map(([name]) => name)).size !== entries.length) {
    const message = "saveSafetensors: a name stands twice, or is __metadata__, which the format keeps for itself";
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "saveSafetensors", argument: "tensors" });
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  // Padded with spaces, so that the data begin at a multiple of eight.
  const length = Math.ceil(json.length / 8) * 8;
  if (length > maxHeaderBytes) {
    const message = `saveSafetensors: a header of ${length} bytes could not be read back, at most ${maxHeaderBytes}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "saveSafetensors", argument: "tensors" });
  }
  const bytes = Buffer.alloc(8 + length, 0x20);
  bytes.writeBigUInt64LE(BigInt(length), 0);
  json.copy(bytes, 8);
  return bytes;
}

function index(shards: readonly (readonly TensorData[])[], names: readonly string[], totalBytes: number): Uint8Array {
  const map = shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i] as string] as const));
  const weight_map = Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1)));
  return Buffer.from(`${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map }, null, 2)}\n`);
}
