/**
 * What an autoencoder is trained for: its clips back, latents near a normal distribution, and a judge that cannot tell.
 *
 * Source of the terms and of the weights that are the default: Kong et al., "HunyuanVideo: A Systematic Framework For Large
 * Video Generative Models" (arXiv 2412.03603), §4.1.1.
 */
import { detach, grad, requiresGrad } from "../../autograd/backward.js";
import type { CausalVae } from "../../models/vae/model.js";
import { klDivergence, samplePosterior } from "../../models/vae/posterior.js";
import type { TilingOption } from "../../models/vae/tiling.js";
import { cast } from "../../ops/copy.js";
import { mse } from "../../ops/loss.js";
import { globalNorm } from "../../ops/optim.js";
import { add, div, mul } from "../../ops/pointwise.js";
import { mean, sum } from "../../ops/reduce.js";
import { clamp } from "../../ops/unary.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { PatchDiscriminator } from "./discriminator.js";
import { adversarialLoss, edgeWeightedL1, hingeLoss, type LossDType } from "./losses.js";
import type { Lpips } from "./lpips.js";

/** What each term counts; a term of weight 0 is not computed. */
export interface VaeLossWeights {
  /** Mean absolute difference. */
  readonly l1: number;
  /** How much more of it a pixel at an edge of the target counts: see `edgeWeightedL1`. */
  readonly edge: number;
  /** Mean squared difference. */
  readonly mse: number;
  /** LPIPS. Counts only where its weights are given. */
  readonly perceptual: number;
  /** The discriminator's answer to reconstructions. Counts only where there is a discriminator. */
  readonly adversarial: number;
  /** Distance of the latents from the standard normal, summed over the latents of a sample, the mean of the samples. */
  readonly kl: number;
}

/** HunyuanVideo's. */
export const vaeLossWeights = {
  l1: 1,
  edge: 0,
  mse: 0,
  perceptual: 0.1,
  adversarial: 0.05,
  kl: 1e-6,
} as const satisfies VaeLossWeights;

export interface VaeObjectiveOptions {
  /** What is not given has HunyuanVideo's weight. */
  readonly weights?: Partial<VaeLossWeights> | undefined;
  readonly lpips?: Lpips | undefined;
  readonly discriminator?: PatchDiscriminator | undefined;
  /**
   * Multiplies the adversarial weight by the norm of the other losses' gradient over that of the adversarial loss, both at
   * the reconstruction, so that it keeps its share as losses shrink. Default false.
   *
   * Esser et al., "Taming Transformers" (arXiv 2012.09841), eq. 7, who compare gradients at the last layer's weights.
   */
  readonly adaptive?: boolean | undefined;
}

/** What differs from step to step. */
export interface VaeStepChoices<D extends FloatDType = FloatDType> {
  /** The noise that latents are drawn with, [B, n + 1, H/8, W/8, 16] in the clip's type, or a seed for it. */
  readonly draw: { readonly seed: number } | { readonly noise: Tensor<D> };
  /** Whether the discriminator takes part. Default true, where there is one. */
  readonly adversarial?: boolean;
  /** Tiles in which the clip goes through both halves. Default "off". */
  readonly tiling?: Exclude<TilingOption, "auto">;
}

/** Every tensor is one number and the caller's. */
export interface VaeLosses {
  /**
   * Has the gradient of the whole loss for the autoencoder's parameters: call `backward` with it. Its value says nothing;
   * that of the loss is `parts.loss`.
   */
  readonly autoencoder: Tensor<LossDType>;
  /** The discriminator's own loss, to be minimised by its parameters; undefined where it takes no part. */
  readonly discriminator: Tensor<LossDType> | undefined;
  /** Each term before its weight, and `loss`, their weighted sum. Without gradients. */
  readonly parts: { readonly [name: string]: Tensor<LossDType> };
}

/** Ends of the adaptive factor, and what keeps it finite. */
const adaptiveLimits = { min: 0, max: 1e4 } as const;
const adaptiveEps = 1e-4;

/**
 * The objective of one autoencoder. The losses are differentiated at the reconstruction first; that gradient then goes
 * through the autoencoder once, whatever the number of terms.
 *
 * @example
 * using objective = new VaeObjective(vae, { weights: { edge: 4, mse: 4 } });
 * const losses = objective.losses(clip, { draw: { seed: step } });
 * backward(losses.autoencoder);
 */
export class VaeObjective implements Disposable {
  readonly weights: VaeLossWeights;
  readonly #vae: CausalVae;
  readonly #lpips: Lpips | undefined;
  readonly #judge: PatchDiscriminator | undefined;
  readonly #frozenJudge: PatchDiscriminator | undefined;
  readonly #adaptive: boolean;

  /** @throws INVALID_ARGUMENT for weights below 0 and when nothing compares clips */
  constructor(vae: CausalVae, options: VaeObjectiveOptions = {}) {
    const { lpips, discriminator, adaptive = false } = options;
    this.weights = checkedWeights({ ...vaeLossWeights, ...options.weights }, lpips !== undefined);
    this.#vae = vae;
    this.#lpips = this.weights.perceptual > 0 ? lpips : undefined;
    this.#judge = this.weights.adversarial > 0 ? discriminator : undefined;
    this.#frozenJudge = this.#judge?.frozen();
    this.#adaptive = adaptive;
  }

