/** Parameters to safetensors, in any naming convention: in the checkpoint's layout, and each in a type of its own. */
import { type TensorData, tensorChunks, type WriteOptions, writeSafetensors } from "../io/safetensors-write.js";
import { HunyuanError } from "../runtime/errors.js";
import { bytesOf, type DType } from "../tensor/dtype.js";
import { sizeOf } from "../tensor/shape.js";
import { type ForeignTensor, foreignTensors } from "./foreign.js";
import { toSaved } from "./layout.js";
import type { Params } from "./params.js";
import { type Naming, type ParameterSpec, releasedNaming } from "./spec.js";

export interface SaveOptions extends WriteOptions {
  /** The names under which it is saved. Default: the released checkpoint's. */
  readonly naming?: Naming | undefined;
  /** The type in which a parameter is saved. Default: the one in which it is held. */
  readonly dtype?: ((spec: ParameterSpec) => DType | undefined) | undefined;
}

/**
 * Saves the parameters of a model. They are read back from the device a piece at a time.
 *
 * @param path such as "diffusion_pytorch_model.safetensors"; more than `shardBytes` are split, with an index
 * @returns the files that were written
 * @throws FILE_ERROR, ABORTED, INVALID_ARGUMENT; then no file is there
 * @example await saveParams(params, ditSpec(config), "model.safetensors", { naming: diffusersNaming });
 */
export async function saveParams(
  params: Params,
  specs: readonly ParameterSpec[],
  path: string,
  options: SaveOptions = {},
): Promise<readonly string[]> {
  const tensors = foreignTensors(specs, options.naming ?? releasedNaming).map((foreign): TensorData => {
    const dtype = savedDType(params, foreign, options);
    return { name: foreign.name, dtype, shape: foreign.shape, chunks: () => chunks(params, foreign, dtype, options) };
  });
  return writeSafetensors(path, tensors, options);
}

function savedDType(params: Params, { name, parts }: ForeignTensor, { dtype }: SaveOptions): DType {
  const types = new Set(parts.map(({ spec }) => dtype?.(spec) ?? params.get(spec.name).dtype));
  const [first] = types;
  if (first !== undefined && types.size === 1) return first;
  const message = `saveParams: ${name} is made of parameters of several types (${[...types].join(", ")}); give them one`;
  throw new HunyuanError("INVALID_ARGUMENT", message, { op: "saveParams", argument: "dtype" });
}

async function* chunks(
  params: Params,
  { parts }: ForeignTensor,
  dtype: DType,
  { signal }: SaveOptions,
): AsyncGenerator<Uint8Array> {
  for (const { spec, from, rows } of parts) {
    const saved = toSaved(params.get(spec.name), spec, dtype);
    saved.moveTo(undefined);
    try {
      const rowBytes = bytesOf(dtype, sizeOf(spec.shape.slice(1)));
      yield* tensorChunks(saved, signal, from * rowBytes, rows * rowBytes);
    } finally {
      saved.dispose();
    }
  }
}
