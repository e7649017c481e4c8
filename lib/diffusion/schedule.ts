/**
 * Noise levels of the sampling steps. σ = 1 is noise and σ = 0 is data; a step goes from one σ to the next. The
 * arithmetic is rounded to f32 where the reference rounds, since the timestep that a model sees depends on it.
 */
import { shiftSigma, timestepScale } from "../models/dit/flow-matching.js";
import { checkNumber, invalid } from "../runtime/check.js";

/** N steps: from `sigmas[i]`, where the model is asked at `timesteps[i]`, to `sigmas[i + 1]`. */
export interface Schedule {
  /** N + 1 levels, falling; the last is 0. */
  readonly sigmas: readonly number[];
  /** N timesteps, 1000 σ. */
  readonly timesteps: readonly number[];
}

const f32 = Math.fround;

/**
 * As the reference makes an evenly spaced f32 vector: from both ends towards the middle, so that both are met exactly, each
 * product and sum rounded once.
 */
function evenlyFalling(count: number): number[] {
  const step = f32(-1 / (count - 1));
  const half = Math.floor(count / 2);
  return Array.from({ length: count }, (_, i) => f32(i < half ? 1 + step * i : -step * (count - 1 - i)));
}

function scheduleOf(sigmas: readonly number[]): Schedule {
  return { sigmas, timesteps: sigmas.slice(0, -1).map((sigma) => f32(sigma * timestepScale)) };
}

/**
 * The flow-matching schedule of the released model: evenly spaced levels, shifted.
 *
 * @param steps ≥ 1
 * @param shift > 0; the released pipeline's default is 7
 * @throws INVALID_ARGUMENT
 * @example flowSchedule(50, 7).timesteps[0] // 1000
 */
export function flowSchedule(steps: number, shift: number): Schedule {
  checkNumber("flowSchedule", "steps", steps, { whole: true, min: 1 });
  checkNumber("flowSchedule", "shift", shift, { above: 0 });
  return scheduleOf(evenlyFalling(steps + 1).map((sigma) => shiftSigma(sigma, shift)));
}

export interface LinearQuadraticOptions {
  /** How far the linear part goes below σ = 1. Default 0.025. */
  readonly threshold?: number;
  /** Steps of the linear part. Default half of all. */
  readonly linearSteps?: number;
}

/**
 * The schedule of Movie Gen (arXiv 2410.13720, §3.4.2) for few steps: first small equal steps near noise, then a parabola
 * that goes on with the same slope and reaches 0.
 *
 * @param steps ≥ 1
 * @throws INVALID_ARGUMENT
 * @example linearQuadraticSchedule(20).sigmas[10] // 0.975
 */
export function linearQuadraticSchedule(steps: number, options: LinearQuadraticOptions = {}): Schedule {
  const op = "linearQuadraticSchedule";
  checkNumber(op, "steps", steps, { whole: true, min: 1 });
  const { threshold = 0.025, linearSteps = Math.floor(steps / 2) } = options;
  checkNumber(op, "linearSteps", linearSteps, { whole: true, min: 0, max: steps - 1 });
  checkNumber(op, "threshold", threshold, { above: 0, max: 1 });
  const reached = linearSteps === 0 ? 0 : threshold;
  const slope = linearSteps === 0 ? 0 : threshold / linearSteps;
  const rest = steps - linearSteps;
  const bend = (1 - reached - slope * rest) / rest ** 2;
  const sigmas = Array.from({ length: steps }, (_, i) => {
    const past = Math.max(0, i - linearSteps);
    return 1 - (slope * i + bend * past ** 2);
  });
  return scheduleOf([...sigmas, 0]);
}

/**
 * A schedule of one's own: falling levels in (0, 1], taken as they are. A closing 0 may be left out.
 *
 * @throws INVALID_ARGUMENT for no levels, or levels that do not fall
 * @example customSchedule([1, 0.9, 0.6, 0.2])
 */
export function customSchedule(sigmas: readonly number[]): Schedule {
  const ok =
    Array.isArray(sigmas) &&
    sigmas.every((sigma) => typeof sigma === "number" && Number.isFinite(sigma)) &&
    sigmas.every((sigma, i) => i === 0 || sigma < (sigmas[i - 1] as number)) &&
    (sigmas[0] ?? 0) > 0 &&
    (sigmas[0] as number) <= 1 &&
    (sigmas.at(-1) as number) >= 0;
  if (!ok)
    throw invalid("customSchedule", "sigmas", sigmas, "falling numbers from at most 1 down to more than, or to, 0");
  return scheduleOf(sigmas.at(-1) === 0 ? [...sigmas] : [...sigmas, 0]);
}

/**
 * What is left of a schedule when a given video is to be changed by `strength`: 1 is the whole of it, and the smaller, the
 * later it begins and the more of the video stays.
 *
 * @param strength in (0, 1]
 * @throws INVALID_ARGUMENT when no step would be left
 */
export function lastSteps({ sigmas, timesteps }: Schedule, strength: number): Schedule {
  checkNumber("lastSteps", "strength", strength, { above: 0, max: 1 });
  const steps = timesteps.length;
  const kept = Math.floor(steps * strength);
  if (kept === 0) throw invalid("lastSteps", "strength", strength, `at least 1/${steps}, or nothing would be done`);
  return { sigmas: sigmas.slice(steps - kept), timesteps: timesteps.slice(steps - kept) };
}
