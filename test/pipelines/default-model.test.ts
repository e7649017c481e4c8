/** The model that is meant when none is named, and what a model's folder says of requests that say little. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { defaultNegativePromptI2v, HunyuanVideo, type ModelDefaults } from "../../lib/index.js";
import { inspectModel } from "../../lib/models/inspect.js";
import { rejection } from "../support/refusal.js";
import { loadTiny, sameBytes, temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";

const stated = {
  width: 64,
  height: 48,
  numFrames: 9,
  fps: 16,
  numInferenceSteps: 3,
  flowShift: 4,
  guidanceScale: 2,
  negativePrompt: "noise",
} as const satisfies ModelDefaults;

const states = (folder: string, json: unknown) =>
  writeFileSync(join(folder, "hunyuan.json"), typeof json === "string" ? json : JSON.stringify(json));

const plain = tinyFolder();
const demo = tinyFolder();
states(demo, { defaults: stated });
const request = { prompt: "a red circle moves left", seed: 3 };
const options = { dtype: "f32", latentsFolder: join(temporaryFolder(), "latents") } as const;

/** With another demo model than the package's. */
async function withDemo<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const before = process.env.HUNYUAN_DEMO_MODEL;
  process.env.HUNYUAN_DEMO_MODEL = folder;
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env.HUNYUAN_DEMO_MODEL;
    else process.env.HUNYUAN_DEMO_MODEL = before;
  }
}

test("without a source it is the demo model, with options and without", async () => {
  for (const load of [() => HunyuanVideo.load(), () => HunyuanVideo.load(undefined, options)]) {
    await using model = await withDemo(demo, load);
    assert.equal(model.defaults, stated);
  }
  await using model = await withDemo(demo, () => HunyuanVideo.load(options));
  assert.is(model.dtypes.dit, "f32");
  const video = await model.generate(request);
  assert.equal([video.width, video.height, video.numFrames, video.fps], [64, 48, 9, 16]);
  const { steps, flowShift, guidanceScale } = video.metadata.settings ?? {};
  assert.equal([steps, flowShift, guidanceScale], [3, 4, 2]);

  const { width, height, numFrames, fps, numInferenceSteps } = stated;
  const asked = { ...request, width, height, numFrames, fps, numInferenceSteps, flowShift: 4, guidanceScale: 2 };
  await using other = await loadTiny(plain);
  assert.ok(sameBytes(await other.generate(asked), video), "as if the request had said it");
  const shorter = await model.generate({ ...request, numFrames: 5, width: undefined as never });
  assert.equal([shorter.width, shorter.numFrames], [64, 5], "a request goes before");
});

test("the defaults hold for guidance, estimates, pictures and latents too", async () => {
  await using model = await loadTiny(demo);
  const guided = await model.generate({ ...request, trueCfgScale: 3 });
  assert.is(guided.metadata.negativePrompt, "noise");
  const { width, height, numFrames, numInferenceSteps } = stated;
  assert.equal(model.estimate(), model.estimate({ width, height, numFrames, numInferenceSteps }));
  using latents = await model.encodeVideo(guided);
  assert.is((await model.decodeLatents(latents)).fps, 16);
});

test("a folder that states nothing has the released model's, one that states some has the rest of them", async () => {
  await using model = await loadTiny(plain);
  const { negativePrompt, ...numbers } = model.defaults;
  const released = { numFrames: 129, fps: 24, numInferenceSteps: 50, flowShift: 7, guidanceScale: 6 };
  assert.equal(numbers, { width: 1280, height: 720, ...released });
  assert.match(negativePrompt, /^Aerial view/);

  const some = tinyFolder({ dit: { i2v: "token_replace" } });
  states(some, { defaults: { width: 128 } });
  await using other = await loadTiny(some, { i2v: "token_replace" });
  assert.equal(other.defaults, { ...numbers, width: 128, negativePrompt: defaultNegativePromptI2v });
});

const broken: readonly (readonly [json: unknown, message: RegExp])[] = [
  [{ defaults: { width: 100 } }, /"defaults\.width": is 100, expected a multiple of 16/],
  [{ defaults: { numFrames: 16 } }, /"defaults\.numFrames": is 16, expected 4 n \+ 1/],
  [{ defaults: { steps: 20 } }, /"defaults\.steps": is not known here; known are width, .*numInferenceSteps/],
  [{ defaults: [] }, /"defaults": is \[\], expected an object/],
  [{}, /"defaults": is undefined, expected an object/],
  [{ width: 64, defaults: {} }, /"width": is not known here; known are defaults/],
  ["{", /hunyuan\.json: is not valid JSON/],
  ["[]", /hunyuan\.json: is not a JSON object/],
];

test("what a folder states is checked before anything is read", async () => {
  const folder = tinyFolder();
  for (const [json, message] of broken) {
    states(folder, json);
    const error = await rejection(HunyuanVideo.load(folder));
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, message);
  }
  const { defaults, problems } = await inspectModel(folder);
  assert.is(defaults, undefined);
  assert.match(problems.join(), /hunyuan\.json: is not a JSON object/);
});

test("a package without the demo model says what to do", async () => {
  const nowhere = join(temporaryFolder(), "models", "demo");
  const error = await withDemo(nowhere, () => rejection(HunyuanVideo.load()));
  assert.is(error.code, "FILE_ERROR");
  assert.equal(error.details, { op: "HunyuanVideo.load", file: nowhere });
  assert.match(
    error.message,
    /no model is named.*is not at .*models\/demo.*Or name a model: a folder, or "owner\/name"/,
  );
  const empty = temporaryFolder();
  mkdirSync(join(empty, "demo"));
  const other = await withDemo(join(empty, "demo"), () => rejection(HunyuanVideo.load()));
  assert.is(other.code, "CHECKPOINT_INVALID");
});

test("what is neither a source nor options is refused", async () => {
  for (const wrong of [null, 5, ""] as never[]) {
    assert.is((await rejection(HunyuanVideo.load(wrong))).code, "INVALID_ARGUMENT");
  }
  assert.match((await rejection(HunyuanVideo.load({ dtyp: "f32" } as never))).message, /no setting dtyp/);
});

test.run();
