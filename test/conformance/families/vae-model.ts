/** Autoencoder cases: the model, and clips in its layout. */
import { CausalVae } from "../../../lib/models/vae/model.js";
import { vaeConfigOfReference } from "../../../lib/models/vae/reference-config.js";
import { vaeSpec } from "../../../lib/models/vae/spec.js";
import type { ParameterSpec } from "../../../lib/nn/spec.js";
import { contiguous, type FloatDType, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { channelsLast, type RunOptions, upload } from "./family.js";
import { caseParams } from "./parameters.js";

const key = "block_out_channels";

export function hasVae(from: ConformanceCase): boolean {
  return from.withConfig(key) !== undefined;
}

/** The config of the case whose weights are used, with what this case gives in its place. */
export function caseVae(from: ConformanceCase, options: RunOptions): { vae: CausalVae; specs: ParameterSpec[] } {
  const own = from.about.config;
  const scale = own.scaling_factor === undefined ? {} : { scaling_factor: own.scaling_factor };
  const config = vaeConfigOfReference({ ...from.withConfig(key)?.about.config, ...scale });
  const specs = vaeSpec(config);
  return { vae: new CausalVae(config, caseParams(from, specs, options)), specs };
}

/** A clip or latents, channels last, in the type of the computation. */
export function clipInput(from: ConformanceCase, name: string, { device, dtype }: RunOptions): Tensor<FloatDType> {
  return contiguous(channelsLast(upload(from.input(name), device, dtype) as Tensor<FloatDType>));
}
