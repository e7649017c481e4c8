/** The training objective: noise level from a draw, noisy latents, target and loss. */
import {
  flowLoss,
  logitNormalSigma,
  noisedEach,
  timestepScale,
  velocityTarget,
} from "../../../lib/models/dit/flow-matching.js";
import { scope, tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { type Family, type Outputs, type RunOptions, upload } from "./family.js";

function outputs(from: ConformanceCase, { device }: RunOptions): Outputs {
  const { shift } = from.about.config as { readonly shift: number };
  const u = from.input("u");
  const sigmas = Float32Array.from(u.data, (draw) => logitNormalSigma(draw, shift));
  return {
    "out.timestep": { shape: u.shape, data: sigmas.map((sigma) => sigma * timestepScale) },
    ...scope(() => {
      const input = (name: string) => upload(from.input(name), device, "f32");
      const [data, noise, predicted] = [input("x1"), input("x0"), input("model_output")] as const;
      return {
        "out.xt": noisedEach(data, noise, tensor(sigmas, { device })),
        "out.loss": flowLoss(predicted, velocityTarget(data, noise)),
      };
    }),
  };
}

export const flowTrain: Family = {
  name: "flow_train",
  fits: (from) => from.stored.has("in.u") && from.stored.has("in.x1"),
  f32Only: true,
  outputs,
};
