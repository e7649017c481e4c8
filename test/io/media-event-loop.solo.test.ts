/** Encoding and decoding leave the event loop alone. */
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { frameSource, readVideo, writeVideo } from "../../lib/io/media/index.js";
import { hasBackend, temporaryFolder } from "../support/media.js";

const folder = temporaryFolder();
/** Noise: the most that a frame can cost an encoder. */
const frames = Array.from({ length: 24 }, (_, n) => {
  let state = n + 1;
  return Uint8Array.from({ length: 640 * 360 * 3 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
});
const source = frameSource(frames, { width: 640, height: 360, fps: 24 });

for (const [format, there] of [
  ["webp", true],
  ["mp4", await hasBackend("node-av")],
  ["webm", await hasBackend("node-av")],
] as const) {
  const run = there ? test : test.skip;
  run(`${format}: no turn of the event loop takes long`, async () => {
    const path = join(folder, `clip.${format}`);
    // Loading the libraries is not what is measured.
    await writeVideo(path, frameSource(frames.slice(0, 1), { width: 640, height: 360, fps: 24 }));
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const start = performance.now();
    await writeVideo(path, source);
    for await (const _ of (await readVideo(path)).frames());
    delay.disable();
    const total = performance.now() - start;
    const worst = delay.max / 1e6;
    // Threads of the encoders compete for the cores; work on the loop itself would take most of the total.
    assert.ok(worst < Math.max(150, total / 4), `${worst.toFixed(0)} ms of ${total.toFixed(0)} ms`);
    assert.ok(delay.percentile(50) / 1e6 < 25, `median ${delay.percentile(50) / 1e6} ms`);
  });
}

test.run();
