/** Ending early: what was there stays, nothing half-made is left, and the next clip works. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FrameSource, readMetadata, readVideo, writeVideo } from "../../lib/io/media/index.js";
import { allFrames, discClip, hasBackend, refusal, temporaryFolder, withBackend } from "../support/media.js";

const folder = temporaryFolder();
const clip = discClip({ width: 64, height: 48, numFrames: 12 });
const names = { "node-av": ["a.mp4", "a.webm"], ffmpeg: ["b.mp4", "b.webm"], none: ["c.gif", "c.webp", "frames"] };

for (const [backend, files] of Object.entries(names)) {
  const there = backend === "none" || (await hasBackend(backend === "ffmpeg" ? "ffmpeg" : "node-av"));
  const run = there ? test : test.skip;
  for (const name of files) {
    run(`abort while ${backend} writes ${name}`, () => withBackend(backend, () => checkAbort(join(folder, name))));
    run(`a source that fails while ${backend} writes ${name}`, () =>
      withBackend(backend, () => checkFailure(join(folder, name))),
    );
  }
}

async function checkAbort(path: string): Promise<void> {
  await writeVideo(path, clip, { metadata: { seed: 1 } });
  const before = readdirSync(folder);
  const seen: number[] = [];
  const controller = new AbortController();
  const onProgress = ({ frame, frames }: { frame: number; frames: number }) => {
    assert.is(frames, 12);
    seen.push(frame);
    if (frame === 3) controller.abort();
  };
  const error = await refusal(writeVideo(path, clip, { signal: controller.signal, onProgress, metadata: { seed: 2 } }));
  assert.is(error.code, "ABORTED");
  assert.equal(seen, [1, 2, 3]);
  assert.equal(readdirSync(folder), before);
  assert.is((await readMetadata(path))?.seed, 1);
  const aborted = await refusal(writeVideo(path, clip, { signal: AbortSignal.abort() }));
  assert.is(aborted.code, "ABORTED");
  await writeVideo(path, clip, { metadata: { seed: 3 } });
  assert.is((await readMetadata(path))?.seed, 3);
}

async function checkFailure(path: string): Promise<void> {
  const before = readdirSync(folder);
  async function* frames() {
    yield* (await allFrames(clip)).slice(0, 4);
    throw new RangeError("the well is dry");
  }
  const failing: FrameSource = { ...clip, frames };
  const error = await refusal(writeVideo(path, failing));
  assert.is(error.code, "FILE_ERROR");
  assert.match(error.message, /the well is dry/);
  assert.equal(readdirSync(folder), before);
}

test("abort during a webp's encoding rejects at once", async () => {
  const long = discClip({ width: 320, height: 240, numFrames: 60 });
  const controller = new AbortController();
  let abortedAt = 0;
  const onProgress = ({ frame, frames }: { frame: number; frames: number }) => {
    // All frames are in: sharp works now, and cannot be stopped.
    if (frame < frames) return;
    setTimeout(() => {
      abortedAt = performance.now();
      controller.abort();
    }, 20);
  };
  const path = join(folder, "long.webp");
  const error = await refusal(writeVideo(path, long, { signal: controller.signal, onProgress }));
  assert.is(error.code, "ABORTED");
  assert.ok(performance.now() - abortedAt < 500);
  assert.not.ok(readdirSync(folder).includes("long.webp"));
});

test("abort while reading", async () => {
  const path = join(folder, "read.webp");
  await writeVideo(path, clip);
  assert.is((await refusal(readVideo(path, { signal: AbortSignal.abort() }))).code, "ABORTED");
  const video = join(folder, "read.mp4");
  if (!(await hasBackend("node-av")) && !(await hasBackend("ffmpeg"))) return;
  await writeVideo(video, clip);
  const controller = new AbortController();
  const source = await readVideo(video, { signal: controller.signal });
  let count = 0;
  const reading = (async () => {
    for await (const _ of source.frames()) if (++count === 2) controller.abort();
  })();
  assert.is((await refusal(reading)).code, "ABORTED");
  assert.is(count, 2);
  // Leaving early without a signal frees the decoder too: the same source starts anew.
  const again = await readVideo(video);
  for await (const _ of again.frames()) break;
  assert.is((await allFrames(again)).length, 12);
  writeFileSync(join(folder, "copy.mp4"), readFileSync(video));
});

test.run();