  /** The terms that are computed, for logs: "l1", "kl" and so on. */
  get terms(): readonly string[] {
    const { l1, mse, kl } = this.weights;
    const all = { l1: l1 > 0, mse: mse > 0, perceptual: this.#lpips, adversarial: this.#judge, kl: kl > 0 };
    return Object.entries(all).flatMap(([name, on]) => (on ? [name] : []));
  }

  /**
   * Losses of a batch of clips of one size. Nothing but tensors of one element and the tape is left of it.
   *
   * @param clip [B, 4n + 1, H, W, 3], values in −1 … 1; its type is that of the computation, losses are f32 (f64 for f64)
   * @throws SHAPE_MISMATCH, INVALID_ARGUMENT
   */
  losses<D extends FloatDType>(
    clip: Tensor<D>,
    { draw, tiling = "off", adversarial = true }: VaeStepChoices<D>,
  ): VaeLosses {
    const as: LossDType = clip.dtype === "f64" ? "f64" : "f32";
    const { weights } = this;
    return scope(() => {
      const posterior = this.#vae.encode(clip, { tiling });
      const again = cast(this.#vae.decode(samplePosterior(posterior, draw), { tiling }), as);
      const target = cast(detach(clip), as);
      const { gradient, loss, parts } = this.#compare(requiresGrad(detach(again)), target, adversarial);
      const kl = mean(klDivergence(posterior));
      const discriminator = adversarial ? this.#discriminatorLoss(target, detach(again)) : undefined;
      return {
        autoencoder: add(sum(mul(again, gradient)), mul(kl, weights.kl)),
        discriminator,
        parts: {
          loss: add(loss, detach(mul(kl, weights.kl))),
          ...parts,
          kl: detach(kl),
          ...(discriminator === undefined ? {} : { discriminator: detach(discriminator) }),
        },
      };
    });
  }

  /** Terms that are functions of the reconstruction, and the gradient of their weighted sum for it. */
  #compare(seen: Tensor<LossDType>, target: Tensor<LossDType>, adversarial: boolean) {
    const { l1, edge, mse: squared, perceptual, adversarial: against } = this.weights;
    const [lpips, judge] = [this.#lpips, adversarial ? this.#frozenJudge : undefined];
    const parts: { [name: string]: Tensor<LossDType> } = {};
    const terms: Tensor<LossDType>[] = [];
    const count = (name: string, weight: number, term: () => Tensor<LossDType>) => {
      if (weight === 0) return;
      const value = term();
      parts[name] = detach(value);
      terms.push(mul(value, weight));
    };
    count("l1", l1, () => edgeWeightedL1(seen, target, edge));
    count("mse", squared, () => mse(seen, target));
    if (lpips !== undefined) count("perceptual", perceptual, () => lpips.distance(seen, target));
    const total = terms.reduce((all, term) => add(all, term));
    const gradient = gradientOf(total, seen);
    if (judge === undefined) return { gradient, loss: detach(total), parts };
    const term = adversarialLoss(judge.judge(seen));
    parts.adversarial = detach(term);
    const own = gradientOf(term, seen);
    const weight = this.#adaptive ? mul(balance(gradient, own), against) : against;
    return { gradient: add(gradient, mul(own, weight)), loss: add(detach(total), mul(detach(term), weight)), parts };
  }

  #discriminatorLoss(real: Tensor<LossDType>, fake: Tensor<LossDType>): Tensor<LossDType> | undefined {
    const judge = this.#judge;
    return judge && hingeLoss(judge.judge(real), judge.judge(fake));
  }

  /** The autoencoder, LPIPS and the discriminator stay the caller's. */
  dispose(): void {
    this.#frozenJudge?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function gradientOf(loss: Tensor<LossDType>, seen: Tensor<LossDType>): Tensor<LossDType> {
  // There is one: these losses depend on every pixel.
  return cast(grad(loss, [seen])[0] as Tensor, seen.dtype);
}

/** By what the second gradient is as large as the first. */
function balance(others: Tensor<LossDType>, own: Tensor<LossDType>): Tensor<LossDType> {
  return clamp(div(globalNorm([others]), add(globalNorm([own]), adaptiveEps)), adaptiveLimits);
}

function checkedWeights(weights: VaeLossWeights, lpips: boolean): VaeLossWeights {
  const bad = Object.entries(weights).find(([, value]) => !(Number.isFinite(value) && value >= 0));
  const compares = weights.l1 > 0 || weights.mse > 0 || (lpips && weights.perceptual > 0);
  if (bad === undefined && compares) return weights;
  const problem =
    bad === undefined
      ? "nothing compares clips: give l1 or mse a weight, or perceptual with weights for LPIPS"
      : `the weight of ${bad[0]} is ${bad[1]}, expected a number ≥ 0`;
  throw new HunyuanError("INVALID_ARGUMENT", `autoencoder losses: ${problem}`, {
    op: "vaeLosses",
    argument: "weights",
  });
}
