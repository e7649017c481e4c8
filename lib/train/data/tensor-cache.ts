/**
 * Tensors on disk under keys: latents, prompt embeddings. Each session that writes appends to a data file of its own
 * (`name-<identity>-<session>.bin`) with an index beside it (`.jsonl`, a line an entry, written after its data are safe
 * on disk). So a process may be killed at any time, and several may write at once.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { fileError } from "../../io/failure.js";
import { invalid } from "../../runtime/check.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { bytesOf, type DType, isDType } from "../../tensor/dtype.js";
import { type FileExtent, fileTensor } from "../../tensor/file.js";
import { type Shape, showShape, sizeOf } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { JsonValue } from "../stateful.js";

/** A tensor's bytes, dense and little-endian. */
export interface CachedTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly bytes: Uint8Array;
}

export interface CacheEntry {
  readonly key: string;
  readonly tensors: Readonly<Record<string, CachedTensor>>;
  /** Kept with them. */
  readonly notes?: JsonValue;
}

interface Place {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly offset: number;
  /** CRC-32 of the bytes. */
  readonly crc: number;
}

interface Line {
  readonly key: string;
  readonly tensors: Readonly<Record<string, Place>>;
  readonly notes?: JsonValue;
}

interface Indexed extends Line {
  readonly file: string;
}

const op = "tensorCache";
const format = "hunyuan-native tensor cache 1";

export class TensorCache implements AsyncDisposable {
  readonly #stem: string;
  readonly #identity: string;
  readonly #entries: Map<string, Indexed>;
  #writing: Promise<unknown> = Promise.resolve();
  #writer: Writer | undefined;

  private constructor(stem: string, identity: string, entries: Map<string, Indexed>) {
    this.#stem = stem;
    this.#identity = identity;
    this.#entries = entries;
  }

  /**
   * Opens a cache, or begins one.
   *
   * @param identity of what makes the tensors: the weights and settings of a model. Another one has other files.
   * @throws FILE_ERROR
   * @example await using cache = await TensorCache.open("cache", "latents", await identityOfParams(vae.params));
   */
  static async open(folder: string, name: string, identity: string): Promise<TensorCache> {
    const short = createHash("sha256").update(identity).digest("hex").slice(0, 16);
    const prefix = `${name}-${short}-`;
    const path = resolve(folder);
    const entries = new Map<string, Indexed>();
    try {
      await mkdir(path, { recursive: true });
      const files = (await readdir(path)).filter((file) => file.startsWith(prefix) && file.endsWith(".jsonl")).sort();
      for (const file of files) {
        for (const one of await readIndex(join(path, file), identity)) entries.set(one.key, one);
      }
    } catch (cause) {
      throw fileError(op, path, cause);
    }
    return new TensorCache(join(path, prefix), identity, entries);
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  notes(key: string): JsonValue | undefined {
    return this.#find(key).notes;
  }

  shape(key: string, name: string): Shape {
    return this.#place(this.#find(key), name).shape;
  }

  /** Writes entries; when this resolves they are on disk. @throws FILE_ERROR, INVALID_ARGUMENT */
  put(entries: readonly CacheEntry[]): Promise<void> {
    for (const { key, tensors } of entries) {
      for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
        const expected = bytesOf(dtype, sizeOf(shape));
        if (bytes.byteLength === expected) continue;
        throw invalid(op, `${key}/${name}`, bytes.byteLength, `${expected} bytes for ${dtype} ${showShape(shape)}`);
      }
    }
    const written = this.#writing.then(() => this.#append(entries));
    this.#writing = written.catch(() => undefined);
    return written;
  }

