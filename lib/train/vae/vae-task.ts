/** Training of the autoencoder, with the discriminator as its opponent where there is one. */
import type { VaeConfig } from "../../models/vae/config.js";
import { latentFrames } from "../../models/vae/config.js";
import { CausalVae } from "../../models/vae/model.js";
import type { Tiling, TilingOption } from "../../models/vae/tiling.js";
import { tilingOf } from "../../models/vae/tiling.js";
import { Params, ResidentStore } from "../../nn/params.js";
import { cast, copyView } from "../../ops/copy.js";
import { checkNumber } from "../../runtime/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { Draws } from "../data/draws.js";
import { Learner, type LearnerOptions } from "../learner.js";
import type { ParameterGroup } from "../optimizer.js";
import { type ParameterSet, parametersOf } from "../parameters.js";
import { noiseFor, seedOf } from "../random.js";
import { type RateSchedule, rateFactor } from "../schedule.js";
import type { Stage, StepPlace } from "../stages.js";
import type { StateParts } from "../stateful.js";
import type { Metrics, SampleStrip, TrainingTask } from "../task.js";
import type { PatchDiscriminator } from "./discriminator.js";
import { type FoldOptions, foldLatents, latentStatistics } from "./fold-latents.js";
import type { Lpips } from "./lpips.js";
import { type VaeLosses, type VaeLossWeights, VaeObjective } from "./objective.js";
import { reconstructionPsnr } from "./psnr.js";

type Clips = Iterable<Tensor<FloatDType>> | AsyncIterable<Tensor<FloatDType>>;

/** What a stage may say of the autoencoder's training. */
export interface VaeStage extends Stage {
  /** Batches whose gradients make one step. Default 1. */
  readonly accumulate?: number | undefined;
  /** Factor of the learning rates. Default 1. */
  readonly rate?: number | undefined;
  /** Warm-up and decay, counted from the stage's first step; a cosine without `steps` ends with the stage. Default: constant. */
  readonly schedule?: RateSchedule | undefined;
  /** Whether the discriminator takes part. Default true, where there is one. */
  readonly adversarial?: boolean | undefined;
  /**
   * Sends a share of the batches through the model in tiles, so that what tiles show at their seams is trained away; a
   * last stage's business. The gradient goes through the blending.
   */
  readonly tiling?:
    | { readonly share: number; readonly tiles: Exclude<TilingOption, "auto" | "off"> | Tiling }
    | undefined;
}

export interface VaeTaskOptions<B> {
  readonly vae: CausalVae;
  /** What learns; the task's from then on. Default: all of the autoencoder. */
  readonly parameters?: ParameterSet | undefined;
  readonly learner: LearnerOptions;
  /** The clips of a batch, [B, 4n + 1, H, W, 3] in −1 … 1; disposed of here. */
  readonly clips: (batch: B) => Tensor<"f32">;
  /** What the model computes in. Default f32. */
  readonly dtype?: FloatDType | undefined;
  /** What is not given has HunyuanVideo's weight. */
  readonly weights?: Partial<VaeLossWeights> | undefined;
  /** Stays the caller's. Default: no perceptual loss, and `notes` say so. */
  readonly lpips?: Lpips | undefined;
  readonly adversary?:
    | {
        /** Stays the caller's. */
        readonly discriminator: PatchDiscriminator;
        readonly learner: LearnerOptions;
        /** Steps of the run before it takes part: until reconstructions are worth judging. Default 0. */
        readonly start?: number | undefined;
        /** See `VaeObjectiveOptions`. Default false. */
        readonly adaptive?: boolean | undefined;
      }
    | undefined;
  /** Clips whose PSNR is measured, the same each time; disposed of here. */
  readonly validation?: (() => Clips) | undefined;
  /** Shows reconstructions; called with the averaged weights in place. */
  readonly sample?: ((place: StepPlace<VaeStage>) => Promise<readonly SampleStrip[]>) | undefined;
}

/** Every convolution and matrix by Muon, the rest (norms, biases) by AdamW: what the demo is trained with. */
export const vaeMuonGroup = {
  kind: "muon",
  match: ["encoder.*.weight", "decoder.*.weight"],
} as const satisfies ParameterGroup;

const op = "VaeTask";

/**
 * @example
 * using task = new VaeTask({ vae, learner: { lr: 1e-3, ema: { decay: 0.99 } }, clips: (batch) => pixelsOf(batch) });
 * for (const note of task.notes) console.log(note);
 * await runTraining(task, { folder: "runs/vae", seed: 1, stages: [{ name: "crops", steps: 8000 }], open });
 * using finished = await task.finished(() => clipsForStatistics());
 * await saveVae(finished, "models/mine/vae");
 */
export class VaeTask<B> implements TrainingTask<B, VaeStage>, Disposable {
  readonly learner: Learner;
  /** The discriminator's. */
  readonly opponent: Learner | undefined;
  readonly objective: VaeObjective;
  readonly #options: VaeTaskOptions<B>;

  /** @throws INVALID_ARGUMENT */
  constructor(options: VaeTaskOptions<B>) {
    const { vae, weights, lpips, adversary, learner, parameters = parametersOf(vae.params) } = options;
    checkNumber(op, "adversary.start", adversary?.start ?? 0, { whole: true, min: 0 });
    const { discriminator, adaptive } = adversary ?? {};
    this.#options = options;
    this.objective = new VaeObjective(vae, { weights, lpips, discriminator, adaptive });
    this.learner = new Learner(parameters, learner);
    this.opponent = adversary && new Learner(parametersOf(adversary.discriminator.params), adversary.learner);
  }

