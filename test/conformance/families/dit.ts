/** A forward pass of the transformer with its intermediates; for image-to-video a step of sampling besides. */

import type { ImageLatents } from "../../../lib/diffusion/conditioning.js";
import { sampleStep, type VelocityModel } from "../../../lib/diffusion/sampler.js";
import { flowSchedule } from "../../../lib/diffusion/schedule.js";
import type { HunyuanDit } from "../../../lib/models/dit/model.js";
import { cast, type FloatDType, scope, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import {
  caseDit,
  guidanceInput,
  holdsText,
  latentInput,
  textInputs,
  textLengths,
  textRowsRule,
  withPaddedRows,
} from "./dit-inputs.js";
import { channelsFirst, type Family, type Outputs, type RunOptions, upload } from "./family.js";
import { collect } from "./probe.js";

/** The transformer as the sampler asks it: f32 latents in, computed in the model's type. */
export function velocityModel(dit: HunyuanDit, dtype: FloatDType): VelocityModel {
  return ({ latents, ...input }) => scope(() => dit.forward({ ...input, latents: cast(latents, dtype) }));
}

async function outputs(from: ConformanceCase, options: RunOptions): Promise<Outputs> {
  const { device, dtype } = options;
  using model = caseDit(from, options);
  const { dit } = model;
  const { probe, all } = collect(from, (name, seen) =>
    holdsText(from, name) ? withPaddedRows(seen, from.stored.get(name)?.shape[1] ?? 0) : seen,
  );
  const x = scope(() => {
    const latents = cast(latentInput(from, "latents", options), dtype) as Tensor<FloatDType>;
    const timestep = upload(from.input("timestep"), device, "f32");
    const guidance = guidanceInput(from, dit.config, options);
    return channelsFirst(dit.forward({ ...textInputs(from, options), ...guidance, latents, timestep }, { probe }));
  });
  const step = from.about.step === undefined ? {} : stepOutputs(from, dit, options);
  return { ...(await all()), "out.x": x, ...step };
}

interface StepFacts {
  readonly steps: number;
  readonly shift: number;
  readonly index: number;
}

/** One step of image-to-video sampling: the schedule's steps, shift and index stand in the JSON. */
function stepOutputs(from: ConformanceCase, dit: HunyuanDit, options: RunOptions): Outputs {
  const { steps, shift, index } = from.about.step as StepFacts;
  const mode = dit.config.i2v;
  if (mode === undefined) throw new Error(`${from.name}: a step with an image, but config.i2v_condition_type is none`);
  return scope(() => {
    const image: ImageLatents = { latents: latentInput(from, "image_latents", options), mode };
    const guidance = dit.config.guidanceEmbed ? (from.input("guidance").data[0] ?? 0) / 1000 : undefined;
    const step = sampleStep(latentInput(from, "latents", options), index, {
      model: velocityModel(dit, options.dtype),
      schedule: flowSchedule(steps, shift),
      prompt: textInputs(from, options),
      guidance,
      image,
    });
    return {
      "out.step_velocity": channelsFirst(step.velocity),
      "out.step_latents": channelsFirst(step.latents),
    };
  });
}

export const dit: Family = {
  name: "dit",
  fits: (from) => from.withConfig("hidden_size") !== undefined && from.stored.has("out.x"),
  outputs,
  rule(from, name) {
    if (!holdsText(from, name)) return undefined;
    return textRowsRule(from, name, textLengths(from), from.input("text_mask").shape[1] ?? 0);
  },
};
