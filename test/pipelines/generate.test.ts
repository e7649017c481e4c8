/** A tiny model from a folder: whole requests, their events, seeds, guidance, and what is left behind. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type GenerateEvent, HunyuanVideo, type SampleEvent } from "../../lib/index.js";
import { rejection } from "../support/refusal.js";
import {
  loadTiny,
  restingMemory,
  sameBytes,
  smallRequest,
  temporaryFolder,
  tinyFolder,
} from "../support/tiny-pipeline.js";

const folder = tinyFolder();
const model = await loadTiny(folder);
const resting = await restingMemory(model);
const scratch = temporaryFolder();
const first = await model.generate(smallRequest);

const child = (latents: string, env: { readonly [name: string]: string }) =>
  execFileSync(
    process.execPath,
    ["--import", "tsx", fileURLToPath(new URL("../support/generate-child.ts", import.meta.url)), folder, latents],
    { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "inherit"] },
  );

test("the video is of the size that was asked for, and knows how it was made", () => {
  assert.equal([first.width, first.height, first.numFrames, first.fps], [64, 48, 9, 24]);
  assert.is(first.data.length, 64 * 48 * 9 * 3);
  assert.is([...first.frames()].length, 9);
  assert.is(new Set(first.data).size > 20, true, "it shows something");
  const { prompt, seed, settings } = first.metadata;
  assert.equal([prompt, seed, settings?.steps, settings?.guidanceScale], ["a cat walks", 7, 4, 6]);
});

test("events: queued, encode, sample, decode, done", async () => {
  const events: GenerateEvent[] = [];
  const running = model.generate({ ...smallRequest, preview: true }, { onProgress: (event) => events.push(event) });
  const streamed: GenerateEvent[] = [];
  for await (const event of running) streamed.push(event);
  assert.equal(streamed, events);
  const stages = events.map(({ stage }) => stage).filter((stage, i, all) => stage !== all[i - 1]);
  assert.equal(stages, ["queued", "encode", "sample", "decode", "done"]);
  const sampled = events.filter((event): event is SampleEvent => event.stage === "sample");
  assert.equal(
    sampled.map(({ step }) => step),
    [0, 1, 2, 3, 4],
  );
  assert.is(sampled.at(-1)?.sigma, 0);
  assert.ok((sampled[1]?.etaMs ?? 0) > 0);
  const preview = sampled[1]?.preview;
  assert.equal([preview?.width, preview?.height, preview?.data.length], [8, 6, 8 * 6 * 3]);
  assert.ok(sameBytes(await running, first), "looking on changes nothing");
});

test("the same seed gives the same bytes of latents, on any number of threads; another one does not", async () => {
  const own = join(scratch, "own.safetensors");
  await model.generate({ ...smallRequest, latentsPath: own });
  for (const threads of ["1", "2"]) {
    const path = join(scratch, `threads-${threads}.safetensors`);
    child(path, { HUNYUAN_NUM_THREADS: threads });
    assert.is(Buffer.compare(readFileSync(path), readFileSync(own)), 0, `${threads} threads`);
  }
  const other = await model.generate({ ...smallRequest, seed: 8 });
  assert.not(sameBytes(other, first));
});

test("latents that were kept decode to the same video", async () => {
  const again = await model.decodeLatents(join(scratch, "own.safetensors"));
  assert.ok(sameBytes(again, first));
  assert.equal(again.metadata, first.metadata);
});

test("several videos: each as its seed alone would give it", async () => {
  const latentsPath = join(scratch, "two.safetensors");
  const videos = await model.generate({ ...smallRequest, seed: 6, numVideos: 2, latentsPath });
  assert.equal(
    videos.map(({ seed }) => seed),
    [6, 7],
  );
  assert.ok(sameBytes(videos[1] as typeof first, first));
  assert.ok(existsSync(join(scratch, "two-1.safetensors")));
});

test("embeddings that were computed once give the same as the words", async () => {
  using prompt = await model.encodePrompt("a cat walks");
  assert.ok(sameBytes(await model.generate({ ...smallRequest, prompt }), first));
});

test("true guidance, batched or not, gives about the same, and another video than without", async () => {
  const guided = { ...smallRequest, trueCfgScale: 3, negativePrompt: "a dog" };
  const split = await model.generate(guided);
  const batched = await model.generate({ ...guided, batchedCfg: true });
  const apart = split.data.reduce((most, byte, i) => Math.max(most, Math.abs(byte - (batched.data[i] as number))), 0);
  assert.ok(apart <= 1, `${apart}`);
  assert.not(sameBytes(split, first));
  assert.is(split.metadata.negativePrompt, "a dog");
});

test("one frame is an image; schedules, noise and settings reach the sampler", async () => {
  const image = await model.generate({ ...smallRequest, numFrames: 1 });
  assert.is(image.numFrames, 1);
  for (const change of [
    { schedule: "linear-quadratic" },
    { sigmas: [1, 0.6, 0.3] },
    { rng: "torch" },
    { flowShift: 3 },
    { guidanceScale: 1 },
  ] as const) {
    const video = await model.generate({ ...smallRequest, ...change });
    assert.not(sameBytes(video, first), JSON.stringify(change));
  }
});

test("a video that is given is changed the more, the greater the strength", async () => {
  const distance = async (strength: number) => {
    const made = await model.generate({ ...smallRequest, video: first, strength, seed: 3, numInferenceSteps: 8 });
    return made.data.reduce((sum, byte, i) => sum + Math.abs(byte - (first.data[i] as number)), 0);
  };
  assert.ok((await distance(0.25)) < (await distance(1)));
});

test("requests run in the order in which they came", async () => {
  const order: string[] = [];
  const ahead: number[] = [];
  const ask = (name: string) =>
    model
      .generate(smallRequest, {
        onProgress: ({ stage, steps }) => {
          if (stage === "queued") ahead.push(steps);
          if (stage === "encode" || stage === "done") order.push(`${name} ${stage}`);
        },
      })
      .then(() => name);
  assert.equal(await Promise.all([ask("a"), ask("b"), ask("c")]), ["a", "b", "c"]);
  assert.equal(ahead, [0, 1, 2]);
  assert.equal(
    order.filter((entry, i) => entry !== order[i - 1]),
    ["a encode", "a done", "b encode", "b done", "c encode", "c done"],
  );
});

test("latents wait on disk while they are decoded, and are gone afterwards", async () => {
  const latents = join(folder, "..", "latents");
  let seen = 0;
  await model.generate(smallRequest, {
    onProgress: ({ stage }) => {
      if (stage === "decode") seen = Math.max(seen, readdirSync(latents).length);
    },
  });
  assert.is(seen, 1);
  assert.equal(readdirSync(latents), []);
});

test("requests that this model cannot do are refused before anything is computed", async () => {
  for (const [request, message] of [
    [{ image: "cat.png" }, /image is "given", expected none: this is a text-to-video model/],
    [{ negativePrompt: "x" }, /negativePrompt is "x", expected nothing: without true guidance/],
    [{ strength: 0.5 }, /strength is 0.5, expected nothing without a video/],
    [{ width: 60 }, /width is 60, expected a multiple of 16/],
    [{ tiling: "small" }, /tiling/],
    [{ colour: "red" }, /no setting colour/],
  ] as const) {
    // Wrong on purpose, as a program in JavaScript may be.
    const error = await rejection(model.generate({ ...smallRequest, ...request } as typeof smallRequest));
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, message);
  }
});

test("a model is back where it was after each request", async () => {
  assert.equal(await restingMemory(model), resting);
  assert.is(model.device.memory().forgotten, 0);
});

test("the video outlives the model; a model that has ended says so", async () => {
  await model.dispose();
  await model.dispose();
  assert.is((await rejection(model.generate(smallRequest))).code, "DISPOSED");
  const gif = await first.toBuffer("gif");
  assert.is(gif.subarray(0, 4).toString(), "GIF8");
  assert.equal(first.tensor.shape, [9, 48, 64, 3]);
  assert.equal(Buffer.from(await first.tensor.read()), Buffer.from(first.data));
  first.dispose();
});

test("what cannot be loaded is told, and leaves nothing", async () => {
  assert.is((await rejection(HunyuanVideo.load("./no-such-folder"))).code, "FILE_ERROR");
  assert.match((await rejection(HunyuanVideo.load("not a model"))).message, /a folder, or "owner\/name"/);
  assert.is((await rejection(HunyuanVideo.load(scratch))).code, "CHECKPOINT_INVALID");
  assert.match(
    (await rejection(HunyuanVideo.load(folder, { dtype: "int8" as never }))).message,
    /dtype is "int8", expected "f32"/,
  );
});

test.run();
