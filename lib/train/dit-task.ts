/**
 * Training of the transformer by flow matching: all of it, some of its layers, or adapters beside them; alone or together
 * with what makes its text conditions.
 */
import { noGrad } from "../autograd/backward.js";
import type { HunyuanDit } from "../models/dit/model.js";
import { add, mul } from "../ops/pointwise.js";
import { mean } from "../ops/reduce.js";
import { checkNumber } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import { Draws } from "./data/draws.js";
import { Learner, type LearnerOptions } from "./learner.js";
import { type FlowSample, type TextCondition, velocityLosses, withoutCaptions } from "./objective.js";
import type { ParameterSet } from "./parameters.js";
import { checkPreservation, type Preservation, preservationLosses, preservedCount } from "./preserve.js";
import { noiseFor, seedOf } from "./random.js";
import { type RateSchedule, rateFactor } from "./schedule.js";
import type { Stage, StepPlace } from "./stages.js";
import type { StateParts } from "./stateful.js";
import type { Metrics, SampleStrip, TrainingTask } from "./task.js";
import { drawSigmas, type TimestepOptions } from "./timesteps.js";

/** What a stage may say of the transformer's training. */
export interface DitStage extends Stage {
  /** Batches whose gradients make one step. Default 1. */
  readonly accumulate?: number | undefined;
  /** Factor of the learning rate. Default 1. */
  readonly rate?: number | undefined;
  /** Warm-up and decay, counted from the stage's first step; a cosine without `steps` ends with the stage. Default: constant. */
  readonly schedule?: RateSchedule | undefined;
  /** Instead of the run's: larger videos want a larger shift. */
  readonly timesteps?: TimestepOptions | undefined;
}

/** What a batch gives the transformer. */
export interface DitBatch extends TextCondition {
  /** Clean latents, scaled as the model takes them: [B, T, H, W, C]. */
  readonly latents: Tensor<"f32">;
}

export interface DitTaskOptions<B> {
  readonly dit: HunyuanDit;
  /** What learns; the task's from then on. */
  readonly parameters: ParameterSet;
  readonly learner: LearnerOptions;
  /**
   * A batch as the transformer takes it, made at once and recorded: where it computes with trained parameters (a text
   * encoder's), they learn too. What it makes belongs to the scope around it; the batch's own tensors stay the batch's.
   *
   * @param seed for what it draws, such as latents from their distribution: another for each batch
   */
  readonly inputs: (batch: B, seed: number) => DitBatch;
  /** Ends a batch. */
  readonly release?: ((batch: B) => void) | undefined;
  /** What the transformer computes in. Default f32. */
  readonly dtype?: FloatDType | undefined;
  /** Computes each block again in the backward pass: less memory, a third more work. Default false. */
  readonly checkpoint?: boolean | undefined;
  readonly timesteps?: TimestepOptions | undefined;
  /** Share of samples that lose their caption. Default 0. */
  readonly captionDropout?: number | undefined;
  /** What a lost caption becomes, one sample; needed with captionDropout. Made in the scope of `inputs`, and recorded. */
  readonly emptyCaption?: (() => TextCondition) | undefined;
  /**
   * For models that take guidance: the scale that they are told, or the range it is drawn from. Default 1: what they are
   * taught here is the data as it is.
   */
  readonly guidance?: number | readonly [low: number, high: number] | undefined;
  /**
   * What samples are judged by, recorded: a loss for each, [B]. The empty caption is there where `emptyCaption` is. Default:
   * the error of the predicted velocity. Distillation brings others (lib/train/distil).
   */
  readonly objective?:
    | ((dit: HunyuanDit, sample: FlowSample, empty: TextCondition | undefined) => Tensor<"f32">)
    | undefined;
  /** Captions for which the model stays as it was. Default: none. */
  readonly preserve?: Preservation | undefined;
  /** Batches that are measured, the same each time, released here. */
  readonly validation?: (() => Iterable<B> | AsyncIterable<B>) | undefined;
  /** Noise levels of the validation. Default 0.1, 0.3, 0.5, 0.7, 0.9. */
  readonly validationSigmas?: readonly number[] | undefined;
  /** Shows what the model makes by now; called with the averaged weights in place. */
  readonly sample?: ((place: StepPlace<DitStage>) => Promise<readonly SampleStrip[]>) | undefined;
}

const op = "DitTask";

