/** PyTorch's CPU generator: seed and shape stand in the tensors' names. */
import { concat, rand, randn, scope, type Tensor, torchGenerator } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { Family, Outputs, RunOptions } from "./family.js";

const drawn = /^out\.(randn?)_seed(\d+)_(?:n(\d+)|(\d+(?:x\d+)+))$/;

function outputs(from: ConformanceCase, { device }: RunOptions): Outputs {
  const made: { [name: string]: Tensor } = {};
  for (const name of from.expected) {
    const [, kind, seed, count, sizes] = drawn.exec(name) ?? [];
    if (kind === undefined) continue;
    const shape = count !== undefined ? [Number(count)] : (sizes ?? "").split("x").map(Number);
    const draw = kind === "rand" ? rand : randn;
    made[name] = draw(shape, { seed: Number(seed), rng: "torch", device });
  }
  const { sequence } = from.about.config as { readonly sequence?: { readonly seed: number; readonly sizes: number[] } };
  if (sequence !== undefined) {
    made["out.sequence"] = scope(() => {
      const generator = torchGenerator(sequence.seed);
      return concat(sequence.sizes.map((n) => randn([n], { generator, device })));
    });
  }
  return made;
}

export const rngTorch: Family = {
  name: "rng_torch",
  fits: (from) => from.expected.some((name) => drawn.test(name)),
  f32Only: true,
  outputs,
};