  /** What whoever starts a run should know: terms of the loss that are asked for and cannot be had. */
  get notes(): readonly string[] {
    const { perceptual, adversarial } = this.objective.weights;
    const terms = `losses: ${this.objective.terms.join(", ")}`;
    const missing = [
      ...(perceptual > 0 && this.#options.lpips === undefined
        ? ["the perceptual loss is off: no file with LPIPS's weights was given"]
        : []),
      ...(adversarial > 0 && this.#options.adversary === undefined
        ? ["the adversarial loss is off: no discriminator was given"]
        : []),
    ];
    return [terms, ...missing];
  }

  async step(take: () => Promise<B>, place: StepPlace<VaeStage>): Promise<Metrics> {
    const { stage, stageStep } = place;
    const { accumulate = 1, rate = 1, schedule = {} } = stage;
    const sums: { [name: string]: number } = {};
    let first = 0;
    for (let i = 0; i < accumulate; i++) {
      const { losses, count } = this.#lossesOf(await take(), place, i, first);
      const all = [losses.autoencoder, losses.discriminator, ...Object.values(losses.parts)];
      try {
        this.learner.accumulate(losses.autoencoder, 1 / accumulate);
        if (losses.discriminator !== undefined) this.opponent?.accumulate(losses.discriminator, 1 / accumulate);
        for (const [name, part] of Object.entries(losses.parts)) {
          sums[name] = (sums[name] ?? 0) + (await part.item()) / accumulate;
        }
      } finally {
        for (const one of all) one?.dispose();
      }
      first += count;
    }
    const factor = rate * rateFactor({ steps: stage.steps, ...schedule }, stageStep);
    const { gradNorm, skipped } = await this.learner.update(factor);
    await this.opponent?.update(factor);
    const lr = this.#options.learner.lr * factor;
    const { loss = Number.NaN, ...parts } = sums;
    return { loss, lr, gradNorm, ...parts, ...(skipped ? { skipped: 1 } : {}) };
  }

  /** The losses of a batch. What is drawn follows from the place alone. */
  #lossesOf(batch: B, { seed, step, stage }: StepPlace<VaeStage>, index: number, first: number) {
    const { vae, clips, dtype = "f32", adversary } = this.#options;
    return scope((): { readonly losses: VaeLosses; readonly count: number } => {
      const clip = cast(clips(batch), dtype);
      const shape = latentShape(vae.config, clip.shape);
      const noise = noiseFor(shape, { seed: seedOf("noise", seed, step), first, device: clip.device });
      const tiled = stage.tiling !== undefined && new Draws("tiling", seed, step, index).uniform() < stage.tiling.share;
      const losses = this.objective.losses(clip, {
        draw: { noise: cast(noise, dtype) },
        tiling: tiled && stage.tiling !== undefined ? tilingOf(vae.config, stage.tiling.tiles) : "off",
        adversarial: (stage.adversarial ?? true) && step >= (adversary?.start ?? 0),
      });
      return { losses, count: clip.shape[0] ?? 0 };
    });
  }

  parts(): StateParts {
    return { ...this.learner.parts(), ...(this.opponent?.parts("discriminator-") ?? {}) };
  }

  /** PSNR of the averaged weights, in decibels; `loss` is the mean squared error that goes with it. */
  async validate(_place: StepPlace<VaeStage>): Promise<Metrics> {
    const { vae, validation } = this.#options;
    if (validation === undefined) return {};
    const report = await this.learner.averaged(() => reconstructionPsnr(vae, validation()));
    const loss = report.clips.reduce((sum, one) => sum + 10 ** (-one / 10), 0) / report.clips.length;
    return { loss, psnr: report.mean, "psnr median": report.median, "psnr worst": report.worst };
  }

  async sample(place: StepPlace<VaeStage>): Promise<readonly SampleStrip[]> {
    const { sample } = this.#options;
    return sample === undefined ? [] : this.learner.averaged(() => sample(place));
  }

  /**
   * The autoencoder as it is to be used: a copy with the averaged weights, its latents brought to mean 0 and variance 1
   * ({@link foldLatents}). The caller's to dispose of.
   *
   * @param clips that the latents' statistics are taken from; without any the latents stay as they are, for a transformer
   * that knows them
   */
  async finished(clips?: () => Clips, options: FoldOptions = {}): Promise<CausalVae> {
    const { vae } = this.#options;
    const copies = await this.learner.averaged(async () => copied(vae.params));
    try {
      if (clips === undefined) return new CausalVae(vae.config, copies);
      const statistics = await latentStatistics(new CausalVae(vae.config, copies), clips());
      return new CausalVae(foldLatents(vae.config, copies, statistics, options), copies);
    } catch (error) {
      copies.dispose();
      throw error;
    }
  }

  /** The learners, and with them the parameters; model, discriminator and LPIPS stay. */
  dispose(): void {
    this.objective.dispose();
    this.learner.dispose();
    this.opponent?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function latentShape(config: VaeConfig, [b = 0, t = 0, h = 0, w = 0]: readonly number[]): readonly number[] {
  const { spatialRatio: side, latentChannels } = config;
  return [b, Math.floor(latentFrames(config, t)), Math.floor(h / side), Math.floor(w / side), latentChannels];
}

function copied(params: Params): Params {
  const copies = [...params.names()].map((name) => {
    const held = params.get(name);
    return [name, copyView(held, held, held.dtype)] as const;
  });
  return new Params(new ResidentStore(copies));
}
