/** What a family of cases is: how its outputs are computed from its JSON and its tensors. */
import { type Device, type DType, permute, Tensor, tensor } from "../../../lib/tensor.js";
import type { FixtureTensor } from "../../support/safetensors.js";
import type { ConformanceCase } from "../case-file.js";
import type { HostTensor, Rule, RunDType, Verdict } from "../compare.js";

export interface RunOptions {
  readonly device: Device;
  readonly dtype: RunDType;
}

/** Outputs by the name under which the case holds them, in the case's own layout. The runner disposes of tensors. */
export type Outputs = { readonly [name: string]: Tensor | HostTensor };

export interface Family {
  readonly name: string;
  /** Whether a case is of this family, by its name, config or tensor names. */
  fits(from: ConformanceCase): boolean;
  /** Families that are float32 in the reference too compute in it whatever was asked for. */
  readonly f32Only?: boolean;
  outputs(from: ConformanceCase, options: RunOptions): Outputs | Promise<Outputs>;
  rule?(from: ConformanceCase, name: string, options: RunOptions): Rule | undefined;
  /** Checks that are no tensors of the case. */
  extra?(from: ConformanceCase, options: RunOptions): Promise<{ readonly [name: string]: Verdict }>;
}

/** Puts a stored tensor on the device as it is. */
export function upload<D extends DType>(stored: FixtureTensor, device: Device, dtype: D): Tensor<D> {
  return tensor(stored.data, { dtype, shape: stored.shape, device });
}

/** The elements of a tensor as numbers. */
export async function toHost(value: Tensor | HostTensor): Promise<HostTensor> {
  if (!(value instanceof Tensor)) return value;
  const { shape } = value;
  const data = await value.read();
  return { shape, data: data instanceof BigInt64Array ? Array.from(data, Number) : data };
}

/** [B, C, T, H, W] as [B, T, H, W, C]; so also a convolution's weights. */
export function channelsLast<D extends DType>(x: Tensor<D>): Tensor<D> {
  return permute(x, [0, 2, 3, 4, 1]);
}

/** [B, T, H, W, C] as [B, C, T, H, W]. */
export function channelsFirst<D extends DType>(x: Tensor<D>): Tensor<D> {
  return permute(x, [0, 4, 1, 2, 3]);
}

/** A number that a config gives, or that its prose names ("4 groups over …", "eps 1e-6"). */
export function numberInWords(config: { readonly [key: string]: unknown }, key: string, pattern: RegExp): number {
  const text = config[key];
  const found = typeof text === "string" ? pattern.exec(text)?.[1] : undefined;
  if (found === undefined) throw new Error(`config.${key} is ${JSON.stringify(text)}, expected words like ${pattern}`);
  return Number(found);
}
