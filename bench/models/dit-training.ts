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
        sigmas: new Float32Array(size.batch).fill(0.7),
        guidance: Array.from({ length: size.batch }, () => 6),
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
 * In batches, as training has them: there the values that are kept for the backward pass are most of the memory. With one
 * clip they are less than the gradients and moments, and computing them again saves little.
 */
const batched: BenchDit = { ...benchDit, batch: 8 };

export const ditTrainingCases: readonly BenchCase[] = [
  trainingStep(benchDit, { checkpoint: false }),
  trainingStep(batched, { checkpoint: false }),
  trainingStep(batched, { checkpoint: true }),
];
