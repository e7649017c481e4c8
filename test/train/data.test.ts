/** Data sets: what is found, what is skipped, order, crops, mixing, going on from a position. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readVideo } from "../../lib/io/media/index.js";
import { openDevice } from "../../lib/tensor.js";
import { bucketGrid, bucketOf, chooseBucket, showBucket } from "../../lib/train/data/buckets.js";
import { type ClipBatch, type Dataset, type DatasetOptions, openDataset } from "../../lib/train/data/dataset.js";
import { pixelsOf } from "../../lib/train/data/pixels.js";
import { EpochPlan } from "../../lib/train/data/plan.js";
import { findSamples } from "../../lib/train/data/samples.js";
import { clipFolder, emptyFolder } from "../support/clip-folder.js";
import { allFrames, hasBackend, refusal } from "../support/media.js";

const test = suite("data");
const folder = await clipFolder();
const square = { width: 32, height: 32, numFrames: 9, batchSize: 2 };
const long = { width: 64, height: 64, numFrames: 17, batchSize: 2 };
const wide = { width: 64, height: 32, numFrames: 9, batchSize: 1 };
const picture = { width: 32, height: 32, numFrames: 1, batchSize: 3 };
const all = { buckets: [long, square, wide, picture], seed: 7 } satisfies DatasetOptions;

async function take(data: Dataset, count: number, from?: { epoch: number; batch: number; data: string }) {
  await using stream = data.batches({ from, prefetch: 1 });
  const batches: ClipBatch[] = [];
  while (batches.length < count) batches.push(await stream.take());
  return batches;
}

/** Batches as text that can be compared and shown. */
const digest = (batches: readonly (ClipBatch | undefined)[]) =>
  batches.map((batch) => {
    const { pixels = new Uint8Array(), ...rest } = batch ?? {};
    return JSON.stringify({ ...rest, pixels: createHash("sha256").update(pixels).digest("hex") });
  });
const idsOf = (batches: readonly ClipBatch[]) => batches.flatMap(({ ids }) => ids);

test("a folder: captions from .txt and .json, folders of frames, what is no sample", async () => {
  const { samples, skipped } = await findSamples(folder);
  const captions = Object.fromEntries(samples.map(({ id, captions }) => [id, captions]));
  assert.equal(captions["clip-3.webp"], ["clip 3"]);
  assert.equal(captions["wide/1.gif"], ["wide 1", "broad 1"]);
  assert.equal(captions["picture-0.png"], ["a picture of a disc"]);
  assert.equal(captions["picture-1.png"], []);
  assert.equal(captions.frames, ["five frames"]);
  assert.equal(
    skipped.map(({ id }) => id),
    ["quoted.webp"],
  );
  assert.is(samples.length, 14);
});

test("a JSONL file, and a folder with metadata.jsonl: relative paths, several names of fields, bad lines", async () => {
  const lines = [
    JSON.stringify({ file: "clip-0.webp", caption: "listed" }),
    "",
    JSON.stringify({ video: join(folder, "clip-1.webp"), text: ["a", "b"] }),
    JSON.stringify({ file_name: "clip-2.webp" }),
    JSON.stringify({ caption: "no file" }),
    "{ not json",
    JSON.stringify({ path: "clip-0.webp", caption: "again" }),
  ];
  for (const [name, source] of [
    ["list.jsonl", join(folder, "list.jsonl")],
    ["metadata.jsonl", folder],
  ] as const) {
    writeFileSync(join(folder, name), lines.join("\n"));
    const { samples, skipped } = await findSamples(source);
    rmSync(join(folder, name));
    assert.equal(
      samples.map(({ id, captions }) => [id, ...captions]),
      [
        ["clip-0.webp", "listed"],
        ["clip-1.webp", "a", "b"],
        ["clip-2.webp", "clip 2"],
      ],
    );
    assert.equal(
      skipped.map(({ id }) => id),
      [`${name}:5`, `${name}:6`, `${name}:7`],
    );
  }
});

