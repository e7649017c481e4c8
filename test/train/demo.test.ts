/** `npm run train:demo` with its own recipes, cut short: every stage from nothing to a model that loads, and no stage twice. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HunyuanVideo } from "../../lib/index.js";
import { inspectModel } from "../../lib/models/inspect.js";
import { type TrainingConfig, trainingSchema } from "../../lib/train.js";
import { hunyuanHere } from "../support/cli.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";

const test = suite("training: the demo model");
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const demo = at("models/demo");
const recipes = resolve("scripts/demo-recipe");
const script = resolve("scripts/train-demo.ts");

function trainDemo(...more: string[]) {
  const args = ["--import", import.meta.resolve("tsx"), script, "--recipe", "recipe", ...more];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  return { status, stdout, stderr };
}

/** One step with small clips. Everything else is as it was committed. */
function cutShort(name: string): void {
  const config = trainingSchema.parse(JSON.parse(readFileSync(join(recipes, name), "utf8"))) as TrainingConfig;
  const stages = config.stages.map((stage) => ({
    ...{ ...stage, steps: 1, schedule: {} },
    data: { ...stage.data, imageRatio: 0, buckets: [{ width: 16, height: 16, numFrames: 5, batchSize: 2 }] },
  }));
  const validation = config.kind === "vae" && {
    source: config.validation?.source,
    ...{ buckets: [{ width: 64, height: 64, numFrames: 17, batchSize: 1 }], batches: 1 },
  };
  const short = { ...config, stages, validation: validation || undefined, samples: undefined };
  const extra = config.kind === "vae" ? { statisticsBatches: 1 } : {};
  writeFileSync(join(at("recipe"), name), JSON.stringify({ ...short, ...extra }));
}

test.before(() => {
  mkdirSync(at("recipe"));
  for (const name of readdirSync(recipes)) cutShort(name);
});

test("from nothing: all stages in order, a student that takes guidance as an input", async () => {
  const { status, stdout, stderr } = trainDemo("--clips", "4", "--validation", "2");
  assert.is(status, 0, stdout + stderr);
  const told = [...stdout.matchAll(/^(\w+): .* is not there yet$/gm)].map(([, stage]) => stage);
  assert.equal(told, ["data", "model", "vae", "colours", "dit", "distil", "assemble"]);
  const { problems, missing, parts, defaults } = await inspectModel(demo);
  assert.equal([problems, missing], [[], []]);
  for (const part of Object.values(parts)) {
    assert.is(part?.licence, "apache-2.0 (by its metadata)");
    assert.equal(
      part?.dtypes.map(({ dtype }) => dtype),
      ["bf16"],
    );
  }
  assert.match(parts.transformer?.variant ?? "", /, guidance as an input/);
  const card = readFileSync(join(demo, "README.md"), "utf8");
  assert.match(card, /^---\nlicense: apache-2\.0\n/);
  assert.match(card, /PSNR of whole clips .* after step 1, .*: \d+\.\d dB/);
  await using model = await HunyuanVideo.load(demo);
  const { negativePrompt: _, ...settings } = model.defaults;
  assert.equal(settings, { ...{ width: 64, height: 64, numFrames: 17, fps: 24 }, ...sampling });
  assert.equal(defaults, model.defaults);
  const video = await model.generate({ prompt: "a red circle moves left on a black background", numInferenceSteps: 1 });
  assert.equal([video.width, video.height, video.numFrames, video.fps], [64, 64, 17, 24]);
});

const sampling = { numInferenceSteps: 20, flowShift: 3, guidanceScale: 4 } as const;

test("again: nothing is made twice; what is newer is gone on from", () => {
  const before = statSync(join(demo, "README.md")).mtimeMs;
  const again = trainDemo();
  assert.is(again.status, 0, again.stderr);
  assert.is([...again.stdout.matchAll(/^\w+: .* is there$/gm)].length, 7);
  const future = new Date(Date.now() + 1000);
  utimesSync(at("recipe/distil.json"), future, future);
  const changed = trainDemo();
  assert.is(changed.status, 0, changed.stderr);
  assert.match(changed.stdout, /^dit: .* is there$/m);
  assert.match(changed.stdout, /^distil: recipe.distil\.json is newer than /m);
  assert.match(changed.stderr, /going on from .*step-000000001\.json/);
  assert.ok(statSync(join(demo, "README.md")).mtimeMs > before);
});

test("one stage alone; from the teacher; what cannot be", () => {
  const teacher = trainDemo("--only", "assemble", "--from", "teacher", "--out", "teacher");
  assert.is(teacher.status, 0, teacher.stderr);
  assert.match(readFileSync(at("teacher/README.md"), "utf8"), /takes no guidance as an input/);
  assert.not(existsSync(at("teacher.part")));
  const data = trainDemo("--only", "data");
  assert.equal([data.status, /demo-data is there: remove it/.test(data.stderr)], [1, true]);
  assert.is(trainDemo("--only", "bake").status, 2);
});

test("inspect says whose terms: those of the card and the files, not those of somebody else's weights", async () => {
  const { status, stdout } = await hunyuanHere(["inspect", demo]);
  assert.is(status, 0, stdout);
  assert.not.match(stdout, /Tencent|Meta|MIT/);
  assert.match(stdout, /licence +apache-2\.0/);
});

test.run();
