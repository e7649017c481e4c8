/** At which noise levels a model is trained. */

import { logitNormalSigma, shiftSigma } from "../models/dit/flow-matching.js";
import { checkNumber, checkOneOf } from "../runtime/check.js";
import { Draws } from "./data/draws.js";

export interface TimestepOptions {
  /**
   * "logit-normal" (default): sigmoid of N(mean, std), most of them in the middle (Esser et al., "Scaling rectified flow
   * transformers", arXiv 2403.03206). "uniform": all levels alike.
   */
  readonly kind?: "logit-normal" | "uniform" | undefined;
  /** Moves levels towards noise as in sampling: more for larger videos. Default 1, as they are. */
  readonly shift?: number | undefined;
  /** Of the logit's normal distribution. Default 0. */
  readonly mean?: number | undefined;
  /** Default 1. */
  readonly std?: number | undefined;
  /**
   * Spreads the levels of a step evenly over the distribution instead of drawing each by itself: less noise in the loss.
   * They are multiples of the golden ratio from a random start, so that any number of them lies evenly. Default false.
   */
  readonly stratified?: boolean | undefined;
}

const golden = (Math.sqrt(5) - 1) / 2;

/**
 * The noise levels of samples `first` … `first + count − 1` of a step: the same whether the step's samples come in one
 * batch or in several.
 *
 * @throws INVALID_ARGUMENT
 * @example drawSigmas({ shift: 7 }, { seed: 1, step: 0, first: 0, count: 4 }) // four of (0, 1)
 */
export function drawSigmas(
  options: TimestepOptions,
  of: { readonly seed: number; readonly step: number; readonly first: number; readonly count: number },
): Float32Array<ArrayBuffer> {
  const { kind = "logit-normal", shift = 1, mean = 0, std = 1, stratified = false } = options;
  checkOneOf("drawSigmas", "kind", kind, ["logit-normal", "uniform"]);
  checkNumber("drawSigmas", "shift", shift, { above: 0 });
  checkNumber("drawSigmas", "mean", mean);
  checkNumber("drawSigmas", "std", std, { above: 0 });
  const { seed, step, first, count } = of;
  const start = new Draws("timesteps", seed, step).uniform();
  return Float32Array.from({ length: count }, (_, i) => {
    const sample = first + i;
    const u = stratified ? (start + sample * golden) % 1 : new Draws("timestep", seed, step, sample).uniform();
    return kind === "uniform" ? shiftSigma(u, shift) : logitNormalSigma(mean + std * normalQuantile(u), shift);
  });
}

const a = [-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1];
const b = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1];
const c = [-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968];
const d = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
const middleEnd = 2.506628277459239;
const tailEnd = 2.938163982698783;
const tail = 0.02425;

const horner = (terms: readonly number[], x: number, last: number): number =>
  terms.reduce((sum, term) => sum * x + term, 0) * x + last;

/**
 * The value below which a standard normal number lies with probability p; good to 1.2e-9 (P. J. Acklam, "An algorithm for
 * computing the inverse normal cumulative distribution function", 2003).
 */
export function normalQuantile(p: number): number {
  // Of 2³² draws one is 0, whose quantile is not finite.
  const inside = Math.min(Math.max(p, 2 ** -33), 1 - 2 ** -33);
  if (inside > 1 - tail) return -normalQuantile(1 - inside);
  if (inside < tail) {
    const q = Math.sqrt(-2 * Math.log(inside));
    return horner(c, q, tailEnd) / horner(d, q, 1);
  }
  const q = inside - 0.5;
  return (horner(a, q * q, middleEnd) * q) / horner(b, q * q, 1);
}
