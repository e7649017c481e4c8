/** A run as stages one after the other: small clips first, then longer and larger ones, each with data and rate of its own. */
import { HunyuanError } from "../runtime/errors.js";

/** What every stage says; tasks add what they need. */
export interface Stage {
  /** Unique in the run: a resumed run finds its place in the data by it. */
  readonly name: string;
  readonly steps: number;
}

/** Where in its run a step is. Everything random in a step follows from this. */
export interface StepPlace<S extends Stage = Stage> {
  /** Steps made before, over all stages. */
  readonly step: number;
  /** Steps made before in this stage. */
  readonly stageStep: number;
  readonly stage: S;
  readonly stageIndex: number;
  /** Of the run. */
  readonly seed: number;
}

/** Steps of all stages. */
export function totalSteps(stages: readonly Stage[]): number {
  return stages.reduce((sum, { steps }) => sum + steps, 0);
}

/** The place of a step; behind the last step that of the last stage's end. */
export function placeOf<S extends Stage>(stages: readonly S[], step: number, seed: number): StepPlace<S> {
  let before = 0;
  for (const [stageIndex, stage] of stages.entries()) {
    if (step < before + stage.steps || stageIndex === stages.length - 1) {
      return { step, stageStep: step - before, stage, stageIndex, seed };
    }
    before += stage.steps;
  }
  throw new HunyuanError("INVALID_ARGUMENT", "stages: there are none; give at least one", {
    op: "runTraining",
    argument: "stages",
  });
}

/** @throws INVALID_ARGUMENT */
export function checkStages(stages: readonly Stage[]): void {
  const refuse = (message: string) =>
    new HunyuanError("INVALID_ARGUMENT", `runTraining: ${message}`, { op: "runTraining", argument: "stages" });
  if (stages.length === 0) throw refuse("there are no stages; give at least one");
  const names = new Set<string>();
  for (const { name, steps } of stages) {
    if (!Number.isSafeInteger(steps) || steps < 1)
      throw refuse(`stage ${name} has ${steps} steps, expected a whole number ≥ 1`);
    if (names.has(name)) throw refuse(`two stages are called ${name}`);
    names.add(name);
  }
}
