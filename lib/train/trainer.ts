/**
 * The training loop: steps, validation, samples, saved states, and going on bit for bit where a run stopped, however it
 * stopped. What learns is the task's business; what it learns from is the data's.
 */
import { join, resolve } from "node:path";
import { checkNumber } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import type { TrainingEvent } from "./progress.js";
import { RunPart } from "./run-part.js";
import { RunRecord } from "./run-record.js";
import type { Stage } from "./stages.js";
import { checkStages, placeOf, totalSteps } from "./stages.js";
import { StateFolder } from "./state.js";
import type { StateParts } from "./stateful.js";
import { onStopSignals } from "./stop-signals.js";
import type { BatchSource, Metrics, TrainingTask } from "./task.js";

export interface TrainingOptions<B, S extends Stage = Stage> {
  /** The run's folder: states/, samples/, metrics.jsonl, metrics.csv, report.html. A run that is there is gone on with. */
  readonly folder: string;
  /** For the report. Default: the folder's name. */
  readonly title?: string | undefined;
  /** Of everything random; a run that is gone on with must have begun with the same. */
  readonly seed: number;
  readonly stages: readonly S[];
  /** Opens the data of a stage, at its beginning; closed by the loop. */
  readonly open: (stage: S, index: number) => Promise<BatchSource<B>> | BatchSource<B>;
  /** Steps between saved states. Default 500. The last step, and a stop, are always saved. */
  readonly saveEvery?: number | undefined;
  /** Newest states that stay, besides the best. Default 3. */
  readonly keepLast?: number | undefined;
  /** Steps between validations. Default 0: none. Those of the last step, and the best, come with a saved state. */
  readonly validateEvery?: number | undefined;
  /** Steps between samples. Default 0: none. */
  readonly sampleEvery?: number | undefined;
  /** When it fires, the run ends after the step that is under way, saved. */
  readonly signal?: AbortSignal | undefined;
  /** Whether SIGINT and SIGTERM do the same. For programs that are nothing but a run. Default false. */
  readonly stopSignals?: boolean | undefined;
  readonly onEvent?: ((event: TrainingEvent) => void) | undefined;
}

export interface TrainingResult {
  /** Steps made, those of earlier runs included. */
  readonly step: number;
  /** False when the run was stopped before its last step. */
  readonly finished: boolean;
  /** Steps that were there when it began; 0 for a new run. */
  readonly resumedFrom: number;
  /** The least validation loss so far. */
  readonly best: number | undefined;
}

/** Steps in a row whose loss was not finite, after which going on makes no sense. */
const mostBadSteps = 10;

/**
 * Trains until the last step of the last stage, or until it is stopped.
 *
 * @throws NOT_FINITE after ten steps in a row without a finite loss; CHECKPOINT_INVALID for a folder that another
 * configuration was trained in, or in which all states are damaged; FILE_ERROR; whatever task and data throw. States saved
 * before stay.
 * @example
 * const stages = [{ name: "64px", steps: 5000 }];
 * await runTraining(task, { folder: "runs/demo", seed: 1, stages, open: () => dataset.batches(), saveEvery: 500 });
 */
export async function runTraining<B, S extends Stage>(
  task: TrainingTask<B, S>,
  options: TrainingOptions<B, S>,
): Promise<TrainingResult> {
  checkOptions(options);
  const run = new Run(task, options);
  const stop = () => run.stop();
  options.signal?.addEventListener("abort", stop, { once: true });
  const signals = options.stopSignals ? onStopSignals(stop) : undefined;
  if (options.signal?.aborted) stop();
  try {
    return await run.go();
  } finally {
    signals?.[Symbol.dispose]();
    options.signal?.removeEventListener("abort", stop);
    await run.close();
  }
}

function checkOptions<B, S extends Stage>({ stages, seed, ...others }: TrainingOptions<B, S>): void {
  const op = "runTraining";
  checkStages(stages);
  checkNumber(op, "seed", seed, { whole: true, min: 0 });
  const { saveEvery = 1, validateEvery = 0, sampleEvery = 0 } = others;
  checkNumber(op, "saveEvery", saveEvery, { whole: true, min: 1 });
  checkNumber(op, "validateEvery", validateEvery, { whole: true, min: 0 });
  checkNumber(op, "sampleEvery", sampleEvery, { whole: true, min: 0 });
}

