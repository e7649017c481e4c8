/** Parameters with all that moves them: optimizer, learning rate, clipping, average. A run has one, an adversarial one two. */
import { backward } from "../autograd/backward.js";
import { clipScale, globalNorm } from "../ops/optim.js";
import { mul } from "../ops/pointwise.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import { Ema, type EmaOptions } from "./ema.js";
import { Optimizer, type OptimizerOptions } from "./optimizer.js";
import type { ParameterSet } from "./parameters.js";
import type { StateParts } from "./stateful.js";

export interface LearnerOptions extends OptimizerOptions {
  /** The norm of all gradients together that is not exceeded. Default: no bound. */
  readonly clipNorm?: number | undefined;
  /** Default: no average. */
  readonly ema?: EmaOptions | undefined;
}

/** What became of a step. */
export interface Update {
  /** Norm of all gradients together, before clipping; 0 where there were none. */
  readonly gradNorm: number;
  /** The gradients were not finite: nothing has moved. */
  readonly skipped: boolean;
}

/**
 * @example
 * const learner = new Learner(parametersOf(dit.params), { lr: 1e-4, clipNorm: 1, ema: { decay: 0.999 } });
 * for (const batch of microBatches) learner.accumulate(lossOf(batch), 1 / microBatches.length);
 * const { gradNorm } = await learner.update(rateFactor(schedule, step));
 */
export class Learner implements Disposable {
  readonly parameters: ParameterSet;
  readonly optimizer: Optimizer;
  readonly ema: Ema | undefined;
  readonly #clipNorm: number | undefined;

  /** Takes over the parameters: they are disposed of with the learner. @throws INVALID_ARGUMENT */
  constructor(parameters: ParameterSet, options: LearnerOptions) {
    this.parameters = parameters;
    this.optimizer = new Optimizer(parameters, options);
    this.ema = options.ema === undefined ? undefined : new Ema(parameters, options.ema);
    this.#clipNorm = options.clipNorm;
  }

  /** Adds the gradients of weight · loss to those that have gathered. The loss stays the caller's. */
  accumulate(loss: Tensor<"f32" | "f64">, weight = 1): void {
    if (weight === 1) backward(loss);
    else scope(() => backward(mul(loss, weight)));
  }

  /**
   * Makes a step with the gradients that have gathered; afterwards there are none. Waits for the gradients' norm: where it
   * is not finite the step is skipped.
   *
   * @param factor what the learning rate is multiplied by
   */
  async update(factor = 1): Promise<Update> {
    const grads = this.parameters.list.flatMap(({ tensor }) => (tensor.grad === undefined ? [] : [tensor.grad]));
    if (grads.length === 0) return { gradNorm: 0, skipped: false };
    const norm = globalNorm(grads);
    norm.moveTo(undefined);
    try {
      const gradNorm = await norm.item();
      if (!Number.isFinite(gradNorm)) {
        this.parameters.clearGradients();
        return { gradNorm, skipped: true };
      }
      const clipNorm = this.#clipNorm;
      const clips = clipNorm !== undefined && gradNorm > clipNorm;
      scope(() => this.optimizer.step({ factor, gradScale: clips ? clipScale(norm, clipNorm) : undefined }));
      this.ema?.update();
      return { gradNorm, skipped: false };
    } finally {
      norm.dispose();
    }
  }

  /** Runs fn with the averaged parameters in place, where there are such. */
  averaged<T>(fn: () => Promise<T>): Promise<T> {
    return this.ema === undefined ? fn() : this.ema.using(fn);
  }

  /** What is saved of it; with a prefix where a run has several. */
  parts(prefix = ""): StateParts {
    const { parameters, optimizer, ema } = this;
    const all = { parameters, optimizer, ...(ema === undefined ? {} : { ema }) };
    return Object.fromEntries(Object.entries(all).map(([name, part]) => [prefix + name, part]));
  }

  dispose(): void {
    this.optimizer.dispose();
    this.ema?.dispose();
    this.parameters.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
