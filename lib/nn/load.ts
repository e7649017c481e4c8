/** Parameters from checkpoints, streamed to the device: beyond the parameters themselves a bounded number of bytes is held. */
import { stat } from "node:fs/promises";
import type { Checkpoint } from "../io/tensor-file.js";
import { concat } from "../ops/concat.js";
import { slice } from "../ops/views.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError, isHunyuanError } from "../runtime/errors.js";
import type { DType } from "../tensor/dtype.js";
import { fileTensor } from "../tensor/file.js";
import { scope } from "../tensor/scope.js";
import { sameShape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { toDevice } from "./layout.js";
import { Params, ResidentStore } from "./params.js";
import { findSources, heldDType, missingKeys, type ParameterSource, rowsOf } from "./sources.js";
import { type Naming, type ParameterSpec, releasedNaming } from "./spec.js";

export interface LoadProgress {
  readonly loadedBytes: number;
  /** Bytes of the checkpoint that are read in all. */
  readonly totalBytes: number;
}

export interface HoldOptions {
  /** What parameters are held in. */
  readonly dtype: DType;
  /** Another type for some of them: `f8e4m3` weights that stay so, norms in f32. undefined: `dtype`. */
  readonly keep?: ((spec: ParameterSpec) => DType | undefined) | undefined;
}

export interface LoadOptions extends HoldOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** Bytes of files, and tensors, that may be on their way at once. */
const maxBytesInFlight = 256 * 2 ** 20;
const maxTensorsInFlight = 1024;

/**
 * Reads the parameters of a model into the device. The checkpoint's tensors go through the transfer lane and are
 * permuted and converted on the device; nothing is held twice but what is on its way (256 MiB of files).
 *
 * @param naming of which tensors of the checkpoint each parameter is made
 * @throws CHECKPOINT_INVALID for keys that are missing, shapes and types that do not fit, and files that end early
 * @throws FILE_ERROR, OUT_OF_MEMORY, ABORTED. Whatever the error: nothing stays on the device.
 * @example
 * const params = await loadParams(device, await openCheckpoint(path), ditSpec(config), releasedNaming, { dtype: "bf16" });
 */
export async function loadParams(
  device: Device,
  checkpoint: Checkpoint,
  specs: readonly ParameterSpec[],
  naming: Naming,
  options: LoadOptions,
): Promise<Params> {
  return loadSources(device, findSources(checkpoint, specs, naming), options);
}

/** The same for parameters that have been found already. */
export async function loadSources(
  device: Device,
  sources: readonly ParameterSource[],
  options: LoadOptions,
): Promise<Params> {
  const wanted = sources.map((source) => heldDType(source, options.keep?.(source.spec) ?? options.dtype));
  const totalBytes = sources.reduce((sum, { bytes }) => sum + bytes, 0);
  const store = new ResidentStore([]);
  let loadedBytes = 0;
  try {
    for (let i = 0; i < sources.length; ) {
      const batch: ParameterSource[] = [];
      for (let bytes = 0; i < sources.length && bytes < maxBytesInFlight && batch.length < maxTensorsInFlight; i++) {
        const source = sources[i] as ParameterSource;
        store.replace(source.spec.name, queueSource(device, source, wanted[i] as DType));
        batch.push(source);
        bytes += source.bytes;
      }
      await finish(device, batch, options.signal);
      for (const { bytes } of batch) loadedBytes += bytes;
      options.onProgress?.({ loadedBytes, totalBytes });
    }
  } catch (error) {
    store.dispose();
    // What was queued behind the failure ends too, so that the caller finds the device as it was.
    await device.sync().catch(() => {});
    throw error;
  }
  return new Params(store);
}

/** Queues a parameter's reading and its conversion. */
export function queueSource(device: Device, { spec, dtype, extents, keys }: ParameterSource, as: DType): Tensor {
  return scope(() => toDevice(fileTensor(device, dtype, spec.shape, extents, { label: keys.join(" + ") }), spec, as));
}

async function finish(
  device: Device,
  batch: readonly ParameterSource[],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await device.sync(signal === undefined ? {} : { signal });
  } catch (error) {
    throw isHunyuanError(error, "FILE_ERROR") ? await readFailure(batch, error) : error;
  }
}

/**
 * What became of the files between the reading of their headers and now: the first source whose bytes are not there.
 * A file that is gone stays a FILE_ERROR.
 */
export async function readFailure(batch: readonly ParameterSource[], cause: HunyuanError): Promise<HunyuanError> {
  const sizes = new Map<string, number>();
  for (const { extents, keys } of batch) {
    for (const [i, { file, offset, bytes }] of extents.entries()) {
      let size = sizes.get(file);
      if (size === undefined) {
        size = await stat(file)
          .then((found) => found.size)
          .catch(() => -1);
        sizes.set(file, size);
      }
      if (size < 0) return new HunyuanError("FILE_ERROR", cause.message, { op: "loadParams", file }, { cause });
      if (offset + bytes <= size) continue;
      const key = keys[i] ?? "";
      const message = `${file}: ${key}: the file has become shorter: it ends at byte ${size}, the tensor at ${offset + bytes}`;
      return new HunyuanError("CHECKPOINT_INVALID", message, { file, key }, { cause });
    }
  }
  return cause;
}

export interface FromTensorsOptions extends Partial<HoldOptions> {
  /** Default: the released checkpoint's names. */
  readonly naming?: Naming;
}

/**
 * The same from tensors in memory, under the checkpoint's names and in its layout. The tensors stay the caller's.
 *
 * @param options without a dtype, each parameter keeps its own
 * @throws CHECKPOINT_INVALID for keys that are missing and shapes that do not fit
 * @example paramsFromTensors(vaeSpec(config), weights, { dtype: "f32" })
 */
export function paramsFromTensors(
  specs: readonly ParameterSpec[],
  tensors: ReadonlyMap<string, Tensor>,
  { dtype, keep, naming = releasedNaming }: FromTensorsOptions = {},
): Params {
  const missing = specs.flatMap((spec) => naming(spec).map(({ key }) => key)).filter((key) => !tensors.has(key));
  if (missing.length > 0) throw missingKeys("the given tensors", [...new Set(missing)]);
  const store = new ResidentStore([]);
  try {
    for (const spec of specs) {
      const made = scope(() => {
        const saved = assemble(spec, tensors, naming);
        return toDevice(saved, spec, keep?.(spec) ?? dtype ?? saved.dtype);
      });
      store.replace(spec.name, made);
    }
  } catch (error) {
    store.dispose();
    throw error;
  }
  return new Params(store);
}

function assemble(spec: ParameterSpec, tensors: ReadonlyMap<string, Tensor>, naming: Naming): Tensor {
  const parts = naming(spec).map(({ key, start = 0, rows }) => {
    const whole = tensors.get(key) as Tensor;
    const taken = start === 0 && rows === rowsOf(whole.shape) ? whole.alias() : slice(whole, 0, start, start + rows);
    const [, ...rest] = spec.shape;
    if (!sameShape(taken.shape.slice(1), rest)) {
      const message = `${key}: is ${showShape(whole.shape)}, expected rows of ${showShape(rest)} for ${spec.name}`;
      throw new HunyuanError("CHECKPOINT_INVALID", message, { key });
    }
    return taken;
  });
  const [first] = parts;
  const saved = parts.length === 1 && first !== undefined ? first : concat(parts);
  if (sameShape(saved.shape, spec.shape)) return saved;
  const message = `${spec.name}: is ${showShape(saved.shape)}, expected ${showShape(spec.shape)}`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { key: spec.name });
}
