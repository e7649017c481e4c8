/** Measurements against captions. */
import { Draws } from "../data/draws.js";
import { parseCaption } from "../demo/captions.js";
import type { DemoColour, DemoMotion, DemoShape, HexColour } from "../demo/vocabulary.js";
import type { Measurement } from "./measure.js";

export const criteria = ["colour", "shape", "motion"] as const;
export type Criterion = (typeof criteria)[number];

/** What a caption promises; what it does not speak of is not scored. */
export interface Expectation {
  readonly colour?: DemoColour | HexColour | undefined;
  readonly shape?: DemoShape | undefined;
  readonly motion?: DemoMotion | undefined;
}

/** For each criterion that a caption speaks of, whether the clip shows it. */
export type Verdict = Readonly<Partial<Record<Criterion, boolean>>>;

export interface Rate {
  readonly right: number;
  readonly total: number;
  /** right / total; 0 of nothing. */
  readonly rate: number;
  /** Where the true rate lies with 95 % certainty (Wilson's interval). */
  readonly low: number;
  readonly high: number;
}

/** `all`: every criterion of the caption at once. */
export type Scores = Readonly<Record<Criterion | "all", Rate>>;

/** @example expectationOf("a red circle moves left on a black background") // { colour: "red", shape: "circle", motion: "left" } */
export function expectationOf(caption: string): Expectation {
  const { colour, shape, motion } = parseCaption(caption);
  return { colour, shape, motion };
}

export function judge(measured: Pick<Measurement, Criterion>, expected: Expectation): Verdict {
  const spoken = criteria.filter((criterion) => expected[criterion] !== undefined);
  return Object.fromEntries(spoken.map((criterion) => [criterion, measured[criterion] === expected[criterion]]));
}

export function scoresOf(verdicts: readonly Verdict[]): Scores {
  const of = (values: readonly (boolean | undefined)[]) => {
    const spoken = values.filter((value) => value !== undefined);
    return rateOf(spoken.filter(Boolean).length, spoken.length);
  };
  const whole = verdicts.map((verdict) => {
    const values = Object.values(verdict);
    return values.length === 0 ? undefined : values.every(Boolean);
  });
  return {
    colour: of(verdicts.map(({ colour }) => colour)),
    shape: of(verdicts.map(({ shape }) => shape)),
    motion: of(verdicts.map(({ motion }) => motion)),
    all: of(whole),
  };
}

/** @see Wilson, Probable inference, the law of succession, and statistical inference (1927) */
export function rateOf(right: number, total: number): Rate {
  if (total === 0) return { right, total, rate: 0, low: 0, high: 1 };
  const z = 1.96;
  const rate = right / total;
  const middle = (rate + (z * z) / (2 * total)) / (1 + (z * z) / total);
  const half = (z / (1 + (z * z) / total)) * Math.sqrt((rate * (1 - rate)) / total + (z * z) / (4 * total * total));
  return { right, total, rate, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/**
 * The score that the clips get for each other's captions, over `rounds` shuffles: what they would score if they had nothing
 * to do with their captions.
 */
export function shuffledScores(
  measured: readonly Pick<Measurement, Criterion>[],
  expected: readonly Expectation[],
  { seed, rounds = 20 }: { readonly seed: number; readonly rounds?: number },
): Scores {
  const verdicts: Verdict[] = [];
  for (let round = 0; round < rounds; round++) {
    const others = new Draws("shuffled captions", seed, round).shuffled(expected);
    measured.forEach((one, i) => verdicts.push(judge(one, others[i] as Expectation)));
  }
  return scoresOf(verdicts);
}

/** What blind guessing with the captions' own frequencies would get: the chance that two of the captions agree. */
export function chanceOf(expected: readonly Expectation[]): Readonly<Record<Criterion, number>> {
  const of = (criterion: Criterion) => {
    const counts = new Map<string, number>();
    const values = expected.flatMap((one) => one[criterion] ?? []);
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    const pairs = [...counts.values()].reduce((sum, count) => sum + count * count, 0);
    return values.length === 0 ? 0 : pairs / values.length ** 2;
  };
  return { colour: of("colour"), shape: of("shape"), motion: of("motion") };
}
