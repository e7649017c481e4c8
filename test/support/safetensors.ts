/** Reads the fixtures: safetensors files of a few types, whole, also gzipped (as the repository holds them). */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

export interface FixtureTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

const readers: { readonly [dtype: string]: (bytes: ArrayBuffer) => ArrayLike<number> } = {
  F32: (bytes) => new Float32Array(bytes),
  F64: (bytes) => new Float64Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
  // A bfloat16 is the upper half of a float.
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (half) => half * 65536).buffer),
  I64: (bytes) => Array.from(new BigInt64Array(bytes), Number),
};

/** Whether there is such a file, as it is or with .gz behind its name. */
export function hasSafetensors(path: string): boolean {
  return existsSync(path) || existsSync(`${path}.gz`);
}

/** Every tensor of the file by name; values as f64, which holds them exactly. The file may be there gzipped, as PATH.gz. */
export function readSafetensors(path: string | URL): Map<string, FixtureTensor> {
  const name = typeof path === "string" ? path : fileURLToPath(path);
  const file = existsSync(name) ? readFileSync(name) : gunzipSync(readFileSync(`${name}.gz`));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header: {
    readonly [name: string]: { dtype: string; shape: number[]; data_offsets: [number, number] };
  } = JSON.parse(file.toString("utf8", 8, start));
  const tensors = new Map<string, FixtureTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const read = readers[entry.dtype];
    if (read === undefined) throw new Error(`${name}: ${entry.dtype} is not read here`);
    const [from, to] = entry.data_offsets;
    const bytes = new Uint8Array(file.subarray(start + from, start + to)).buffer;
    tensors.set(name, { dtype: entry.dtype, shape: entry.shape, data: Float64Array.from(read(bytes)) });
  }
  return tensors;
}
