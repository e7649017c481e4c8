/**
 * The header of a safetensors file (https://github.com/huggingface/safetensors, "Format"): 8 bytes of length, JSON of
 * that length, then the tensors' bytes without gaps. Only the header is read; it is believed in nothing.
 */
import { bytesOf, type DType } from "../tensor/dtype.js";
import { isAddressable, maxRank, type Shape, showShape, sizeOf } from "../tensor/shape.js";
import { invalidCheckpoint } from "./failure.js";
import type { FileReader } from "./file-reader.js";
import { isJsonObject, type JsonObject, parseStrictJson } from "./strict-json.js";
import type { TensorEntry } from "./tensor-file.js";

/** The format allows 100 MB. The largest models need a fraction of one, and parsing must not hold up the event loop. */
export const maxHeaderBytes = 16 * 2 ** 20;

/** Names of element types in files. */
export const safetensorsDTypes: ReadonlyMap<string, DType> = new Map<string, DType>([
  ["F32", "f32"],
  ["F64", "f64"],
  ["F16", "f16"],
  ["BF16", "bf16"],
  ["F8_E4M3", "f8e4m3"],
  ["I32", "i32"],
  ["I64", "i64"],
  ["U8", "u8"],
  ["BOOL", "bool"],
]);

/** The tensors and texts of one file. */
export interface FileContents {
  readonly entries: readonly TensorEntry[];
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads and checks the header: every tensor lies in the file, has the bytes that its type and shape ask for, and follows
 * on the one before.
 *
 * @throws CHECKPOINT_INVALID naming the file and the key
 */
export async function readSafetensorsHeader(reader: FileReader): Promise<FileContents> {
  const length = Number((await reader.read(0, 8, "the header's length")).readBigUInt64LE(0));
  if (length > maxHeaderBytes) {
    throw invalidCheckpoint(reader.path, `a header of ${length} bytes, at most ${maxHeaderBytes} are read`);
  }
  const header = parseStrictJson(reader.path, "the header", await reader.read(8, length, "the header"));
  const start = 8 + length;
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name !== "__metadata__") entries.push(readEntry(reader, name, value, start));
  }
  checkPlaces(reader, entries, start);
  return { entries, metadata: readMetadata(reader, header) };
}

function readEntry(reader: FileReader, name: string, value: unknown, start: number): TensorEntry {
  const refuse = (message: string) => invalidCheckpoint(reader.path, message, name);
  if (!isJsonObject(value)) throw refuse("its header entry is not an object");
  const dtype = typeof value.dtype === "string" ? safetensorsDTypes.get(value.dtype) : undefined;
  if (dtype === undefined) {
    throw refuse(`dtype ${seenType(value.dtype)}, expected ${[...safetensorsDTypes.keys()].join(", ")}`);
  }
  const { shape, data_offsets: offsets } = value;
  if (!isShape(shape)) throw refuse(`its shape is not at most ${maxRank} whole numbers ≥ 0 with a product below 2^50`);
  if (!isRange(offsets)) throw refuse("data_offsets is not [begin, end] with 0 ≤ begin ≤ end");
  const [begin, end] = offsets;
  const bytes = bytesOf(dtype, sizeOf(shape));
  if (end - begin !== bytes) {
    throw refuse(`data_offsets span ${end - begin} bytes, but ${dtype} ${showShape(shape)} takes ${bytes}`);
  }
  if (start + end > reader.size) {
    throw refuse(
      `its data ends at byte ${start + end}, but the file at byte ${reader.size}; it is cut off, copy or download it again`,
    );
  }
  return { name, dtype, shape, file: reader.path, offset: start + begin, bytes };
}

function seenType(dtype: unknown): string {
  return typeof dtype === "string" ? JSON.stringify(dtype.slice(0, 20)) : "that is no string";
}

function isShape(value: unknown): value is Shape {
  return (
    Array.isArray(value) &&
    value.length <= maxRank &&
    value.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    isAddressable(value)
  );
}

function isRange(value: unknown): value is readonly [number, number] {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    value[0] <= value[1]
  );
}

/** Tensors lie one after the other, without gaps or overlaps, to the file's end. */
function checkPlaces(reader: FileReader, entries: readonly TensorEntry[], start: number): void {
  const byPlace = [...entries].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let at = start;
  let before = "the header";
  for (const { name, offset, bytes } of byPlace) {
    if (offset !== at) {
      const how = offset < at ? "overlaps" : "leaves a gap after";
      throw invalidCheckpoint(
        reader.path,
        `it begins at byte ${offset} and ${how} ${before}, which ends at ${at}`,
        name,
      );
    }
    at += bytes;
    before = JSON.stringify(name.slice(0, 80));
  }
  if (at !== reader.size) {
    throw invalidCheckpoint(reader.path, `${reader.size - at} bytes after the last tensor belong to none`);
  }
}

function readMetadata(reader: FileReader, header: JsonObject): ReadonlyMap<string, string> {
  const value = Object.hasOwn(header, "__metadata__") ? header.__metadata__ : {};
  if (!isJsonObject(value)) throw invalidCheckpoint(reader.path, "__metadata__ is not an object of texts");
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw invalidCheckpoint(reader.path, "__metadata__ holds what is not text", key);
    metadata.set(key, text);
  }
  return metadata;
}