test("samples go to the longest bucket they fill, nearest in shape; the others are listed with their reason", async () => {
  const data = await openDataset(folder, all);
  const of = (id: string) => data.samples.find((one) => one.id === id)?.buckets;
  assert.equal([of("clip-0.webp"), of("wide/0.gif"), of("picture-1.png")], [[0], [2], [3]]);
  const reasons = Object.fromEntries(data.skipped.map(({ id, reason }) => [id, reason]));
  assert.equal(Object.keys(reasons).sort(), ["cut.gif", "empty.mp4", "frames", "quoted.webp", "text.webm"]);
  assert.match(reasons.frames ?? "", /has 5 frames at 24 fps, the shortest bucket takes 9/);
  assert.match(reasons["empty.mp4"] ?? "", /is empty/);
  assert.match(reasons["text.webm"] ?? "", /no video or picture/);
});

test("an epoch shows every sample; order and bytes come from the seed alone", async () => {
  const data = await openDataset(folder, all);
  const per = data.batchesPerEpoch;
  assert.is(per, 3 + 2 + 1);
  const first = await take(data, 2 * per);
  assert.equal(new Set(idsOf(first.slice(0, per))).size, data.samples.length);
  assert.equal(new Set(idsOf(first.slice(per))).size, data.samples.length);
  assert.not.equal(idsOf(first.slice(0, per)), idsOf(first.slice(per)));
  for (const { bucket, pixels, shape, captions } of first) {
    assert.equal(shape, [bucket.batchSize, bucket.numFrames, bucket.height, bucket.width, 3]);
    assert.is(
      pixels.length,
      shape.reduce((a, b) => a * b),
    );
    assert.is(captions.length, bucket.batchSize);
  }
  assert.equal(digest(await take(await openDataset(folder, all), 2 * per)), digest(first));
  const other = await take(await openDataset(folder, { ...all, seed: 8 }), per);
  assert.not.equal(idsOf(other), idsOf(first.slice(0, per)));
});

test("a stream goes on from a saved position with the same bytes, and refuses one in other data", async () => {
  const data = await openDataset(folder, all);
  const whole = await take(data, 10);
  await using stream = data.batches({ prefetch: 3 });
  for (let i = 0; i < 4; i++) await stream.take();
  const saved = JSON.parse(JSON.stringify(stream.data()));
  assert.equal(saved, { epoch: 0, batch: 4, data: data.identity });
  await stream.take();
  stream.restore(saved);
  assert.equal(digest([await stream.take()]), digest([whole[4]]));
  assert.equal(digest(await take(await openDataset(folder, all), 6, saved)), digest(whole.slice(4)));
  const moved = emptyFolder();
  rmSync(moved, { recursive: true });
  mkdirSync(moved);
  for (const name of readdirSync(folder)) if (/^clip-/.test(name)) copyFileSync(join(folder, name), join(moved, name));
  const less = await openDataset(moved, all);
  assert.throws(() => less.batches({ from: saved }), /position is one in other data/);
  assert.equal(less.batches({ from: saved, changed: "continue" }).position, {
    epoch: 1,
    batch: 0,
    data: less.identity,
  });
  const elsewhere = `${moved}-2`;
  renameSync(moved, elsewhere);
  process.on("exit", () => rmSync(elsewhere, { recursive: true, force: true }));
  assert.is((await openDataset(elsewhere, all)).identity, less.identity);
});

test("the picture: cover is readVideo's own, keep cuts the pixels as they are, intervals skip frames", async () => {
  const still = { buckets: [long], place: "centre", start: "first", seed: 1 } as const;
  const [batch] = await take(await openDataset(folder, still), 1);
  const frames = await allFrames(await readVideo(join(folder, batch?.ids[0] ?? "")));
  const shown = batch?.pixels.subarray(0, 17 * 64 * 64 * 3) ?? new Uint8Array();
  assert.is(Buffer.compare(shown, Buffer.concat(frames.slice(0, 17))), 0);

  const cut = { width: 16, height: 24, numFrames: 5, batchSize: 1 };
  const data = await openDataset(folder, { buckets: [cut], scale: "keep", maxInterval: 4, seed: 3 });
  const intervals = new Set<number>();
  for (const { ids, pixels } of await take(data, 24)) {
    const source = await allFrames(await readVideo(join(folder, ids[0] ?? "")));
    const found = findCut(source, pixels, cut, ids[0]?.startsWith("wide") ? [96, 48] : [64, 64]);
    if (ids[0]?.startsWith("clip")) assert.ok(found !== undefined, `${ids[0]}: no place in the clip has these bytes`);
    if (found !== undefined) intervals.add(found);
  }
  assert.ok(intervals.size >= 3, `intervals ${[...intervals]}`);
});

