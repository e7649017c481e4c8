/** How the learning rate moves over a stage: a linear warm-up, then constant or down half a cosine. */
import { checkNumber, checkOneOf } from "../runtime/check.js";

export interface RateSchedule {
  /** Default "constant". */
  readonly kind?: "constant" | "cosine" | undefined;
  /** Steps over which the rate rises linearly; the first step already has 1/warmup of it. Default 0. */
  readonly warmup?: number | undefined;
  /** Steps at which the cosine has come down. Needed by "cosine". */
  readonly steps?: number | undefined;
  /** Share of the rate that is left at the end of the cosine. Default 0. */
  readonly final?: number | undefined;
}

/**
 * What the rate is multiplied by at a step of a stage, from 0.
 *
 * @throws INVALID_ARGUMENT
 * @example rateFactor({ kind: "cosine", warmup: 100, steps: 1000 }, 550) // 0.5
 */
export function rateFactor(schedule: RateSchedule, step: number): number {
  const op = "rateFactor";
  const { kind = "constant", warmup = 0, steps, final = 0 } = schedule;
  checkOneOf(op, "kind", kind, ["constant", "cosine"]);
  checkNumber(op, "warmup", warmup, { whole: true, min: 0 });
  checkNumber(op, "step", step, { whole: true, min: 0 });
  if (step < warmup) return (step + 1) / warmup;
  if (kind === "constant") return 1;
  checkNumber(op, "steps", steps, { whole: true, min: warmup + 1 });
  checkNumber(op, "final", final, { min: 0, max: 1 });
  const part = Math.min(1, (step - warmup) / ((steps as number) - warmup));
  return final + (1 - final) * 0.5 * (1 + Math.cos(Math.PI * part));
}
