/** An autoencoder's training run. */
import { resolve } from "node:path";
import { encodeImage } from "../../io/media/picture.js";
import { findModelParts, requireParts } from "../../models/model-folder.js";
import { CausalVae } from "../../models/vae/model.js";
import { openVae } from "../../models/vae/open.js";
import { loadParams } from "../../nn/load.js";
import { slice } from "../../ops/views.js";
import { type Device, openDevice } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { StageDataConfig } from "../../train/config.js";
import type { ClipBatch, Dataset } from "../../train/data/dataset.js";
import { pixelsOf } from "../../train/data/pixels.js";
import { stripOf } from "../../train/eval/sheet.js";
import { parametersOf } from "../../train/parameters.js";
import type { SampleStrip } from "../../train/task.js";
import { runTraining } from "../../train/trainer.js";
import { discriminatorDefaults, PatchDiscriminator } from "../../train/vae/discriminator.js";
import { type Lpips, loadLpips } from "../../train/vae/lpips.js";
import { saveVae } from "../../train/vae/save-vae.js";
import { VaeTask, type VaeTaskOptions } from "../../train/vae/vae-task.js";
import { readFrames } from "../video-bytes.js";
import type { VaeTrainingConfig } from "./config.js";
import type { RunHooks, RunResult } from "./events.js";
import { openData } from "./latents.js";

/** Clips of a batch that a strip is made of, each above its reconstruction. */
const clipsShown = 4;

/**
 * Trains as the configuration says, or goes on where a run in its folder stopped. At the end the averaged weights, their
 * latents brought to mean 0 and variance 1 unless they are to be kept, are saved in the run's folder as `vae/`, in the released layout.
 *
 * @throws what loading a model, opening data and training throw
 */
export async function runVaeTraining(config: VaeTrainingConfig, hooks: RunHooks = {}): Promise<RunResult> {
  const { signal, onEvent } = hooks;
  const { folder, run, stages, statisticsBatches = 16, saveDtype } = config;
  const { device: name = "cpu", memoryLimit } = config;
  await using device = openDevice(name, memoryLimit === undefined ? {} : { memoryLimit });
  const vae = await loadVae(config, device, hooks);
  using _params = vae.params;
  const open = dataOf(config, hooks);
  // Everything that can be missing is found before the first step.
  for (const { data } of stages) await open(data);
  if (config.validation) await open(config.validation);
  using lpips = config.lpips ? await loadLpips(config.lpips, { device, signal }) : undefined;
  using discriminator = config.adversary ? discriminatorOf(config, device) : undefined;
  using task = new VaeTask<ClipBatch>(taskOptions(config, { vae, device, lpips, discriminator, open }));
  for (const text of task.notes) onEvent?.({ kind: "note", text });
  const result = await runTraining(task, {
    ...{ ...run, folder, signal, onEvent },
    stages,
    // Not told of the signal: the step under way is finished and saved.
    open: async ({ data }: (typeof stages)[number]) => (await open(data)).batches(),
  });
  if (!result.finished) return { ...result, files: [] };
  const [{ data }] = stages.slice(-1) as [(typeof stages)[number]];
  const clips = config.latents === "keep" ? undefined : () => firstClips(data, open, statisticsBatches, device);
  using finished = await task.finished(clips);
  const files = await saveVae(finished, `${resolve(folder)}/vae`, { dtype: saveDtype });
  return { ...result, files };
}

async function loadVae(config: VaeTrainingConfig, device: Device, { signal, onEvent }: RunHooks) {
  const { dtype = "f32" } = config;
  const parts = await findModelParts(config.model, config.parts);
  requireParts(parts, ["vae"]);
  const { checkpoint, specs, naming, config: sizes } = await openVae(parts.vae as string);
  onEvent?.({ kind: "prepare", what: "model", done: 0, total: 1 });
  const params = await loadParams(device, checkpoint, specs, naming, { dtype, signal });
  onEvent?.({ kind: "prepare", what: "model", done: 1, total: 1 });
  return new CausalVae(sizes, params);
}

