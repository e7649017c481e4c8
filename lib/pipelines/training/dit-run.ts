/** A transformer's training run: all of it, a LoRA, or a student of guidance. */
import { join, resolve } from "node:path";
import type { Device } from "../../runtime/device.js";
import type { LatentBatch } from "../../train/data/latents.js";
import { distilledScales } from "../../train/distil/guidance.js";
import { ditMatrixRows } from "../../train/dit-matrices.js";
import { DitTask } from "../../train/dit-task.js";
import { runTraining } from "../../train/trainer.js";
import { LoadedModel } from "../loaded-model.js";
import type { DitTrainingConfig } from "./config.js";
import type { RunHooks, RunResult } from "./events.js";
import { firstBatches, LatentSource } from "./latents.js";
import { PreservedVideos } from "./preserved-videos.js";
import type { SampledBy } from "./sampled-latents.js";
import { sampleStrips } from "./samples.js";
import { traineeOf } from "./trainee.js";

/**
 * Trains as the configuration says, or goes on where a run in its folder stopped.
 *
 * @throws what loading a model, opening data and training throw
 */
export async function runDitTraining(config: DitTrainingConfig, hooks: RunHooks = {}): Promise<RunResult> {
  const { signal, onEvent } = hooks;
  const { dtype = "f32", device, memoryLimit, folder, run, cache = join(folder, "cache") } = config;
  const joint = config.kind === "full" && config.text === "trained";
  const where = { ...(device && { device }), ...(memoryLimit && { memoryLimit }) };
  const loading = { ...config.parts, ...where, dtype, keepTextEncoders: joint };
  onEvent?.({ kind: "prepare", what: "model", done: 0, total: 1 });
  await using model = await LoadedModel.load(config.model, { ...loading, ...(signal && { signal }) });
  onEvent?.({ kind: "prepare", what: "model", done: 1, total: 1 });
  const encoders = joint ? await model.withText(signal, async (kept) => kept) : undefined;
  await using source = await LatentSource.open({
    ...{ model, folder: cache, seed: run.seed, variants: config.variants, encoders, signal, onEvent },
  });
  using trainee = await traineeOf(config, model, { encoders, signal });
  // Everything that can be missing is found before the first step.
  for (const { data } of config.stages) await source.batchesOf(data);
  if (config.validation) await source.batchesOf(config.validation);
  const preserve = config.kind === "distil" ? undefined : config.preserve;
  await source.addPrompts([...(config.samples?.prompts ?? []), ...(preserve?.captions ?? [])]);
  const { dit, parameters, objective, frozen } = trainee;
  const conditions = (captions: readonly string[]) => source.conditions(captions);
  using kept =
    preserve && frozen && new PreservedVideos(preserve, config, { model, dit: frozen, conditions, ...hooks });
  using task = new DitTask<LatentBatch>({
    ...{ ...taskOptions(config, model, source, { dit, conditions }), dit, parameters, objective },
    preserve: preserve &&
      frozen && { ...preserve, frozen, conditions, latents: (caption, shape) => kept?.find(caption, shape) },
  });
  const { stages } = config;
  const open = async ({ data }: (typeof stages)[number]) => {
    await kept?.make();
    return (await source.batchesOf(data)).batches({ device: model.device });
  };
  const result = await runTraining(task, { ...run, folder, stages, open, signal, onEvent });
  const files = result.finished ? await task.learner.averaged(() => trainee.save(resolve(folder))) : [];
  return { ...result, files };
}

function taskOptions(
  config: DitTrainingConfig,
  model: LoadedModel,
  source: LatentSource,
  { dit, conditions }: Pick<SampledBy, "dit" | "conditions">,
) {
  const { validation, samples, captionDropout, timesteps, checkpoint, learner, run } = config;
  return {
    ...{ captionDropout, timesteps, checkpoint },
    dtype: model.dtypes.dit,
    learner: { ...learner, rowsOf: (name: string, shape: readonly number[]) => ditMatrixRows(name, shape) },
    guidance: config.guidance ?? distilledScales,
    inputs: (batch: LatentBatch, seed: number) => source.inputs(batch, seed),
    release: (batch: LatentBatch) => batch.dispose(),
    emptyCaption: () => conditions([""]),
    validation: validation && (() => validationBatches(source, validation, model.device)),
    sample: samples && (() => sampleStrips({ model, dit, config: samples, seed: run.seed, conditions })),
  };
}

async function* validationBatches(
  source: LatentSource,
  validation: NonNullable<DitTrainingConfig["validation"]>,
  device: Device,
): AsyncGenerator<LatentBatch> {
  yield* firstBatches(await source.batchesOf(validation), validation.batches, device);
}
