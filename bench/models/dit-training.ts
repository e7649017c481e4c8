/**
 * A training step of the transformer: the mean squared error of its velocity at one noise level, backward, and AdamW over
 * all parameters.
 */
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { backward, mean, randn, scope } from "../../lib/tensor.js";
import { velocityLosses } from "../../lib/train/objective.js";
import { Optimizer } from "../../lib/train/optimizer.js";
import { parametersOf } from "../../lib/train/parameters.js";
import type { BenchCase } from "../case.js";
import { type BenchDit, benchDit, describeDit, peerSizes, randomLatents, randomParams, randomText } from "./dit.js";

interface StepOptions {
  /** Blocks are computed again in the backward pass, in the peer too. */
  readonly checkpoint: boolean;
}

function trainingStep(size: BenchDit, { checkpoint }: StepOptions): BenchCase {
  const dtype = "f32";
  return {
    op: checkpoint ? "training step recomputed" : "training step",
    shape: describeDit(size),
    dtype,
    bound: "fma",
    memory: true,
    peer: { kind: "dit_train", dtype, checkpoint, ...peerSizes(size) },
    async open(device) {
      const dit = new HunyuanDit(size.config, randomParams(size, device, dtype));
      const optimizer = new Optimizer(parametersOf(dit.params), { lr: 1e-4 });
      const latents = randomLatents(size, device, dtype);
      const words = randomText(size, device, dtype);
      const noise = randn(latents.shape, { seed: 2, device });
      const sample = {
        ...words,
        latents,
        noise,
        sigmas: Float32Array.of(0.7),
        guidance: [6],
        dtype,
        checkpoint,
      } as const;
      await device.sync();
      return {
        run() {
          scope(() => backward(mean(velocityLosses(dit, sample))));
          scope(() => optimizer.step());
        },
        close() {
          for (const one of [latents, noise, words.text, words.pooled]) one.dispose();
          optimizer.dispose();
          dit.params.dispose();
        },
      };
    },
  };
}

/**
 * Narrow, with many tokens, as in training on whole clips: there the values that are kept for the backward pass are most of
 * the memory. At the width above they are less than the gradients, and computing them again saves nothing.
 */
const longClip: BenchDit = {
  config: { ...benchDit.config, hiddenSize: 256, numHeads: 2 },
  latents: [17, 32, 32],
};

export const ditTrainingCases: readonly BenchCase[] = [
  trainingStep(benchDit, { checkpoint: false }),
  trainingStep(longClip, { checkpoint: false }),
  trainingStep(longClip, { checkpoint: true }),
];
