/** Gradients of the transformer's parameters and inputs. */
import type { HunyuanDit } from "../../../lib/models/dit/model.js";
import {
  cast,
  contiguous,
  type FloatDType,
  grad,
  mse,
  requiresGrad,
  reshape,
  scope,
  type Tensor,
} from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { caseDit, guidanceInput, latentInput, textInputs } from "./dit-inputs.js";
import { channelsFirst, type Family, type Outputs, type RunOptions, upload } from "./family.js";
import { gradientRule, hasGradients, savedGradients } from "./gradients.js";
import { trainable } from "./parameters.js";

/** The inputs that gradients are asked of, with the others; made in a scope of the caller's. */
export function lossInputs(from: ConformanceCase, dit: HunyuanDit, options: RunOptions) {
  const { text, textLengths, pooled } = textInputs(from, options);
  const latents = cast(latentInput(from, "latents", options), options.dtype) as Tensor<FloatDType>;
  const timestep = upload(from.input("timestep"), options.device, "f32");
  return { latents, timestep, text, textLengths, pooled, ...guidanceInput(from, dit.config, options) };
}

/** Mean squared error against in.target, in f32. */
export function lossOf(
  from: ConformanceCase,
  dit: HunyuanDit,
  input: ReturnType<typeof lossInputs>,
  options: RunOptions,
): Tensor<"f32"> {
  return scope(() => mse(cast(dit.forward(input), "f32"), latentInput(from, "target", options)));
}

function outputs(from: ConformanceCase, options: RunOptions): Outputs {
  using model = caseDit(from, options);
  const { dit, specs } = model;
  return scope(() => {
    const leaves = trainable(dit.params, specs);
    const input = lossInputs(from, dit, options);
    const inputs = [input.latents, input.text, input.pooled].map((leaf) => requiresGrad(leaf));
    const loss = lossOf(from, dit, input, options);
    const grads = grad(loss, [...leaves, ...inputs]);
    const [latents, text, pooled] = grads.slice(specs.length);
    const made = {
      "out.loss": reshape(loss, [1]),
      ...savedGradients(specs, grads),
      ...(latents === undefined ? {} : { "out.grad_in.latents": contiguous(channelsFirst(latents)) }),
      ...(text === undefined ? {} : { "out.grad_in.text_states": text }),
      ...(pooled === undefined ? {} : { "out.grad_in.text_states_2": pooled }),
    };
    latents?.dispose();
    return made;
  });
}

export const ditGrad: Family = {
  name: "dit_grad",
  fits: (from) => from.withConfig("hidden_size") !== undefined && hasGradients(from),
  outputs,
  rule: gradientRule,
};
