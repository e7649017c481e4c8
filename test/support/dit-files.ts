/** Transformers for tests as files hold them: random values under the released names, in the spelling of any layout. */
import type { Checkpoint, TensorEntry } from "../../lib/io/tensor-file.js";
import { type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { type DitLayout, type DitNamingOptions, ditNaming } from "../../lib/models/dit/naming.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import type { Naming, ParameterSpec } from "../../lib/nn/spec.js";
import { bytesOf, type DType } from "../../lib/tensor/dtype.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import type { FileTensor } from "./checkpoint-files.js";

/** Small, but with two blocks of each kind, several heads and an MLP that is no multiple of the width. */
export const tinyDit: DitConfig = {
  ...ditPresets.t2v,
  hiddenSize: 64,
  numHeads: 2,
  ropeAxes: [8, 12, 12],
  mlpRatio: 2.5,
  numDoubleBlocks: 2,
  numSingleBlocks: 2,
  textDim: 56,
  pooledDim: 48,
};

/** Numbers in −1 … 1 that bf16 holds exactly, from a seed (a linear congruence is random enough for weights). */
export function randomNumbers(count: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 24) - 128) / 128;
  });
}

/** The upper halves of f32: exact for numbers of at most 8 bits. */
export function bf16Bytes(values: Float32Array): Uint8Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}

export function f32Bytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

export type Values = ReadonlyMap<string, Float32Array>;

/** A value for each parameter. */
export function randomValues(specs: readonly ParameterSpec[]): Values {
  return new Map(specs.map(({ name, shape }, i) => [name, randomNumbers(sizeOf(shape), i + 1)]));
}

/** Parameters cut and named as a naming says. */
export function tensorsIn(
  naming: Naming,
  specs: readonly ParameterSpec[],
  { dtype, values }: { readonly dtype: (spec: ParameterSpec) => DType; readonly values?: Values | undefined },
): FileTensor[] {
  const made = new Map<
    string,
    { dtype: DType; rows: number; rest: readonly number[]; parts: [number, Uint8Array][] }
  >();
  for (const spec of specs) {
    const type = dtype(spec);
    const row = bytesOf(type, sizeOf(spec.shape.slice(1)));
    const numbers = values?.get(spec.name);
    const bytes = numbers === undefined ? undefined : type === "bf16" ? bf16Bytes(numbers) : f32Bytes(numbers);
    let at = 0;
    for (const { key, rows, start = 0 } of naming(spec)) {
      const tensor = made.get(key) ?? { dtype: type, rows: 0, rest: spec.shape.slice(1), parts: [] };
      tensor.rows = Math.max(tensor.rows, start + rows);
      if (bytes !== undefined) tensor.parts.push([start * row, bytes.slice(at * row, (at + rows) * row)]);
      made.set(key, tensor);
      at += rows;
    }
  }
  return [...made].map(([name, { dtype, rows, rest, parts }]) => {
    const shape = [rows, ...rest];
    const data = parts.length === 0 ? undefined : new Uint8Array(bytesOf(dtype, sizeOf(shape)));
    for (const [at, bytes] of parts) data?.set(bytes, at);
    return { name, dtype, shape, data };
  });
}

export interface DitFileOptions extends DitNamingOptions {
  readonly dtype?: DType;
  readonly values?: Values;
}

export function ditTensors(config: DitConfig, layout: DitLayout, options: DitFileOptions = {}): FileTensor[] {
  const { dtype = "bf16", values, ...names } = options;
  return tensorsIn(ditNaming(layout, config, names), ditSpec(config), { dtype: () => dtype, values });
}

/** A checkpoint of which there is no file, for what reads names and shapes only. */
export function checkpointOf(tensors: readonly FileTensor[], about: Partial<Checkpoint> = {}): Checkpoint {
  const source = about.source ?? "/nowhere/model.safetensors";
  const entries = tensors.map(({ name, dtype, shape }): [string, TensorEntry] => {
    return [name, { name, dtype, shape, file: source, offset: 0, bytes: bytesOf(dtype, sizeOf(shape)) }];
  });
  return { source, format: "safetensors", files: [source], metadata: new Map(), ...about, entries: new Map(entries) };
}
