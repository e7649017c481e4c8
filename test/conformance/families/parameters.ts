/** A case's weights as a model's parameters. */
import { paramsFromTensors } from "../../../lib/nn/load.js";
import type { Params } from "../../../lib/nn/params.js";
import type { ParameterSpec } from "../../../lib/nn/spec.js";
import { type FloatDType, requiresGrad, type Tensor, tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { RunOptions } from "./family.js";

/** The parameters that the specs name, each from this case or from one that it refers to. */
export function caseParams(from: ConformanceCase, specs: readonly ParameterSpec[], options: RunOptions): Params {
  const { device, dtype } = options;
  const uploaded = new Map<string, Tensor>();
  try {
    for (const { name } of specs) {
      const stored = from.weight(name);
      if (stored === undefined) continue;
      uploaded.set(name, tensor(stored.data, { dtype, shape: stored.shape, device }));
    }
    return paramsFromTensors(specs, uploaded, { dtype });
  } finally {
    for (const one of uploaded.values()) one.dispose();
  }
}

/** Every parameter as a leaf, in the order of the specs. */
export function trainable(params: Params, specs: readonly ParameterSpec[]): Tensor<FloatDType>[] {
  return specs.map(({ name }) => requiresGrad(params.get<FloatDType>(name)));
}
