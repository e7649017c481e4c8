/** The loop's own part of a saved state. */
import { HunyuanError } from "../runtime/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import type { JsonValue, Stateful } from "./stateful.js";

interface Position {
  readonly stage: string;
  readonly data: JsonValue;
}

/** The seed, the place in the data, and the least validation loss so far. The step is the manifest's. */
export class RunPart implements Stateful {
  readonly #seed: number;
  /** Where the data stand now; undefined before the first step of this process. */
  readonly #position: () => Position | undefined;
  /** Where they stood when the state was saved, until the stage's data are opened. */
  #saved: Position | undefined;
  #best: number | undefined;

  constructor(seed: number, position: () => Position | undefined) {
    this.#seed = seed;
    this.#position = position;
  }

  get best(): number | undefined {
    return this.#best;
  }

  /** Whether a loss is the least so far; then it is remembered. */
  isBest(loss: number | undefined): boolean {
    if (loss === undefined || !(loss < (this.#best ?? Number.POSITIVE_INFINITY))) return false;
    this.#best = loss;
    return true;
  }

  /** The saved place in a stage's data; undefined where the stage is to begin at its beginning. */
  takePosition(stage: string): JsonValue | undefined {
    const saved = this.#saved;
    this.#saved = undefined;
    return saved?.stage === stage ? saved.data : undefined;
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }

  data(): JsonValue {
    const position = this.#position() ?? this.#saved;
    return {
      seed: this.#seed,
      ...(this.#best === undefined ? {} : { best: this.#best }),
      ...(position === undefined ? {} : { position: { stage: position.stage, data: position.data } }),
    };
  }

  restore(data: JsonValue): void {
    const { seed, best, position } = objectOf(data);
    if (seed !== this.#seed) {
      const message = `the saved run began with seed ${String(seed)}, not ${this.#seed}; go on with that one, or use another folder`;
      throw new HunyuanError("CHECKPOINT_INVALID", message, { key: "seed" });
    }
    this.#best = typeof best === "number" ? best : undefined;
    const { stage, data: place } = objectOf(position ?? {});
    this.#saved = typeof stage === "string" && place !== undefined ? { stage, data: place } : undefined;
  }
}

function objectOf(value: JsonValue): { readonly [key: string]: JsonValue | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as { readonly [key: string]: JsonValue })
    : {};
}
