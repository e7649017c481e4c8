/** Worker threads: eight compute at once, and ending them in the middle of a job never crashes the process. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";

const folder = fileURLToPath(new URL("../support/", import.meta.url));

/** A worker that runs TypeScript: the loader is registered by a small JavaScript file. */
function startWorker(job: "once" | "forever"): Worker {
  return new Worker(join(folder, "worker-start.mjs"), { workerData: { job, file: join(folder, "worker-job.ts") } });
}

const message = (worker: Worker) =>
  new Promise<number>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`worker ended with ${code}`)));
  });

test("eight workers compute at once", async () => {
  const workers = Array.from({ length: 8 }, () => startWorker("once"));
  const sums = await Promise.all(workers.map(message));
  for (const sum of sums) assert.is(sum, 128 * 128);
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test("workers are terminated in the middle of a job", async () => {
  const rounds = process.env.HUNYUAN_TEST_FULL === "1" ? 100 : 6;
  for (let round = 0; round < rounds; round++) {
    const workers = Array.from({ length: 8 }, () => startWorker("forever"));
    await Promise.all(workers.map(message));
    await new Promise((resolve) => setTimeout(resolve, (round * 7) % 23));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
});

test.run();
