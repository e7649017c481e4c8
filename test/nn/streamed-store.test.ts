/** Blocks that are read while others compute give what resident parameters give, in the memory of two or three blocks. */
import { copyFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors-write.js";
import { convolution, dense } from "../../lib/nn/layers.js";
import { type LoadOptions, loadParams } from "../../lib/nn/load.js";
import type { Params } from "../../lib/nn/params.js";
import { type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import { checkResident, streamParams } from "../../lib/nn/streamed-store.js";
import {
  add,
  cast,
  type DType,
  type FloatDType,
  openDevice,
  randn,
  reshape,
  scope,
  type Tensor,
} from "../../lib/tensor.js";
import { temporaryFolder } from "../support/hostile.js";
import { refusal, rejection } from "../support/refusal.js";

const folder = temporaryFolder();
test.after(() => folder.remove());

const blocks = 5;
const width = 64;
/** Blocks of different sizes, as dual-stream and single-stream ones are; one parameter of each has to be permuted. */
const specs: readonly ParameterSpec[] = [
  { name: "in.weight", shape: [width, width], layout: "same" },
  ...Array.from({ length: blocks }, (_, i): ParameterSpec[] => [
    { name: `blocks.${i}.wide.weight`, shape: [width * (i < 2 ? 4 : 1), width], layout: "same" },
    { name: `blocks.${i}.narrow.weight`, shape: [width, width * (i < 2 ? 4 : 1)], layout: "same" },
    { name: `blocks.${i}.narrow.bias`, shape: [width], layout: "same" },
    { name: `blocks.${i}.conv.weight`, shape: [4, 4, 1, 3, 3], layout: "channels-last" },
  ]).flat(),
  { name: "out.weight", shape: [width, width], layout: "same" },
];
const groupOf = ({ name }: ParameterSpec) => /^blocks\.\d+/.exec(name)?.[0];

async function writeModel(name: string, dtype: DType): Promise<string> {
  const path = join(folder.path, name);
  await using device = openDevice("cpu");
  const make = (shape: readonly number[], seed: number) => scope(() => cast(randn(shape, { seed, device }), dtype));
  const tensors = new Map(specs.map(({ name: key, shape }, i) => [key, make(shape, i)]));
  await saveSafetensors(path, tensors);
  return path;
}

function block<D extends FloatDType>(p: Params, x: Tensor<D>): Tensor<D> {
  const [rows = 0] = x.shape;
  const y = dense(p.at("narrow"), dense(p.at("wide"), x));
  const image = reshape(y, [rows, 1, 4, width / 16, 4]);
  return add(x, reshape(convolution(p.at("conv"), image), [rows, width]));
}

/** Two passes over all blocks, everything queued at once. */
async function run(params: Params, x: Tensor<FloatDType>): Promise<number[]> {
  const y = scope(() => {
    let hidden = x;
    for (let pass = 0; pass < 2; pass++) {
      hidden = dense(params.at("in"), hidden);
      for (let i = 0; i < blocks; i++) hidden = scope(() => block(params.at(`blocks.${i}`), hidden));
      hidden = dense(params.at("out"), hidden);
    }
    return hidden;
  });
  try {
    return Array.from(await y.read(), Number);
  } finally {
    y.dispose();
  }
}

const options = (dtype: DType): LoadOptions => ({ dtype });

for (const [file, dtype, slots] of [
  ["f32", "f32", 2],
  ["bf16", "bf16", 2],
  ["bf16", "f32", 2],
  ["f32", "bf16", 3],
  ["bf16", "bf16", 16],
] as const) {
  test(`${file} file, computed in ${dtype}, ${slots} slots`, async () => {
    const checkpoint = await openCheckpoint(await writeModel(`${file}.safetensors`, file));
    await using device = openDevice("cpu");
    const resident = await loadParams(device, checkpoint, specs, releasedNaming, options(dtype));
    const streamed = await streamParams(device, checkpoint, specs, releasedNaming, {
      ...options(dtype),
      groupOf,
      slots,
    });
    assert.equal([...streamed.names()].sort(), [...resident.names()].sort());
    using x = scope(() => cast(randn([3, width], { seed: 99, device }), dtype));
    const want = await run(resident, x);
    for (let round = 0; round < 3; round++) assert.equal(await run(streamed, x), want);
    resident.dispose();
    streamed.dispose();
    x.dispose();
    await device.sync();
    const { live, tensors, forgotten } = device.memory();
    assert.equal([live, tensors, forgotten], [0, 0, 0]);
  });
}

test("the device holds the slots and what stays, whatever is queued", async () => {
  const checkpoint = await openCheckpoint(await writeModel("memory.safetensors", "f32"));
  /** Bytes above what is live before, while it runs: activations and workspaces. And what is live. */
  const measure = async (streams: boolean) => {
    await using device = openDevice("cpu");
    const load = streams ? streamParams : loadParams;
    const params = await load(device, checkpoint, specs, releasedNaming, { dtype: "f32", groupOf });
    using x = randn([1, width], { seed: 1, device });
    await run(params, x); // the place for converted parameters is made at first use
    await device.sync();
    device.resetPeak();
    const { live } = device.memory();
    await run(params, x);
    const { peak } = device.memory();
    params.dispose();
    return { live, above: peak - live };
  };
  const [resident, streamed] = [await measure(false), await measure(true)];
  const largest = 4 * (2 * 4 * width * width + width + 4 * 4 * 9);
  const stay = 4 * 2 * width * width;
  // Two slots, each rounded up by at most an eighth.
  assert.ok(streamed.live < stay + 2.3 * largest, `live ${streamed.live}, a block ${largest}, resident ${stay}`);
  // A third block would be eight times the slack, which is for tensors that end a little later.
  assert.ok(
    streamed.above <= resident.above + largest / 8,
    `${streamed.above} above, ${resident.above} with all on the device`,
  );
});

test("a tensor kept past its block says that it is gone", async () => {
  const checkpoint = await openCheckpoint(await writeModel("stale.safetensors", "f32"));
  await using device = openDevice("cpu");
  const streamed = await streamParams(device, checkpoint, specs, releasedNaming, { dtype: "f32", groupOf });
  const early = streamed.get<"f32">("blocks.0.wide.weight");
  streamed.get("blocks.1.wide.weight");
  assert.is(refusal(() => add(early, 1)).code, "DISPOSED");
  assert.is(streamed.find("blocks.0.nothing"), undefined);
  assert.is(refusal(() => checkResident("fuse", streamed)).code, "INVALID_ARGUMENT");
  streamed.dispose();
});

test("after an abort, the next pass is right again", async () => {
  const checkpoint = await openCheckpoint(await writeModel("abort.safetensors", "f32"));
  await using device = openDevice("cpu");
  const streamed = await streamParams(device, checkpoint, specs, releasedNaming, { dtype: "f32", groupOf });
  using x = randn([2, width], { seed: 3, device });
  const want = await run(streamed, x);
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const y = scope(() => {
      let hidden: Tensor<"f32"> = x;
      for (let b = 0; b < blocks; b++) hidden = block(streamed.at(`blocks.${b}`), hidden);
      return hidden;
    });
    const waiting = i % 2 === 0 ? device.sync({ signal: controller.signal }) : y.read({ signal: controller.signal });
    setTimeout(() => controller.abort(), i / 10);
    await waiting.then(
      () => {},
      (error: { readonly code: string }) => assert.is(error.code, "ABORTED"),
    );
    y.dispose();
    assert.equal(await run(streamed, x), want, `after abort ${i}`);
  }
  streamed.dispose();
  x.dispose();
  await device.sync();
  assert.is(device.memory().live, 0);
});

test("a file that is cut off while blocks are streamed", async () => {
  const whole = await writeModel("whole.safetensors", "f32");
  const path = join(folder.path, "cut.safetensors");
  copyFileSync(whole, path);
  const checkpoint = await openCheckpoint(path);
  await using device = openDevice("cpu");
  const streamed = await streamParams(device, checkpoint, specs, releasedNaming, { dtype: "f32", groupOf });
  using x = randn([2, width], { seed: 3, device });
  const want = await run(streamed, x);
  const last = checkpoint.entries.get(`blocks.${blocks - 1}.wide.weight`);
  truncateSync(path, last?.offset ?? 0);
  const error = await rejection(run(streamed, x));
  assert.is(error.code, "FILE_ERROR");
  assert.match(error.message, /blocks\.4\.[a-z.]+: cannot read .*cut\.safetensors: the file ends at byte/);
  await device.sync().catch(() => {});
  copyFileSync(whole, path);
  assert.equal(await run(streamed, x), want);
  streamed.dispose();
});

test("what is wrong with a checkpoint is said before anything is read", async () => {
  const checkpoint = await openCheckpoint(await writeModel("wrong.safetensors", "f32"));
  await using device = openDevice("cpu");
  const wrong = [...specs, { name: "blocks.4.more", shape: [1], layout: "same" as const }];
  const error = await rejection(streamParams(device, checkpoint, wrong, releasedNaming, { dtype: "f32", groupOf }));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /1 parameter is missing: blocks\.4\.more/);
  assert.is(device.memory().tensors, 0);
});

test.run();
