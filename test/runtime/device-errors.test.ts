/**
 * A launch that fails on the device, and memory that runs out there: who is told, and that everything else works on.
 * The emulator fails the launch that HUNYUAN_SIMT_FAIL_LAUNCH names, counted from the opening of the device.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HunyuanVideo, Video } from "../../lib/index.js";
import {
  add,
  type Device,
  isHunyuanError,
  matmul,
  mul,
  ones,
  openDevice,
  scaleInPlace,
  sub,
  type Tensor,
} from "../../lib/tensor.js";
import { devicesHere, plainErrors } from "../support/each-device.js";
import { rejection } from "../support/refusal.js";
import { loadTiny, restingMemory, sameBytes, tinyFolder } from "../support/tiny-pipeline.js";

const here = await devicesHere();
const own = suite("device errors");
const test = (name: string, run: () => Promise<void>) => own(name, () => plainErrors(run));
const onSimt = (name: string, run: () => Promise<void>) =>
  here.includes("simt") ? test(name, run) : own.skip(`${name}: no simt`);

function failingAt(launch: number): Device {
  process.env.HUNYUAN_SIMT_FAIL_LAUNCH = String(launch);
  try {
    return openDevice("simt");
  } finally {
    delete process.env.HUNYUAN_SIMT_FAIL_LAUNCH;
  }
}

const numbers = async (t: Tensor) => Array.from(await t.read(), Number);

onSimt("a launch that fails rejects the reads that depend on it, by its name, and no others", async () => {
  await using device = failingAt(2);
  await using other = openDevice("simt");
  await using cpu = openDevice("cpu");
  const x = ones([2, 2], { device });
  const bad = matmul(x, x);
  const [after, further] = [add(bad, 1), mul(add(bad, 1), 2)];
  const fine = sub(x, 3);
  for (const t of [bad, after, further]) {
    const error = await rejection(t.read());
    assert.is(error.code, "DEVICE_ERROR");
    assert.equal(error.details, { op: "matmul" });
    assert.match(error.message, /^matmul: .*HUNYUAN_SIMT_FAIL_LAUNCH.*\[2, 2\] f32/);
  }
  assert.equal(await numbers(fine), [-2, -2, -2, -2]);
  assert.equal(await numbers(matmul(x, x)), [2, 2, 2, 2], "the same op again");
  for (const healthy of [other, cpu]) {
    const y = ones([2, 2], { device: healthy });
    assert.equal(await numbers(matmul(y, y)), [2, 2, 2, 2], healthy.name);
  }
  // The reads have told it.
  await device.sync();
});

onSimt("what no read has told, the next sync tells, once", async () => {
  await using device = failingAt(2);
  const x = ones([3], { device });
  add(x, 1).dispose();
  const error = await rejection(device.sync());
  assert.equal([error.code, error.details], ["DEVICE_ERROR", { op: "binary" }]);
  await device.sync();
  assert.equal(await numbers(x), [1, 1, 1]);
});

onSimt("an update in place that fails leaves the tensor without a value, and its bytes come back", async () => {
  await using device = failingAt(3);
  const [x, y] = [ones([4], { device }), ones([4], { device })];
  scaleInPlace([x], 2);
  const sum = add(x, y);
  const error = await rejection(sum.read());
  assert.equal([error.code, error.details], ["DEVICE_ERROR", { op: "scale_in_place" }]);
  assert.equal(await numbers(y), [1, 1, 1, 1]);
  for (const t of [x, y, sum]) t.dispose();
  await device.sync();
  assert.is(device.memory().live, 0);
});

// --- whole requests ---------------------------------------------------------------------------------------------------

const folder = tinyFolder({ dit: { numDoubleBlocks: 1, numSingleBlocks: 1 } });
const request = { prompt: "a cat", width: 16, height: 16, numFrames: 5, numInferenceSteps: 1, seed: 1 } as const;

/** Loads, asks, and asks again after a failure; what had failed, while loading or in the first request. */
async function attempt(device: Device, offload: "none" | "blocks", wanted: Video) {
  let model: HunyuanVideo;
  try {
    model = await loadTiny(folder, { device, offload });
  } catch (error) {
    if (isHunyuanError(error, "DEVICE_ERROR")) return { loading: error.details.op };
    throw error;
  }
  await using open = model;
  const resting = await restingMemory(open);
  let asking: string | undefined;
  try {
    await open.generate(request);
  } catch (error) {
    if (!isHunyuanError(error, "DEVICE_ERROR")) throw error;
    asking = error.details.op;
    assert.match(error.message, /HUNYUAN_SIMT_FAIL_LAUNCH/);
  }
  if (asking === undefined) return {};
  // What is streamed is let go of, and read anew.
  if (offload === "none") assert.equal(await restingMemory(open), resting);
  assert.ok(sameBytes(await open.generate(request), wanted), `${asking} failed: another video than before`);
  return { asking };
}

for (const offload of ["none", "blocks"] as const) {
  onSimt(
    `whichever launch fails, offload ${offload}: its name, the memory back, and the next request is right`,
    async () => {
      const wanted = await (async () => {
        await using healthy = await loadTiny(folder, { device: "simt" });
        return await healthy.generate(request);
      })();
      const seen: { readonly loading?: string; readonly asking?: string }[] = [];
      for (let launch = 1; ; launch = Math.ceil(1.5 * launch)) {
        await using device = failingAt(launch);
        const found = await attempt(device, offload, wanted);
        await device.sync();
        assert.equal([device.memory().live, device.memory().tensors], [0, 0], `launch ${launch}`);
        if (found.loading === undefined && found.asking === undefined) break;
        seen.push(found);
      }
      const ops = (which: "loading" | "asking") => seen.flatMap((found) => found[which] ?? []);
      assert.ok(ops("loading").length > 0, "no launch of loading failed");
      assert.ok(new Set(ops("asking")).size > 2, `requests failed in ${ops("asking").join(", ")}`);
    },
  );
}

// --- memory -----------------------------------------------------------------------------------------------------------

for (const name of here) {
  test(`${name}: OUT_OF_MEMORY names op, shape and bytes; the bytes come back and the device works on`, async () => {
    await using device = openDevice(name, { memoryLimit: 6 << 20 });
    const x = ones([1 << 20], { device });
    const y = add(x, 1);
    const error = await rejection(y.read());
    assert.equal([error.code, error.details], ["OUT_OF_MEMORY", { op: "binary" }]);
    assert.match(error.message, /\[1048576\] f32 .*limit 6\.0 MiB/);
    x.dispose();
    y.dispose();
    assert.equal(await numbers(add(ones([4], { device }), 1)), [2, 2, 2, 2]);
    await device.sync();
    assert.ok(device.memory().peak <= 6 << 20);
  });

  test(`${name}: a request that does not fit rejects, leaves the model as it was, and the next one is right`, async () => {
    await using device = openDevice(name);
    await using model = await loadTiny(folder, { device });
    const wanted = await model.generate(request);
    const resting = await restingMemory(model);
    const { limit } = device.memory();
    for (const room of [0, 50_000, 500_000]) {
      device.trim();
      device.setMemoryLimit(resting.live + room + 1);
      const error = await rejection(model.generate(request));
      assert.is(error.code, "OUT_OF_MEMORY", `${room} bytes: ${error.message}`);
      assert.equal(await restingMemory(model), resting);
      device.setMemoryLimit(limit);
    }
    assert.ok(sameBytes(await model.generate(request), wanted));
  });
}

own.run();
