/** A moving average of the trained parameters: what is shown, measured and shipped, while training goes on with the others. */
import { copyInto, copyView, copyViewInto } from "../ops/copy.js";
import { emaStep } from "../ops/optim.js";
import { checkNumber } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { sumDType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ParameterSet } from "./parameters.js";
import type { JsonValue, Stateful } from "./stateful.js";

export interface EmaOptions {
  /** How much of the average a step keeps, below 1: 0.999 averages over about 1000 steps. */
  readonly decay: number;
  /** Lets the average follow faster at first: step n keeps at most (1 + n) / (10 + n). Default true. */
  readonly warmup?: boolean | undefined;
}

/** f32 averages (f64 of f64 parameters), which begin as the parameters are. */
export class Ema implements Stateful, Disposable {
  readonly #parameters: ParameterSet;
  readonly #averages: readonly Tensor[];
  readonly #options: EmaOptions;
  #updates = 0;
  #inUse = false;

  /** @throws INVALID_ARGUMENT */
  constructor(parameters: ParameterSet, options: EmaOptions) {
    checkNumber("Ema", "decay", options.decay, { min: 0, max: 1 });
    this.#parameters = parameters;
    this.#options = options;
    this.#averages = parameters.wide().map((value) => kept(copyView(value, value, sumDType(value))));
  }

  /** Moves the averages towards the parameters by one step. */
  update(): void {
    const { decay, warmup = true } = this.#options;
    this.#updates++;
    const most = warmup ? (1 + this.#updates) / (10 + this.#updates) : 1;
    emaStep(this.#averages, this.#parameters.wide(), Math.min(decay, most));
  }

  /** The averages under the parameters' names, lent. */
  values(): ReadonlyMap<string, Tensor> {
    return new Map(this.#parameters.names.map((name, i) => [name, this.#averages[i] as Tensor]));
  }

  /**
   * Runs fn with the averages in the place of the parameters (rounded to their type), which come back bit for bit,
   * whatever fn does. Takes a copy of the parameters in memory for as long. Calls do not nest.
   */
  async using<T>(fn: () => Promise<T>): Promise<T> {
    if (this.#inUse) {
      throw new HunyuanError("INVALID_ARGUMENT", "Ema.using: the averages are in use already", { op: "Ema.using" });
    }
    this.#inUse = true;
    const { list } = this.#parameters;
    const before = list.map(({ tensor }) => kept(copyView(tensor, tensor, tensor.dtype)));
    try {
      list.forEach(({ tensor }, i) => {
        const average = this.#averages[i] as Tensor;
        copyViewInto(average, average, tensor);
      });
      return await fn();
    } finally {
      list.forEach(({ tensor }, i) => {
        const original = before[i] as Tensor;
        if (!tensor.disposed) copyInto(original, tensor);
        original.dispose();
      });
      this.#inUse = false;
    }
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return this.values();
  }

  data(): JsonValue {
    return this.#updates;
  }

  restore(data: JsonValue): void {
    if (typeof data !== "number" || !Number.isSafeInteger(data) || data < 0) {
      throw new HunyuanError("CHECKPOINT_INVALID", "the saved averages do not say how many steps they have seen", {});
    }
    this.#updates = data;
  }

  dispose(): void {
    for (const average of this.#averages) average.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function kept(tensor: Tensor): Tensor {
  tensor.moveTo(undefined);
  return tensor;
}