type OpenData = (data: StageDataConfig) => Promise<Dataset>;

/** Opens each data set once. */
function dataOf({ run, folder, stages }: VaeTrainingConfig, hooks: RunHooks): OpenData {
  const opened = new Map<string, Promise<Dataset>>();
  return (data) => {
    const key = JSON.stringify(data);
    const { crop, maxInterval } = stages.find((stage) => JSON.stringify(stage.data) === key) ?? {};
    const cutting = { scale: crop, maxInterval };
    const known =
      opened.get(key) ?? openData(data, { ...cutting, ...hooks, seed: run.seed, cacheFolder: `${folder}/files` });
    opened.set(key, known);
    return known;
  };
}

function discriminatorOf({ adversary, run }: VaeTrainingConfig, device: Device): PatchDiscriminator {
  const { channels = discriminatorDefaults.channels, layers = discriminatorDefaults.layers } = adversary ?? {};
  return PatchDiscriminator.create({ ...discriminatorDefaults, channels, layers }, { seed: run.seed, device });
}

interface Parts {
  readonly vae: CausalVae;
  readonly device: Device;
  readonly lpips: Lpips | undefined;
  readonly discriminator: PatchDiscriminator | undefined;
  readonly open: OpenData;
}

function taskOptions(config: VaeTrainingConfig, parts: Parts): VaeTaskOptions<ClipBatch> {
  const { learner, weights, validation, dtype, adversary, include, exclude } = config;
  const { vae, device, lpips, discriminator, open } = parts;
  const parameters = parametersOf(vae.params, { include, exclude });
  const watched = validation && (() => firstClips(validation, open, validation.batches, device));
  return {
    ...{ vae, parameters, learner, dtype, weights, lpips },
    clips: (batch) => pixelsOf(batch, { device }),
    adversary: adversary && discriminator && { ...adversary, discriminator },
    validation: watched,
    sample: watched && (() => reconstructions(vae, watched())),
  };
}

/** The first batches of some data, the same each time. */
async function* firstClips(data: StageDataConfig, open: OpenData, count: number, device: Device) {
  await using stream = (await open(data)).batches();
  for (let i = 0; i < count; i++) yield pixelsOf(await stream.take(), { device });
}

/** Clips of the first batch, each above its reconstruction. */
async function reconstructions(
  vae: CausalVae,
  batches: AsyncIterable<Tensor<FloatDType>>,
): Promise<readonly SampleStrip[]> {
  for await (const batch of batches) {
    try {
      return await stripsOf(vae, batch);
    } finally {
      batch.dispose();
    }
  }
  return [];
}

async function stripsOf(vae: CausalVae, batch: Tensor<FloatDType>): Promise<readonly SampleStrip[]> {
  const { mean, logvar } = await vae.encodeTiled(batch);
  logvar.dispose();
  using again = await vae.decodeTiled(mean).finally(() => mean.dispose());
  const strips: SampleStrip[] = [];
  for (let i = 0; i < Math.min(clipsShown, batch.shape[0] ?? 0); i++) {
    for (const [caption, clips] of [
      [`clip ${i}`, batch],
      [`clip ${i}, through the autoencoder`, again],
    ] as const) {
      strips.push({ caption, type: "image/png", bytes: await stripPicture(clips, i) });
    }
  }
  return strips;
}

async function stripPicture(clips: Tensor<FloatDType>, index: number): Promise<Uint8Array> {
  const [, numFrames = 0, height = 0, width = 0] = clips.shape;
  using clip = scope(() => slice(clips, 0, index, index + 1));
  // What is not finite yet is shown as nothing at all.
  const data = (await readFrames(clip, undefined)) ?? new Uint8Array(numFrames * height * width * 3);
  return encodeImage(stripOf({ data, width, height, numFrames }), { format: "png", metadata: false });
}
