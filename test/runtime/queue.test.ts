/** The queue: errors that stick to what depends on them, abort, limits, and a dispose while work waits. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  embedding,
  isHunyuanError,
  matmul,
  mul,
  ones,
  openDevice,
  scope,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";

const failure = async (work: Promise<unknown>) => {
  try {
    await work;
  } catch (error) {
    if (isHunyuanError(error)) return error;
    throw error;
  }
  throw new Error("nothing was rejected");
};

/** A queue of matrix products, each a few milliseconds long. */
function longChain(start: Tensor<"f32">, ops: number): Tensor<"f32"> {
  return scope(() => {
    let y = start;
    for (let i = 0; i < ops; i++) y = matmul(y, start);
    return y;
  });
}

test("an error on the device reaches the reads that depend on it, and no others", async () => {
  await using device = openDevice("cpu");
  const table = tensor(
    [
      [1, 2],
      [3, 4],
    ],
    { device },
  );
  const bad = embedding(table, tensor([0, 7], { dtype: "i32", device }));
  const after = add(mul(bad, 2), 1);
  const good = add(table, 1);
  const error = await failure(after.read());
  assert.is(error.code, "INVALID_ARGUMENT");
  assert.match(error.message, /gather|embedding/);
  assert.equal(Array.from(await good.read()), [2, 3, 4, 5]);
  assert.is((await failure(bad.read())).code, "INVALID_ARGUMENT");
});

test("sync tells the first error that no read has told, once", async () => {
  await using device = openDevice("cpu");
  const table = tensor([[1, 2]], { device });
  embedding(table, tensor([9], { dtype: "i32", device }));
  assert.is((await failure(device.sync())).code, "INVALID_ARGUMENT");
  await device.sync();
});

test("the memory limit gives OUT_OF_MEMORY with op, shape and bytes, and the next op works", async () => {
  await using device = openDevice("cpu", { memoryLimit: 6 << 20 });
  const x = ones([1 << 20], { device });
  const y = add(x, 1);
  const error = await failure(y.read());
  assert.is(error.code, "OUT_OF_MEMORY");
  assert.match(error.message, /add|binary/);
  assert.match(error.message, /1048576/);
  assert.match(error.message, /MiB|bytes/);
  y.dispose();
  const small = add(ones([16], { device }), 1);
  assert.is((await small.read())[0], 2);
  assert.ok(device.memory().peak <= 6 << 20);
});

test("aborting a read stops a queue of a thousand ops, and the device works on", async () => {
  await using device = openDevice("cpu");
  const start = mul(ones([256, 256], { device }), 1 / 256);
  const timed = longChain(start, 20);
  await timed.read();
  const before = performance.now();
  await longChain(start, 50).read();
  const perOp = (performance.now() - before) / 50;
  const y = longChain(start, 1000);
  const other = add(start, 1);
  const controller = new AbortController();
  const reading = failure(y.read({ signal: controller.signal }));
  await new Promise((resolve) => setTimeout(resolve, 5 * perOp));
  const aborted = performance.now();
  controller.abort(new Error("enough"));
  const error = await reading;
  await device.sync().catch(() => {});
  const took = performance.now() - aborted;
  assert.is(error.code, "ABORTED");
  assert.is((error.cause as Error).message, "enough");
  assert.ok(took < 10 * perOp + 50, `stopped after ${took} ms, one op takes ${perOp} ms`);
  assert.is((await other.read())[0], Math.fround(1 + 1 / 256));
  assert.is((await failure(y.read())).code, "ABORTED");
});

test("aborting a read drops only what leads to it", async () => {
  await using device = openDevice("cpu");
  const start = mul(ones([192, 192], { device }), 1 / 192);
  const wanted = longChain(start, 100);
  const unwanted = longChain(start, 400);
  const controller = new AbortController();
  const dropped = failure(unwanted.read({ signal: controller.signal }));
  controller.abort();
  assert.is((await dropped).code, "ABORTED");
  assert.ok(Math.abs((await wanted.read())[0] as number) > 0);
});

