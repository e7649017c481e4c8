/** Gradients of reconstruction and KL through encoding, a draw with given noise, and decoding. */
import { klDivergence, samplePosterior } from "../../../lib/models/vae/posterior.js";
import {
  add,
  cast,
  concat,
  contiguous,
  grad,
  l1,
  mean,
  mul,
  requiresGrad,
  reshape,
  scope,
} from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { channelsFirst, type Family, type Outputs, type RunOptions } from "./family.js";
import { gradientRule, hasGradients, savedGradients } from "./gradients.js";
import { trainable } from "./parameters.js";
import { caseVae, clipInput, hasVae } from "./vae-model.js";

/** Weight of the KL in the loss, as the case's prose has it ("… + 1e-6*KL"). */
function klWeight(from: ConformanceCase): number {
  return Number(/\+ ([\d.e-]+)\*KL/.exec(String(from.about.what))?.[1] ?? 1e-6);
}

function outputs(from: ConformanceCase, options: RunOptions): Outputs {
  const { vae, specs } = caseVae(from, options);
  try {
    return scope(() => {
      const leaves = trainable(vae.params, specs);
      const video = requiresGrad(clipInput(from, "video", options));
      const posterior = vae.encode(video);
      const decoded = vae.decode(samplePosterior(posterior, { noise: clipInput(from, "eps", options) }));
      const target = cast(clipInput(from, "video", options), "f32");
      const reconstruction = l1(cast(decoded, "f32"), target);
      const kl = cast(mean(klDivergence(posterior)), "f32");
      const loss = add(reconstruction, mul(kl, klWeight(from)));
      const grads = grad(loss, [...leaves, video]);
      const ofVideo = grads[specs.length];
      const made = {
        "out.loss": concat([loss, reconstruction, kl].map((one) => reshape(one, [1]))),
        ...savedGradients(specs, grads),
        ...(ofVideo === undefined ? {} : { "out.grad_in.video": contiguous(channelsFirst(ofVideo)) }),
      };
      ofVideo?.dispose();
      return made;
    });
  } finally {
    vae.dispose();
  }
}

export const vaeGrad: Family = {
  name: "vae_grad",
  fits: (from) => hasVae(from) && hasGradients(from),
  outputs,
  rule: gradientRule,
};