class Run<B, S extends Stage> {
  readonly #task: TrainingTask<B, S>;
  readonly #options: TrainingOptions<B, S>;
  readonly #steps: number;
  readonly #states: StateFolder;
  readonly #own: RunPart;
  readonly #parts: StateParts;
  #source: { readonly stage: string; readonly batches: BatchSource<B> } | undefined;
  #stopped = false;
  #badSteps = 0;

  constructor(task: TrainingTask<B, S>, options: TrainingOptions<B, S>) {
    const { folder, keepLast, seed, stages } = options;
    this.#task = task;
    this.#options = options;
    this.#steps = totalSteps(stages);
    this.#states = new StateFolder(join(resolve(folder), "states"), { keepLast });
    this.#own = new RunPart(
      seed,
      () => this.#source && { stage: this.#source.stage, data: this.#source.batches.data() },
    );
    this.#parts = { run: this.#own, ...task.parts() };
  }

  stop(): void {
    this.#stopped = true;
  }

  async close(): Promise<void> {
    await this.#source?.batches.close?.();
    this.#source = undefined;
  }

  async go(): Promise<TrainingResult> {
    const { folder, title, onEvent } = this.#options;
    const restored = await this.#states.restore(this.#parts);
    const resumedFrom = restored?.step ?? 0;
    const record = await RunRecord.open({
      folder: resolve(folder),
      title,
      step: resumedFrom,
      steps: this.#steps,
      onEvent,
    });
    let step = resumedFrom;
    const stageAt = (at: number) => placeOf(this.#options.stages, Math.max(0, at), this.#options.seed).stage.name;
    for (const text of restored?.damaged ?? [])
      record.notice(`passed over a damaged state: ${text}`, step, stageAt(step));
    if (restored !== undefined) record.resumed(restored.path, step, stageAt(step - 1));
    let saved = restored !== undefined;
    while (step < this.#steps && !this.#stopped) {
      saved = await this.#step(step, record);
      step++;
    }
    if (!saved && step > 0) await this.#save(step, undefined, record);
    await record.finish();
    return { step, finished: step >= this.#steps, resumedFrom, best: this.#own.best };
  }

  /** @returns whether a state was saved after it */
  async #step(step: number, record: RunRecord): Promise<boolean> {
    const { stages, seed, saveEvery = 500, validateEvery = 0, sampleEvery = 0 } = this.#options;
    const place = placeOf(stages, step, seed);
    const source = await this.#sourceOf(place.stage, place.stageIndex);
    const metrics = await this.#task.step(() => source.take(), place);
    const done = step + 1;
    await record.step(metrics, done, place.stage.name);
    this.#watch(metrics, done, place.stage.name, record);
    const isLast = done === this.#steps;
    const due = (every: number) => every > 0 && (isLast || done % every === 0);
    let validation: number | undefined;
    if (due(validateEvery) && this.#task.validate !== undefined) {
      const measured = await this.#task.validate(place);
      validation = measured.loss;
      record.validation(measured, done, place.stage.name);
    }
    if (due(sampleEvery) && this.#task.sample !== undefined) {
      await record.samples(await this.#task.sample(place), done, place.stage.name);
    }
    const isBest = this.#own.isBest(validation);
    if (!(isBest || isLast || done % saveEvery === 0)) return false;
    await this.#save(done, validation, record);
    return true;
  }

  async #save(step: number, validation: number | undefined, record: RunRecord): Promise<void> {
    const path = await this.#states.save(this.#parts, { step, validation });
    await record.saved(path, step, placeOf(this.#options.stages, step - 1, this.#options.seed).stage.name);
  }

  async #sourceOf(stage: S, index: number): Promise<BatchSource<B>> {
    if (this.#source?.stage === stage.name) return this.#source.batches;
    await this.close();
    const batches = await this.#options.open(stage, index);
    this.#source = { stage: stage.name, batches };
    const position = this.#own.takePosition(stage.name);
    if (position !== undefined) batches.restore(position);
    return batches;
  }

  #watch({ loss }: Metrics, step: number, stage: string, record: RunRecord): void {
    if (loss !== undefined && Number.isFinite(loss)) {
      this.#badSteps = 0;
      return;
    }
    this.#badSteps++;
    record.notice(`the loss is ${loss}`, step, stage);
    if (this.#badSteps < mostBadSteps) return;
    const message = `runTraining: ${mostBadSteps} steps in a row had no finite loss, the last of them step ${step}; lower the learning rate and go on from a saved state, or look at the data`;
    throw new HunyuanError("NOT_FINITE", message, { block: "loss" });
  }
}