test("aborting a read keeps what other queued work needs", async () => {
  await using device = openDevice("cpu");
  const first = mul(ones([192, 192], { device }), 1 / 192);
  const shared = longChain(first, 200);
  const controller = new AbortController();
  const dropped = failure(longChain(shared, 200).read({ signal: controller.signal }));
  const droppedToo = failure(shared.read({ signal: controller.signal }));
  const kept = [shared.read(), add(shared, 1).read(), add(first, 1).read()];
  controller.abort();
  assert.is((await dropped).code, "ABORTED");
  assert.is((await droppedToo).code, "ABORTED");
  for (const read of kept) assert.is((await read).length, 192 * 192);
});

test("aborting a sync drops all that was queued before it", async () => {
  await using device = openDevice("cpu");
  const start = mul(ones([256, 256], { device }), 1 / 256);
  const y = longChain(start, 500);
  const controller = new AbortController();
  const synced = failure(device.sync({ signal: controller.signal }));
  controller.abort();
  assert.is((await synced).code, "ABORTED");
  assert.is((await failure(y.read())).code, "ABORTED");
  assert.is((await add(start, 0).read()).length, 256 * 256);
});

test("a signal that has fired already rejects at once", async () => {
  await using device = openDevice("cpu");
  const x = ones([4], { device });
  assert.is((await failure(x.read({ signal: AbortSignal.abort() }))).code, "ABORTED");
  assert.equal(Array.from(await x.read()), [1, 1, 1, 1]);
});

test("disposing of a device drops its queue and rejects what waits", async () => {
  const device = openDevice("cpu");
  const start = mul(ones([256, 256], { device }), 1 / 256);
  const pending = failure(longChain(start, 2000).read());
  const began = performance.now();
  await device.dispose();
  assert.is((await pending).code, "DISPOSED");
  assert.ok(performance.now() - began < 5000);
  assert.throws(
    () => add(start, 1),
    (error: unknown) => isHunyuanError(error, "DISPOSED"),
  );
  assert.throws(
    () => device.memory(),
    (error: unknown) => isHunyuanError(error, "DISPOSED"),
  );
  await device.dispose();
});

test("uploads beyond the staging bound throw QUEUE_FULL, and sync clears the way", async () => {
  await using device = openDevice("cpu");
  const start = mul(ones([512, 512], { device }), 1 / 512);
  const busy = longChain(start, 600); // seconds of work, against the fraction of one that the uploads take
  const block = new Float32Array(8 << 20);
  const made: Tensor[] = [];
  let full = false;
  for (let i = 0; i < 40 && !full; i++) {
    try {
      made.push(tensor(block, { device }));
    } catch (error) {
      assert.ok(isHunyuanError(error, "QUEUE_FULL"));
      full = true;
    }
  }
  assert.ok(full, "40 × 32 MiB were accepted while the device was busy");
  for (const t of made) t.dispose();
  await device.sync();
  const again = tensor(block, { device });
  assert.is((await again.read()).length, block.length);
  await busy.read();
});

test("closing opens nothing: 50 devices one after another", async () => {
  for (let i = 0; i < 50; i++) {
    const device = openDevice("cpu");
    const y = add(ones([8], { device }), i);
    if (i % 2 === 0) await y.read();
    await device.dispose();
  }
});

test("an unknown device is refused with a reason", () => {
  for (const name of ["tpu", "cpu:7", "null:x", ""]) {
    try {
      openDevice(name);
      assert.unreachable(name);
    } catch (error) {
      assert.ok(isHunyuanError(error), `${name}: ${String(error)}`);
      assert.ok(error.code === "DEVICE_UNAVAILABLE" || error.code === "INVALID_ARGUMENT");
    }
  }
});

test.run();
