/** From saved noise and text states to a video: transformer, schedule, decoder. */
import { sampleStep } from "../../../lib/diffusion/sampler.js";
import { flowSchedule } from "../../../lib/diffusion/schedule.js";
import { add, cast, clamp, contiguous, type FloatDType, mul, scope, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { velocityModel } from "./dit.js";
import { caseDit, latentInput, textInputs } from "./dit-inputs.js";
import { channelsFirst, type Family, type Outputs, type RunOptions } from "./family.js";
import { caseVae, hasVae } from "./vae-model.js";

interface EndToEndConfig {
  readonly steps: number;
  readonly shift: number;
  readonly embedded_guidance_scale?: number;
}

const settingsOf = (from: ConformanceCase) => from.about.config as unknown as EndToEndConfig;

/** Latents after each step, [B, T, H, W, C], f32; they belong to the caller's scope. */
function sampled(from: ConformanceCase, options: RunOptions): Tensor<"f32">[] {
  const { steps, shift, embedded_guidance_scale: guidance } = settingsOf(from);
  using model = caseDit(from, options);
  const { dit } = model;
  return scope(() => {
    const sampler = {
      model: velocityModel(dit, options.dtype),
      schedule: flowSchedule(steps, shift),
      prompt: textInputs(from, options),
      guidance: dit.config.guidanceEmbed ? guidance : undefined,
    };
    const all: Tensor<"f32">[] = [];
    for (let index = 0; index < steps; index++) {
      all.push(sampleStep(all.at(-1) ?? latentInput(from, "latents", options), index, sampler).latents);
    }
    return all;
  });
}

function outputs(from: ConformanceCase, options: RunOptions): Outputs {
  const { steps, shift } = settingsOf(from);
  const { sigmas, timesteps } = flowSchedule(steps, shift);
  const { vae } = caseVae(from, options);
  try {
    return scope(() => {
      const latents = sampled(from, options);
      const z = vae.unscaleLatents(latents.at(-1) as Tensor<"f32">);
      const decoded = vae.decode(cast(z, options.dtype) as Tensor<FloatDType>);
      return {
        "mid.sigmas": { shape: [sigmas.length], data: sigmas },
        "mid.timesteps": { shape: [timesteps.length], data: timesteps },
        ...Object.fromEntries(latents.map((one, i) => [`out.latents.${i}`, channelsFirst(one)])),
        "out.decoded": channelsFirst(decoded),
        "out.video": contiguous(channelsFirst(clamp(add(mul(cast(decoded, "f32"), 0.5), 0.5), { min: 0, max: 1 }))),
      };
    });
  } finally {
    vae.dispose();
  }
}

export const endToEnd: Family = {
  name: "e2e",
  fits: (from) =>
    hasVae(from) && from.withConfig("hidden_size") !== undefined && from.findInput("text_states") !== undefined,
  outputs,
};
