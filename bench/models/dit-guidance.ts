/** What distillation saves: a sampling step of a model that takes its guidance as an input, beside one of true guidance. */
import { type SamplerOptions, sampleStep } from "../../lib/diffusion/sampler.js";
import { flowSchedule } from "../../lib/diffusion/schedule.js";
import { ditVelocity } from "../../lib/diffusion/velocity.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { noGrad, scope } from "../../lib/tensor.js";
import type { BenchCase } from "../case.js";
import { benchDit, describeDit, randomLatents, randomParams, randomText } from "./dit.js";

const scale = 6;

function guidedStep(dtype: "f32" | "bf16"): BenchCase {
  return {
    op: "guided sampling step",
    shape: describeDit(benchDit),
    dtype,
    bound: "fma",
    async open(device) {
      const params = randomParams(benchDit, device, dtype);
      const student = new HunyuanDit(benchDit.config, params);
      const teacher = new HunyuanDit({ ...benchDit.config, guidanceEmbed: false }, params);
      const latents = randomLatents(benchDit, device, "f32");
      const prompt = randomText(benchDit, device, dtype);
      const rope = student.ropeTables(latents.shape, device);
      const schedule = flowSchedule(50, 7);
      const step = (dit: HunyuanDit, guidance: Partial<SamplerOptions>) => {
        const options = { model: ditVelocity(dit, dtype, rope), schedule, prompt, ...guidance };
        noGrad(() => scope(() => void sampleStep(latents, 0, options)));
      };
      await device.sync();
      return {
        run: () => step(student, { guidance: scale }),
        against: { what: "true guidance", run: () => step(teacher, { trueCfgScale: scale, negative: prompt }) },
        close() {
          for (const one of [latents, prompt.text, prompt.pooled, rope.cos, rope.sin]) one.dispose();
          params.dispose();
        },
      };
    },
  };
}

export const ditGuidanceCases: readonly BenchCase[] = [guidedStep("f32")];