/** The interval at which a crop's first and last frame lie in a clip; undefined when they do not. */
function findCut(
  source: readonly Uint8Array[],
  pixels: Uint8Array,
  { width, height, numFrames }: { width: number; height: number; numFrames: number },
  [fullWidth, fullHeight]: readonly number[] & { length: 2 } = [64, 64],
): number | undefined {
  const same = (frame: Uint8Array | undefined, n: number, x: number, y: number) => {
    for (let row = 0; frame !== undefined && row < height; row++) {
      const at = ((y + row) * (fullWidth ?? 0) + x) * 3;
      const wanted = pixels.subarray((n * height + row) * width * 3, (n * height + row + 1) * width * 3);
      if (Buffer.compare(frame.subarray(at, at + width * 3), wanted) !== 0) return false;
    }
    return frame !== undefined;
  };
  for (let y = 0; y + height <= (fullHeight ?? 0); y++) {
    for (let x = 0; x + width <= (fullWidth ?? 0); x++) {
      for (let interval = 1; interval <= 4; interval++) {
        for (let start = 0; start + interval * (numFrames - 1) < source.length; start++) {
          const last = start + interval * (numFrames - 1);
          if (same(source[start], 0, x, y) && same(source[last], numFrames - 1, x, y)) return interval;
        }
      }
    }
  }
  return undefined;
}

test("pictures are mixed in at a ratio; frames of videos serve as pictures", async () => {
  const options = { buckets: [long, picture], seed: 2, imageRatio: 0.25, framesAsImages: true };
  const data = await openDataset(folder, options);
  assert.is(data.batchesPerEpoch, 4);
  const batches = await take(data, 40);
  assert.is(batches.filter(({ bucket }) => bucket.numFrames === 1).length, 10);
  const shown = new Set(idsOf(batches.filter(({ bucket }) => bucket.numFrames === 1)));
  assert.ok(shown.has("picture-0.png") && shown.has("frames") && shown.size >= 8, [...shown].join());
  const none = await openDataset(folder, { ...options, imageRatio: 0 });
  assert.ok((await take(none, 6)).every(({ bucket }) => bucket.numFrames === 17));
});

test("files that break after opening are replaced, the same way after a resume, and listed; never fatal", async () => {
  const own = emptyFolder();
  for (let i = 0; i < 6; i++) copyFileSync(join(folder, `clip-${i}.webp`), join(own, `clip-${i}.webp`));
  const data = await openDataset(own, { buckets: [long], seed: 5 });
  writeFileSync(join(own, "clip-2.webp"), "gone");
  rmSync(join(own, "clip-4.webp"));
  const batches = await take(data, 6);
  assert.not.ok(idsOf(batches).some((id) => id === "clip-2.webp" || id === "clip-4.webp"));
  assert.equal(data.skipped.map(({ id }) => id).sort(), ["clip-2.webp", "clip-4.webp"]);
  const from = { epoch: 0, batch: 2, data: data.identity };
  assert.equal(digest(await take(data, 4, from)), digest(batches.slice(2)));
  for (const name of readdirSync(own)) writeFileSync(join(own, name), "");
  const error = await refusal(take(data, 1));
  assert.is(error.code, "MEDIA_INVALID");
  assert.match(error.message, /no sample of the bucket 64x64x17/);
});

test("abort, close, refusals", async () => {
  const data = await openDataset(folder, all);
  const stop = new AbortController();
  const stream = data.batches({ signal: stop.signal });
  await stream.take();
  stop.abort();
  assert.is((await refusal(stream.take())).code, "ABORTED");
  await stream.close();
  assert.is((await refusal(stream.take())).code, "DISPOSED");
  assert.is((await refusal(openDataset(join(folder, "nothing"), all))).code, "FILE_ERROR");
  for (const wrong of [{ buckets: [] }, { buckets: [{ ...long, batchSize: 0 }] }, { ...all, imageRatio: 1 }]) {
    assert.is((await refusal(openDataset(folder, wrong))).code, "INVALID_ARGUMENT");
  }
  assert.match((await refusal(openDataset(emptyFolder(), all))).message, /there is no video or picture/);
  const required = await openDataset(folder, { ...all, captions: "required" });
  assert.ok(required.skipped.some(({ id, reason }) => id === "picture-1.png" && reason === "has no caption"));
});