/**
 * @example
 * using task = new DitTask({ dit, parameters: parametersOf(dit.params), learner: { lr: 1e-4, clipNorm: 1 }, inputs });
 * await runTraining(task, { folder: "runs/dit", seed: 1, stages: [{ name: "all", steps: 1000 }], open });
 */
export class DitTask<B> implements TrainingTask<B, DitStage>, Disposable {
  readonly learner: Learner;
  readonly #options: DitTaskOptions<B>;

  /** @throws INVALID_ARGUMENT; MODEL_UNSUPPORTED for image-to-video models, whose first frame is no target */
  constructor(options: DitTaskOptions<B>) {
    const { captionDropout = 0, emptyCaption, dit, guidance = 1, validationSigmas = [] } = options;
    checkNumber(op, "captionDropout", captionDropout, { min: 0, max: 1 });
    for (const scale of [guidance].flat()) checkNumber(op, "guidance", scale, { min: 0 });
    for (const sigma of validationSigmas) checkNumber(op, "validationSigmas", sigma, { min: 0, max: 1 });
    if (captionDropout > 0 && emptyCaption === undefined) {
      const message = `${op}: captionDropout is ${captionDropout}, but there is no emptyCaption to put in their place`;
      throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: "emptyCaption" });
    }
    if (options.preserve !== undefined) checkPreservation(op, options.preserve);
    if (dit.config.i2v !== undefined) {
      const message = `${op}: image-to-video models (${dit.config.i2v}) are not trained here; train a text-to-video one`;
      throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: "training of image-to-video models" });
    }
    this.#options = options;
    this.learner = new Learner(options.parameters, options.learner);
  }

  async step(take: () => Promise<B>, place: StepPlace<DitStage>): Promise<Metrics> {
    const { stage, stageStep } = place;
    const { accumulate = 1, rate = 1, schedule = {} } = stage;
    const losses: number[] = [];
    const preserved: number[] = [];
    let first = 0;
    for (let i = 0; i < accumulate; i++) {
      const batch = await take();
      const { loss, kept, count } = this.#lossOf(batch, place, i, first);
      try {
        this.learner.accumulate(kept === undefined ? loss : kept.whole, 1 / accumulate);
        losses.push(await loss.item());
        if (kept !== undefined) preserved.push(await kept.own.item());
      } finally {
        for (const one of [loss, kept?.own, kept?.whole]) one?.dispose();
        this.#options.release?.(batch);
      }
      first += count;
    }
    const factor = rate * rateFactor({ steps: stage.steps, ...schedule }, stageStep);
    const { gradNorm, skipped } = await this.learner.update(factor);
    const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const lr = this.#options.learner.lr * factor;
    return {
      ...{ loss: average(losses), lr, gradNorm },
      ...(preserved.length > 0 ? { preserved: average(preserved) } : {}),
      ...(skipped ? { skipped: 1 } : {}),
    };
  }

  /** The mean loss of a batch, which is released where that fails. */
  #lossOf(batch: B, place: StepPlace<DitStage>, index: number, first: number): BatchLoss {
    const { seed, step, stage } = place;
    const { inputs, release, emptyCaption } = this.#options;
    try {
      return scope(() => {
        const { latents, ...given } = inputs(batch, seedOf("inputs", seed, step, index));
        const count = latents.shape[0] ?? 0;
        const of = { seed, step, first, count };
        const dropped = this.#dropped(of);
        const text =
          emptyCaption !== undefined && dropped.includes(true)
            ? withoutCaptions(given, emptyCaption(), dropped)
            : given;
        const loss = mean(this.#judge({ ...text, ...this.#drawn(latents, of, stage) }));
        const { preserve, dit } = this.#options;
        if (preserve === undefined) return { loss, count, kept: undefined };
        // Further samples of the step: what is drawn for them is no other's.
        const further = { ...of, seed: seedOf("preserve", seed), count: preservedCount(preserve, count) };
        const own = mean(preservationLosses(dit, preserve, this.#drawn(latents, further, stage), further));
        return { loss, count, kept: { own, whole: add(loss, mul(own, preserve.weight ?? 1)) } };
      });
    } catch (error) {
      release?.(batch);
      throw error;
    }
  }

  /** Samples on the way to noise, all but their text: noise, levels and scales as they are drawn for them. */
  #drawn(latents: Tensor<"f32">, of: SamplesOf, stage: DitStage): Omit<FlowSample, keyof TextCondition> {
    const { timesteps = {}, checkpoint, dtype = "f32" } = this.#options;
    const { seed, step, first, count } = of;
    const shape = [count, ...latents.shape.slice(1)];
    return {
      latents,
      noise: noiseFor(shape, { seed: seedOf("noise", seed, step), first, device: latents.device }),
      sigmas: drawSigmas(stage.timesteps ?? timesteps, of),
      guidance: this.#guidance(of),
      dtype,
      checkpoint,
    };
  }

  #judge(sample: FlowSample): Tensor<"f32"> {
    const { dit, objective, emptyCaption } = this.#options;
    return objective === undefined ? velocityLosses(dit, sample) : objective(dit, sample, emptyCaption?.());
  }

  #dropped({ seed, step, first, count }: SamplesOf): boolean[] {
    const { captionDropout = 0 } = this.#options;
    return Array.from(
      { length: count },
      (_, i) => new Draws("caption", seed, step, first + i).uniform() < captionDropout,
    );
  }

  #guidance({ seed, step, first, count }: SamplesOf): number[] | undefined {
    const { dit, guidance = 1 } = this.#options;
    if (!dit.config.guidanceEmbed) return undefined;
    return Array.from({ length: count }, (_, i) =>
      typeof guidance === "number" ? guidance : new Draws("guidance", seed, step, first + i).uniform(...guidance),
    );
  }

  parts(): StateParts {
    return this.learner.parts();
  }

  /** Mean loss over the validation batches at each of the fixed levels, of the averaged weights. */
  async validate({ seed }: StepPlace<DitStage>): Promise<Metrics> {
    const { validation, validationSigmas: sigmas = [0.1, 0.3, 0.5, 0.7, 0.9] } = this.#options;
    if (validation === undefined) return {};
    return this.learner.averaged(async () => {
      const sums = sigmas.map(() => 0);
      let samples = 0;
      for await (const batch of validation()) {
        const found = await this.#measure(batch, sigmas, seed, samples);
        samples += found.count;
        found.sums.forEach((sum, i) => {
          sums[i] = (sums[i] as number) + sum;
        });
      }
      const means = sums.map((sum) => sum / samples);
      const named = means.map((value, i) => [`loss at ${sigmas[i]}`, value] as const);
      return { loss: means.reduce((sum, value) => sum + value, 0) / means.length, ...Object.fromEntries(named) };
    });
  }

  /** Sums of the losses of a batch's samples, one for each level. */
  async #measure(
    batch: B,
    sigmas: readonly number[],
    seed: number,
    first: number,
  ): Promise<{ readonly sums: readonly number[]; readonly count: number }> {
    const { inputs, release, dtype = "f32" } = this.#options;
    const kept: Tensor<"f32">[] = [];
    try {
      const count = scope(() =>
        noGrad(() => {
          const { latents, ...given } = inputs(batch, seedOf("validation inputs", seed, first));
          const samples = latents.shape[0] ?? 0;
          const noise = noiseFor(latents.shape, { seed: seedOf("validation", seed), first, device: latents.device });
          const of = { seed, step: -1, first, count: samples };
          for (const sigma of sigmas) {
            const levels = new Float32Array(samples).fill(sigma);
            const sample = { ...given, latents, noise, sigmas: levels, guidance: this.#guidance(of), dtype };
            const losses = this.#judge(sample);
            losses.moveTo(undefined);
            kept.push(losses);
          }
          return samples;
        }),
      );
      const sums: number[] = [];
      for (const losses of kept) sums.push((await losses.read()).reduce((sum, value) => sum + value, 0));
      return { sums, count };
    } finally {
      for (const losses of kept) losses.dispose();
      release?.(batch);
    }
  }

  async sample(place: StepPlace<DitStage>): Promise<readonly SampleStrip[]> {
    const { sample } = this.#options;
    return sample === undefined ? [] : this.learner.averaged(() => sample(place));
  }

  /** The learner, and with it the parameters; the model stays. */
  dispose(): void {
    this.learner.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

interface BatchLoss {
  /** Of the batch's own samples. */
  readonly loss: Tensor<"f32">;
  /** Of those whose predictions are to stay, and the sum of both, which is what is minimised. */
  readonly kept: { readonly own: Tensor<"f32">; readonly whole: Tensor<"f32"> } | undefined;
  readonly count: number;
}

/** Samples of a step, by which what is drawn for them is found. */
interface SamplesOf {
  readonly seed: number;
  readonly step: number;
  readonly first: number;
  readonly count: number;
}
