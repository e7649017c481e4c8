/** Requests that are aborted, run out of memory, meet NaN, or whose process dies: what is told, and what is left. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type GenerateEvent, HunyuanVideo, openDevice } from "../../lib/index.js";
import { rejection } from "../support/refusal.js";
import { loadTiny, restingMemory, sameBytes, smallRequest, tinyFolder } from "../support/tiny-pipeline.js";

const folder = tinyFolder();
const latents = join(folder, "..", "latents");
const model = await loadTiny(folder);
const resting = await restingMemory(model);
const untouched = await model.generate(smallRequest);

/** Two tiles, so that decoding can be stopped between them. */
const tiled = { ...smallRequest, width: 288, tiling: "hunyuan" } as const;

const places: { readonly [name: string]: (event: GenerateEvent) => boolean } = {
  "while it waits for its turn": ({ stage }) => stage === "queued",
  "before encoding": ({ stage, step }) => stage === "encode" && step === 0,
  "after encoding": ({ stage, step }) => stage === "encode" && step === 1,
  "at step 3": ({ stage, step }) => stage === "sample" && step === 3,
  "between two tiles": ({ stage, step }) => stage === "decode" && step === 1,
};

for (const [name, isThere] of Object.entries(places)) {
  test(`aborted ${name}`, async () => {
    const controller = new AbortController();
    const later: string[] = [];
    const running = model.generate(tiled, {
      signal: controller.signal,
      onProgress: (event) => {
        if (controller.signal.aborted) later.push(event.stage);
        if (isThere(event)) controller.abort(new Error("enough"));
      },
    });
    const error = await rejection(running);
    assert.is(error.code, "ABORTED");
    assert.is((error.cause as Error).message.length > 0, true);
    assert.ok(later.length <= 1, `went on with ${later.join(", ")}`);
    assert.equal(await restingMemory(model), resting);
    assert.ok(sameBytes(await model.generate(smallRequest), untouched), "the next request");
  });
}

/** From inside a stage: the event loop is free while the device works. */
for (const [name, isThere] of Object.entries({
  encoding: ({ stage, step }: GenerateEvent) => stage === "encode" && step === 0,
  "a step": ({ stage, step }: GenerateEvent) => stage === "sample" && step === 2,
})) {
  test(`aborted in the middle of ${name}: ends within an op's time`, async () => {
    const controller = new AbortController();
    let aborted = 0;
    const error = await rejection(
      model.generate(
        { ...smallRequest, width: 256, height: 256 },
        {
          signal: controller.signal,
          onProgress: (event) => {
            if (!isThere(event)) return;
            setTimeout(() => {
              aborted = performance.now();
              controller.abort();
            }, 5);
          },
        },
      ),
    );
    assert.is(error.code, "ABORTED");
    // An op of this size takes milliseconds; a whole step takes many.
    assert.ok(performance.now() - aborted < 500, `${performance.now() - aborted} ms`);
    assert.equal(await restingMemory(model), resting);
  });
}

test("what onProgress throws ends the request", async () => {
  try {
    await model.generate(smallRequest, {
      onProgress: ({ stage }) => {
        if (stage === "sample") throw new Error("the display is gone");
      },
    });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "the display is gone");
  }
  assert.equal(await restingMemory(model), resting);
});

test("an error in decoding says where the latents are", async () => {
  for (const name of readdirSync(latents)) assert.match(name, /seed7\.safetensors$/);
  const before = readdirSync(latents).length;
  const controller = new AbortController();
  const error = await rejection(
    model.generate(tiled, {
      signal: controller.signal,
      onProgress: ({ stage }) => {
        if (stage === "decode") controller.abort();
      },
    }),
  );
  const path = /latents are in (\S+):/.exec(error.message)?.[1] ?? "";
  assert.ok(existsSync(path), error.message);
  assert.is(readdirSync(latents).length, before + 1);
  const video = await model.decodeLatents(path, { tiling: "hunyuan" });
  assert.ok(sameBytes(video, await model.generate(tiled)));
});

test("a process that is killed while it decodes leaves latents, from which the video is made", async () => {
  const before = new Set(readdirSync(latents));
  const program = fileURLToPath(new URL("../support/generate-child.ts", import.meta.url));
  const { signal } = spawnSync(process.execPath, ["--import", "tsx", program, folder, "", "kill"], { stdio: "ignore" });
  assert.is(signal, "SIGKILL");
  const [left = ""] = readdirSync(latents).filter((name) => !before.has(name));
  const video = await model.decodeLatents(join(latents, left), { tiling: "hunyuan" });
  assert.ok(sameBytes(video, await model.generate(tiled)));
  assert.is(video.metadata.prompt, "a cat walks");
});

test("without room: OUT_OF_MEMORY, then the next request that fits", async () => {
  const device = openDevice("cpu");
  const tight = await loadTiny(folder, { device });
  const before = await restingMemory(tight);
  device.setMemoryLimit(before.live + 8 * 2 ** 20);
  const error = await rejection(tight.generate({ ...smallRequest, width: 512, height: 512, numFrames: 33 }));
  assert.is(error.code, "OUT_OF_MEMORY");
  assert.equal(await restingMemory(tight), before);
  const fits = await tight.generate({ ...smallRequest, width: 32, height: 32, numFrames: 5 });
  assert.is(fits.numFrames, 5);
  assert.equal(await restingMemory(tight), before);
  await tight.dispose();
  assert.equal([device.disposed, device.memory().live], [false, 0]);
  await device.dispose();
});

for (const [poison, block] of [
  ["double_blocks.1.img_mlp.fc1.weight", "double_blocks.1"],
  ["single_blocks.0.linear1.weight", "single_blocks.0"],
  ["txt_in.input_embedder.weight", "txt_in"],
  ["decoder.up_blocks.1.resnets.0.conv1.conv.weight", "decoder.up_blocks.1"],
] as const) {
  test(`a weight that is NaN in ${block}: the block is named`, async () => {
    const broken = await loadTiny(tinyFolder({ poison }));
    const before = await restingMemory(broken);
    const error = await rejection(broken.generate(smallRequest));
    assert.is(error.code, "NOT_FINITE");
    assert.equal(error.details, { block });
    assert.equal(await restingMemory(broken), before);
    await broken.dispose();
  });
}

test("disposing of a model ends what it does and what waits", async () => {
  const ending = await loadTiny(folder);
  const running = rejection(ending.generate(smallRequest));
  const waiting = rejection(ending.generate(smallRequest));
  await ending.dispose();
  assert.equal([(await running).code, (await waiting).code], ["ABORTED", "ABORTED"]);
});

test("loading that is aborted leaves nothing", async () => {
  const device = openDevice("cpu");
  const controller = new AbortController();
  const loading = rejection(
    HunyuanVideo.load(folder, { device, signal: controller.signal, onProgress: () => controller.abort() }),
  );
  assert.is((await loading).code, "ABORTED");
  await device.sync().catch(() => {});
  assert.is(device.memory().live, 0);
  await device.dispose();
});

test.after(() => model.dispose());

test.run();
