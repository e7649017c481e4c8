/** A training program of its own, made of what `hunyuan-native/train` exports: the one that docs/training.md shows. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { add, mul } from "../../lib/tensor.js";
import {
  DitTask,
  ditSpec,
  HunyuanDit,
  type LatentBatch,
  LatentSource,
  LoadedModel,
  LoraAdapters,
  ParameterSet,
  runTraining,
  saveLora,
  velocityLosses,
} from "../../lib/train.js";
import { rejection } from "../support/refusal.js";
import { loadTiny, temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";
import { captionedClips, smallClip } from "../support/train-config.js";

const test = suite("training: a program of its own");
const clips = await captionedClips();

test("a LoRA by an objective of the caller's: batches, steps, a file that loads; all memory comes back", async () => {
  const folder = tinyFolder({ dit: { guidanceEmbed: false } });
  const run = temporaryFolder();
  const path = join(run, "lora.safetensors");
  let asked = 0;
  await using model = await LoadedModel.load(folder, { dtype: "f32" });
  const { device, dit } = model;
  const before = device.memory().tensors;
  {
    await using source = await LatentSource.open({ model, folder: join(run, "cache"), seed: 1 });
    const batches = await source.batchesOf({ source: clips, buckets: [{ ...smallClip, batchSize: 2 }] });
    using lora = new LoraAdapters(dit.params, ditSpec(dit.config), { rank: 4, seed: 1 });
    using task = new DitTask<LatentBatch>({
      dit: new HunyuanDit(dit.config, lora.params),
      parameters: new ParameterSet(lora.named()),
      learner: { lr: 0.01 },
      inputs: (batch, seed) => source.inputs(batch, seed),
      release: (batch) => batch.dispose(),
      objective: (trained, sample) => {
        asked++;
        const still = { ...sample, sigmas: sample.sigmas.map(() => 1) };
        return add(velocityLosses(trained, sample), mul(velocityLosses(trained, still), 0.1));
      },
    });
    const stages = [{ name: "all", steps: 2 }];
    const result = await runTraining(task, { folder: run, seed: 1, stages, open: () => batches.batches({ device }) });
    assert.is(result.step, 2);
    assert.is(asked, 2);
    await saveLora(path, lora, dit.config);
  }
  await device.sync();
  assert.is(device.memory().tensors, before);
  assert.ok(existsSync(path));
  await using video = await loadTiny(folder);
  const { rank, unmatched } = await video.loadLora(path);
  assert.is(rank, 4);
  assert.equal(unmatched, []);
});

test("options of a model that are wrong are refused before anything is read", async () => {
  const error = await rejection(LoadedModel.load("./nowhere", { dtype: "f64" } as never));
  assert.is(error.code, "INVALID_ARGUMENT");
});

test.run();