  async #append(entries: readonly CacheEntry[]): Promise<void> {
    const fresh = entries.filter(({ key }) => !this.#entries.has(key));
    if (fresh.length === 0) return;
    this.#writer ??= await Writer.open(`${this.#stem}${randomBytes(6).toString("hex")}`, this.#identity);
    for (const one of await this.#writer.append(fresh)) this.#entries.set(one.key, one);
  }

  /**
   * The tensors of that name under several keys as one, [keys, …shape]. Read from the file on the device's transfer lane:
   * neither this thread nor the compute lane waits.
   *
   * @throws INVALID_ARGUMENT for a key that is not there; SHAPE_MISMATCH when they do not fit together; the first wait on
   * the tensor tells FILE_ERROR
   */
  read(device: Device, keys: readonly string[], name: string): Tensor {
    const found = keys.map((key) => ({ ...this.#place(this.#find(key), name), file: this.#find(key).file }));
    const [first] = found;
    if (first === undefined) throw invalid(op, "keys", keys, "at least one key");
    const { dtype, shape } = first;
    const other = found.find((one) => one.dtype !== dtype || showShape(one.shape) !== showShape(shape));
    if (other !== undefined) {
      const message = `${op}: ${name} is ${dtype} ${showShape(shape)} and ${other.dtype} ${showShape(other.shape)}, expected one shape`;
      throw new HunyuanError("SHAPE_MISMATCH", message, { op, shapes: [shape, other.shape] });
    }
    const bytes = bytesOf(dtype, sizeOf(shape));
    const extents = found.map(({ file, offset }): FileExtent => ({ file, offset, bytes }));
    return fileTensor(device, dtype, [keys.length, ...shape], extents, { label: name });
  }

  /** Reads everything and forgets what is damaged. @returns its keys */
  async verify(): Promise<string[]> {
    const damaged: string[] = [];
    for (const [key, { file, tensors }] of this.#entries) {
      await using handle = await open(file, "r");
      for (const { dtype, shape, offset, crc } of Object.values(tensors)) {
        const bytes = Buffer.alloc(bytesOf(dtype, sizeOf(shape)));
        await handle.read(bytes, 0, bytes.length, offset);
        if (crc32(bytes) === crc) continue;
        damaged.push(key);
        break;
      }
    }
    for (const key of damaged) this.#entries.delete(key);
    return damaged;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#writer?.close();
    this.#writer = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #find(key: string): Indexed {
    const found = this.#entries.get(key);
    if (found === undefined) throw invalid(op, "key", key, "a key that is in the cache");
    return found;
  }

  #place({ key, tensors }: Indexed, name: string): Place {
    const found = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
    if (found === undefined) throw invalid(op, "name", name, `one of ${Object.keys(tensors).join(", ")} (of ${key})`);
    return found;
  }
}

/** Entries whose data are wholly there. A line that a process was killed in is none. */
async function readIndex(file: string, identity: string): Promise<Indexed[]> {
  const [head = "", ...lines] = (await readFile(file, "utf8")).split("\n");
  const header = parse(head);
  if (header?.format !== format || header.identity !== identity) return [];
  const data = file.replace(/\.jsonl$/, ".bin");
  const size = (await stat(data).catch(() => undefined))?.size ?? 0;
  return lines.flatMap((text) => {
    const line = parse(text);
    return line !== undefined && isLine(line, size) ? [{ ...line, file: data }] : [];
  });
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

function isLine(value: object, size: number): value is Line {
  if (!("key" in value && typeof value.key === "string" && "tensors" in value)) return false;
  if (typeof value.tensors !== "object" || value.tensors === null) return false;
  return Object.values(value.tensors as Record<string, Partial<Place>>).every(
    ({ dtype, shape, offset = -1 }) =>
      isDType(dtype) && Array.isArray(shape) && offset >= 0 && offset + bytesOf(dtype, sizeOf(shape)) <= size,
  );
}

/** The files of one session. */
class Writer {
  readonly #path: string;
  readonly #data: FileHandle;
  readonly #index: FileHandle;
  #end = 0;

  private constructor(path: string, data: FileHandle, index: FileHandle) {
    this.#path = path;
    this.#data = data;
    this.#index = index;
  }

  static async open(stem: string, identity: string): Promise<Writer> {
    const [data, index] = [await open(`${stem}.bin`, "wx"), await open(`${stem}.jsonl`, "wx")];
    await index.appendFile(`${JSON.stringify({ format, identity })}\n`);
    return new Writer(`${stem}.bin`, data, index);
  }

  async append(entries: readonly CacheEntry[]): Promise<Indexed[]> {
    const start = this.#end;
    const lines: Line[] = [];
    const parts: Uint8Array[] = [];
    for (const { key, tensors, notes } of entries) {
      const places: Record<string, Place> = {};
      for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
        places[name] = { dtype, shape, offset: this.#end, crc: crc32(bytes) };
        parts.push(bytes);
        this.#end += bytes.byteLength;
      }
      lines.push({ key, tensors: places, ...(notes === undefined ? {} : { notes }) });
    }
    try {
      const all = Buffer.concat(parts);
      for (let done = 0; done < all.length; ) {
        done += (await this.#data.write(all, done, all.length - done, start + done)).bytesWritten;
      }
      await this.#data.datasync();
      await this.#index.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    } catch (cause) {
      this.#end = start;
      throw fileError(op, this.#path, cause);
    }
    return lines.map((line) => ({ ...line, file: this.#path }));
  }

  async close(): Promise<void> {
    await this.#data.close();
    await this.#index.close();
  }
}
