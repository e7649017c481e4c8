/** Steps of AdamW on the loss of a gradient case: the losses, and some parameters at the end. */
import { toSaved } from "../../../lib/nn/layout.js";
import { adamwStep, concat, grad, reshape, scope, type Tensor, zerosLike } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { lossInputs, lossOf } from "./dit-grad.js";
import { caseDit } from "./dit-inputs.js";
import type { Family, Outputs, RunOptions } from "./family.js";
import { trainable } from "./parameters.js";

interface OptimizerFacts {
  readonly name: string;
  readonly steps: number;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
}

const prefix = "out.param.";

function outputs(from: ConformanceCase, options: RunOptions): Outputs {
  const { steps, lr, beta1, beta2, eps, weight_decay: weightDecay, name } = from.about.optimizer as OptimizerFacts;
  if (name !== "AdamW") throw new Error(`${from.name}: the optimizer is ${name}, expected AdamW`);
  using model = caseDit(from, options);
  const { dit, specs } = model;
  return scope(() => {
    const params = trainable(dit.params, specs);
    const input = lossInputs(from, dit, options);
    const [m, v] = [params.map((p) => zerosLike(p)), params.map((p) => zerosLike(p))];
    const losses: Tensor<"f32">[] = [];
    for (let step = 1; step <= steps; step++) {
      const loss = lossOf(from, dit, input, options);
      const grads = grad(loss, params);
      adamwStep(params, grads as Tensor[], m, v, { lr, beta1, beta2, eps, weightDecay, step });
      for (const one of grads) one?.dispose();
      losses.push(reshape(loss, [1]));
    }
    losses.push(reshape(lossOf(from, dit, input, options), [1]));
    const made: { [name: string]: Tensor } = { "out.loss": concat(losses, 0) };
    for (const [i, spec] of specs.entries()) {
      if (from.stored.has(prefix + spec.name)) made[prefix + spec.name] = toSaved(params[i] as Tensor, spec, "f32");
    }
    return made;
  });
}

export const ditTrain: Family = {
  name: "dit_train",
  fits: (from) => from.about.optimizer !== undefined && from.expected.some((name) => name.startsWith(prefix)),
  // Parameters in bfloat16 would swallow a step of 1e-3; the original's are float32.
  f32Only: true,
  outputs,
  // The first step moves an element by lr times the sign of its gradient: one whose gradient is rounding noise may go
  // either way, and is among the few that may be off.
  rule: (_, name) => (name.startsWith(prefix) ? { mayBeOff: 0.001 } : undefined),
};
