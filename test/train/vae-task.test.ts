/** Training of a small autoencoder: it learns, goes on bit for bit, leaves nothing behind, and ends as a model that loads. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CausalVae } from "../../lib/models/vae/model.js";
import { openVae } from "../../lib/models/vae/open.js";
import { loadParams } from "../../lib/nn/load.js";
import { openDevice } from "../../lib/tensor.js";
import { latentStatistics } from "../../lib/train/vae/fold-latents.js";
import { reconstructionPsnr } from "../../lib/train/vae/psnr.js";
import { saveVae } from "../../lib/train/vae/save-vae.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";
import { living } from "../support/vae-case.js";
import { movingBars, smallVae, type VaeRun, vaeRun, vaeStages } from "../support/vae-run.js";

const device = openDevice("cpu");
const test = suite("training: autoencoder");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const runs = temporaryFolder();
let made = 0;
const fresh = () => join(runs, String(made++));
const total = vaeStages.reduce((sum, { steps }) => sum + steps, 0);
const metricsOf = ({ events }: VaeRun) => events.flatMap((event) => (event.kind === "step" ? [event.metrics] : []));

let through: VaeRun;
test.before(async () => {
  through = await vaeRun(device, { folder: fresh() });
});

test("every term is told, the discriminator's from its first step on", async () => {
  const told = metricsOf(through);
  assert.is(told.length, total);
  const always = ["gradNorm", "kl", "l1", "loss", "lr", "mse"];
  assert.equal(Object.keys(told[1] ?? {}).sort(), always);
  assert.equal(Object.keys(told[2] ?? {}).sort(), ["adversarial", "discriminator", ...always].sort());
  assert.ok(told.every((metrics) => Object.values(metrics).every(Number.isFinite)));
});

test("another seed gives other bytes", async () => {
  assert.is.not((await vaeRun(device, { folder: fresh(), seed: 6 })).sha256, through.sha256);
});

// Before the discriminator's first step, and among the tiles.
for (const step of [2, 5]) {
  test(`stopped after step ${step}: gone on with bit for bit`, async () => {
    const folder = fresh();
    const controller = new AbortController();
    const first = await vaeRun(device, {
      folder,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.kind === "step" && event.step === step) controller.abort();
      },
    });
    assert.equal([first.step, first.finished], [step, false]);
    const second = await vaeRun(device, { folder });
    assert.equal([second.resumedFrom, second.finished, second.sha256], [step, true, through.sha256]);
  });
}

test("tiles are drawn for a share of the batches", async () => {
  const stage = (share: number) =>
    [{ ...vaeStages[1], name: "all", steps: 2, tiling: { ...vaeStages[1].tiling, share } }] as const;
  const hashes = [];
  for (const share of [0, 0.5, 1])
    hashes.push((await vaeRun(device, { folder: fresh(), stages: stage(share) })).sha256);
  assert.is(new Set(hashes).size, 3);
});

test("it learns: PSNR rises, and what is finished has latents of variance 1, loads, and is as good", async () => {
  const before = living(device);
  const folder = fresh();
  const stages = [{ name: "all", steps: 40, schedule: { kind: "cosine" } }] as const;
  const clips = () => [0, 1, 3].map((index) => movingBars({ index, size: 2 }, device));
  let [averaged, files] = [0, [] as readonly string[]];
  const run = await vaeRun(device, {
    folder,
    stages,
    validateEvery: 20,
    task: { adversary: undefined },
    after: async (task) => {
      averaged = (await task.validate({ step: 40, stageStep: 40, stage: stages[0], stageIndex: 0, seed: 5 })).psnr ?? 0;
      using finished = await task.finished(clips);
      const { mean, deviation } = await latentStatistics(finished, clips());
      for (const one of mean) assert.ok(Math.abs(one) < 1e-3, `${mean}`);
      for (const one of deviation) assert.ok(Math.abs(one - 1) < 1e-3, `${deviation}`);
      files = await saveVae(finished, join(folder, "vae"), { dtype: "bf16" });
    },
  });
  const psnr = run.events.flatMap((event) => (event.kind === "validation" ? [event.metrics.psnr ?? 0] : []));
  const [first, last] = [psnr[0] ?? 0, psnr.at(-1) ?? 0];
  assert.ok(last > first + 1 && last > 18, psnr.join());
  assert.is(files.length, 2);
  const opened = await openVae(join(folder, "vae"));
  assert.equal(opened.config, smallVae);
  const params = await loadParams(device, opened.checkpoint, opened.specs, opened.naming, { dtype: "f32" });
  using loaded = new CausalVae(opened.config, params);
  const again = await reconstructionPsnr(loaded, [movingBars({ index: 7, size: 2 }, device)]);
  assert.ok(Math.abs(again.mean - averaged) < 0.3, `${again.mean}, before ${averaged}`);
  loaded.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("notes say what is off", async () => {
  await vaeRun(device, {
    ...{ folder: fresh(), stages: [{ name: "one", steps: 1 }], task: { adversary: undefined } },
    after: async ({ notes }) => {
      assert.is(notes[0], "losses: l1, mse, kl");
      assert.match(notes.join("\n"), /perceptual loss is off/);
      assert.match(notes.join("\n"), /adversarial loss is off/);
    },
  });
});
test.run();
