/** Requests by the hundred: counters and resident size stay where the first few left them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { GenerateRequest, HunyuanVideo } from "../../lib/index.js";
import { demoModelFolder } from "../../lib/pipelines/demo-model.js";
import { writeInitialModel } from "../../lib/pipelines/training/initial-model.js";
import { captionOf } from "../../lib/train/demo/captions.js";
import { demoClip, demoDit, demoLlama, demoVae } from "../../lib/train/demo/model.js";
import { demoWords } from "../../lib/train/demo/words.js";
import { devicesHere, plainErrors } from "../support/each-device.js";
import { loadTiny, temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";

const test = suite("leaks of requests");
const here = await devicesHere();
const full = process.env.HUNYUAN_TEST_FULL === "1";
const collect = globalThis.gc as () => void;

/**
 * Everything that is counted, once nothing runs and no garbage could still come back. Bytes kept for reuse stand apart: how
 * many there are depends on how far the device was behind when memory was let go of.
 */
async function countersOf({ device }: HunyuanVideo) {
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await device.sync();
  const { live, cached, tensors, pending, forgotten, guardViolations } = device.memory();
  return { exact: { live, tensors, pending, forgotten, guardViolations }, cached };
}

const warmup = 5;

type OneVideo = GenerateRequest & { readonly numVideos?: never };

/** Asks that often, each time with another seed; resident MiB more than after the first requests. */
async function ask(model: HunyuanVideo, request: OneVideo, times: number): Promise<number> {
  const from = async (first: number, end: number) => {
    for (let seed = first; seed < end; seed++) (await model.generate({ ...request, seed })).dispose();
  };
  await from(0, warmup);
  const before = await countersOf(model);
  const resident = process.memoryUsage.rss();
  await from(warmup, warmup + times);
  const after = await countersOf(model);
  assert.equal(after.exact, before.exact);
  assert.ok(after.cached <= 2 * before.cached, `${after.cached} bytes are kept, ${before.cached} at first`);
  const grown = (process.memoryUsage.rss() - resident) / 2 ** 20;
  console.log(`${model.device.name}: ${times} requests, resident memory grew by ${grown.toFixed(1)} MiB`);
  return grown;
}

/** One block of each kind, and text encoders that are loaded for each request and freed. */
const twoBlocks = { numDoubleBlocks: 1, numSingleBlocks: 1, hiddenSize: 32, ropeAxes: [4, 6, 6], mlpRatio: 2 } as const;
const request = { prompt: "a cat", width: 16, height: 16, numFrames: 5, numInferenceSteps: 1 } as const;
const times = full ? 1000 : 50;

for (const name of here) {
  test(`${name}: ${times} requests to two blocks leave nothing`, () =>
    plainErrors(async () => {
      await using model = await loadTiny(tinyFolder({ dit: twoBlocks }), { device: name });
      assert.ok((await ask(model, request, times)) < 32);
    }));
}

async function demoFolder(): Promise<string> {
  const trained = demoModelFolder();
  if (existsSync(trained)) return trained;
  const folder = join(temporaryFolder(), "demo");
  const sizes = { dit: demoDit, vae: demoVae, llama: demoLlama, clip: demoClip };
  await writeInitialModel(folder, { ...sizes, words: demoWords(), seed: 1 });
  return folder;
}

if (here.includes("cpu")) {
  test("cpu: 20 requests to the demo model, or to one of its sizes where there is none, leave nothing", () =>
    plainErrors(async () => {
      await using model = await loadTiny(await demoFolder(), { dtype: "bf16" });
      const prompt = captionOf({ colour: "red", shape: "circle", motion: "left", background: "black" });
      const clip = { prompt, width: 64, height: 64, numFrames: 17, numInferenceSteps: 4 };
      assert.ok((await ask(model, clip, 20)) < 32);
    }));
}

test.run();
