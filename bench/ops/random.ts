/** Random numbers: our counter-based generator, and PyTorch's, which is one sequence after another by its nature. */
import { rand, randn } from "../../lib/tensor.js";
import { type BenchCase, forward } from "../case.js";

/** Latents of a 720p clip are 30 million numbers. */
const shape = [1, 33, 90, 160, 64];
/** Random tensors take their device from the options; this input says which. */
const device = { shape: [1], dtype: "f32" } as const;

export const cases: readonly BenchCase[] = (["philox", "torch"] as const).flatMap((rng) => [
  forward({
    op: `rand ${rng}`,
    shape: "[1, 33, 90, 160, 64]",
    dtype: "f32",
    bound: "copy",
    inputs: { device },
    run: (t) => rand(shape, { seed: 1, rng, device: t.device.device }),
  }),
  forward({
    op: `randn ${rng}`,
    shape: "[1, 33, 90, 160, 64]",
    dtype: "f32",
    bound: "copy",
    inputs: { device },
    run: (t) => randn(shape, { seed: 1, rng, device: t.device.device }),
  }),
]);
