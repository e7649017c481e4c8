/** What a run tells while it goes on. */
import type { Metrics } from "./task.js";

interface At {
  /** Steps made so far. */
  readonly step: number;
  /** Steps of all stages. */
  readonly steps: number;
  readonly stage: string;
}

export type TrainingEvent = At &
  (
    | { readonly kind: "step"; readonly metrics: Metrics; readonly stepsPerSecond: number; readonly etaMs: number }
    | { readonly kind: "validation"; readonly metrics: Metrics }
    | { readonly kind: "sample"; readonly files: readonly string[] }
    | { readonly kind: "saved"; readonly path: string }
    | { readonly kind: "resumed"; readonly path: string }
    /** Something to know: a damaged state that was passed over, steps whose gradients were not finite. */
    | { readonly kind: "notice"; readonly text: string }
  );

/** Over how many of the last steps the rate is taken. */
const window = 32;

/** Steps a second, lately, and the time that is left. */
export class Pace {
  readonly #ends: number[] = [performance.now()];

  /** @param left steps still to go */
  step(left: number): { readonly stepsPerSecond: number; readonly etaMs: number } {
    const now = performance.now();
    this.#ends.push(now);
    if (this.#ends.length > window + 1) this.#ends.shift();
    const spent = Math.max(1e-3, now - (this.#ends[0] as number));
    const perMs = (this.#ends.length - 1) / spent;
    return { stepsPerSecond: 1000 * perMs, etaMs: left / perMs };
  }
}

/**
 * A step in a few words, for a bar or a line.
 *
 * @example describeStep({ loss: 0.1234, lr: 1e-3 }, 2.5) // "loss 0.1234, lr 0.001, 2.5 steps/s"
 */
export function describeStep(metrics: Metrics, stepsPerSecond: number): string {
  const { loss, ...others } = metrics;
  const all = Object.entries({ ...(loss === undefined ? {} : { loss }), ...others });
  const rate = stepsPerSecond >= 0.1 ? `${short(stepsPerSecond)} steps/s` : `${short(1 / stepsPerSecond)} s/step`;
  return [...all.map(([name, value]) => `${name} ${short(value)}`), rate].join(", ");
}

/** Four digits that count, without trailing zeros of fractions. */
export function short(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value);
}
