/** Gradients of parameters in the case's layout, and how they are compared. */
import { toSaved } from "../../../lib/nn/layout.js";
import type { ParameterSpec } from "../../../lib/nn/spec.js";
import type { Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { Rule } from "../compare.js";
import type { Outputs } from "./family.js";

const prefix = "out.grad.";

export function hasGradients(from: ConformanceCase): boolean {
  return from.expected.some((name) => name.startsWith(prefix));
}

/** One output for each parameter that has a gradient, as the checkpoint lays it out; takes the gradients over. */
export function savedGradients(specs: readonly ParameterSpec[], grads: readonly (Tensor | undefined)[]): Outputs {
  const made: { [name: string]: Tensor } = {};
  specs.forEach((spec, i) => {
    const held = grads[i];
    if (held === undefined) return;
    made[prefix + spec.name] = toSaved(held, spec, "f32");
    held.dispose();
  });
  return made;
}

/**
 * The gradient of a key bias is zero in exact arithmetic, since softmax does not see a shift common to all keys: what is
 * stored is rounding noise, to be measured against the case's largest gradient. (In a fused qkv bias the tensor's own
 * largest value, which belongs to q and v, does the same.)
 */
export function gradientRule(from: ConformanceCase, name: string): Rule | undefined {
  if (!/^out\.grad\..*\bto_k\.bias$/.test(name)) return undefined;
  const largest = Object.entries(from.about.tensors)
    .filter(([other]) => other.startsWith(prefix))
    .reduce((max, [, { absmax = 0 }]) => Math.max(max, absmax), 0);
  return { scale: from.about.largest_gradient ?? largest };
}