test("facts of files are remembered until the file changes", async () => {
  const [own, cacheFolder] = [emptyFolder(), emptyFolder()];
  copyFileSync(join(folder, "clip-0.webp"), join(own, "a.webp"));
  const options = { buckets: [square, long], cacheFolder };
  assert.is((await openDataset(own, options)).samples[0]?.numFrames, 17);
  const notes = join(cacheFolder, "files.jsonl");
  writeFileSync(notes, `${readFileSync(notes, "utf8").replace('"numFrames":17', '"numFrames":9')}\n{"path":"torn`);
  assert.is((await openDataset(own, options)).samples[0]?.numFrames, 9);
  copyFileSync(join(folder, "clip-5.webp"), join(own, "a.webp"));
  assert.is((await openDataset(own, options)).samples[0]?.numFrames, 22);
});

test("pixels as a tensor: −1 … 1, nothing left behind", async () => {
  const device = openDevice("cpu");
  const before = device.memory();
  {
    using pixels = pixelsOf({ pixels: new Uint8Array([0, 255, 51]), shape: [1, 1, 1, 1, 3] }, { device });
    const values = await pixels.read();
    assert.ok(
      Math.abs((values[0] ?? 9) + 1) < 1e-6 &&
        Math.abs((values[1] ?? 9) - 1) < 1e-6 &&
        Math.abs((values[2] ?? 9) + 0.6) < 1e-6,
    );
  }
  await device.sync();
  assert.equal([device.memory().live, device.memory().tensors], [before.live, before.tensors]);
  await device.dispose();
});

test("buckets: text, grid, choice", () => {
  assert.equal(bucketOf("960x544x129:2"), { width: 960, height: 544, numFrames: 129, batchSize: 2 });
  assert.is(showBucket({ width: 64, height: 32, numFrames: 1, batchSize: 1 }), "64x32x1");
  for (const text of ["", "64x64", "0x64x1", "64x64x17:0", "64x64x17:"]) assert.is(bucketOf(text), undefined);
  const grid = bucketGrid({ pixels: 960 * 544, frames: [1, 129], aspects: [16 / 9, 1] });
  assert.equal(
    grid.map(({ width, height, numFrames, batchSize }) => [width, height, numFrames, batchSize]),
    [
      [960, 544, 1, 129],
      [720, 720, 1, 130],
      [960, 544, 129, 1],
      [720, 720, 129, 1],
    ],
  );
  assert.is(chooseBucket(grid, { width: 100, height: 90, frames: 129 }), 3);
  assert.is(chooseBucket(grid, { width: 1920, height: 1080, frames: 128 }), undefined);
  assert.is(chooseBucket(grid, { width: 1920, height: 1080, frames: 1 }), 0);
});

test("a plan's batches are full, whatever the pools", () => {
  const pools = [
    { bucket: { ...long, batchSize: 5 }, items: [0] },
    { bucket: { ...square, batchSize: 4 }, items: [1, 2, 3, 4, 5, 6] },
  ];
  const plan = new EpochPlan(pools, { seed: 1 });
  for (const epoch of [0, 1, 5]) {
    const batches = plan.epoch(epoch);
    assert.is(batches.length, plan.batchesPerEpoch);
    assert.ok(batches.every(({ items, pool }) => items.length === pools[pool]?.bucket.batchSize));
    assert.is(new Set(batches.flatMap(({ items }) => items)).size, 7);
  }
});

const decodes = (await hasBackend("node-av")) || (await hasBackend("ffmpeg"));
(decodes ? test : test.skip)("mp4 and webm are read like the others, at the data set's rate", async () => {
  const { writeVideo } = await import("../../lib/io/media/index.js");
  const { discClip } = await import("../support/media.js");
  const own = emptyFolder();
  await writeVideo(join(own, "a.mp4"), discClip({ width: 64, height: 64, numFrames: 33 }, 48), { metadata: false });
  await writeVideo(join(own, "b.webm"), discClip({ width: 64, height: 64, numFrames: 20 }, 24), { metadata: false });
  const data = await openDataset(own, { buckets: [{ ...long, batchSize: 2 }], seed: 4 });
  assert.equal(
    data.samples.map(({ numFrames }) => numFrames),
    [33, 20],
  );
  const [batch] = await take(data, 1);
  assert.equal([...(batch?.ids ?? [])].sort(), ["a.mp4", "b.webm"]);
});

test.run();
