/** Reads the fixtures: safetensors files of F32 and I64, whole. */
import { readFileSync } from "node:fs";

export interface FixtureTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

const readers: { readonly [dtype: string]: (bytes: ArrayBuffer) => ArrayLike<number> } = {
  F32: (bytes) => new Float32Array(bytes),
  F64: (bytes) => new Float64Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
  I64: (bytes) => Array.from(new BigInt64Array(bytes), Number),
};

/** Every tensor of the file by name; values as f64, which holds them exactly. */
export function readSafetensors(path: string | URL): Map<string, FixtureTensor> {
  const file = readFileSync(path);
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
