/** Parameters from checkpoints: layouts, types, namings, and what is refused without leaving anything behind. */
import { truncateSync, unlinkSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors-write.js";
import { loadParams, paramsFromTensors } from "../../lib/nn/load.js";
import { type Naming, type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import { type DType, openDevice, permute, type Tensor, tensor } from "../../lib/tensor.js";
import { writeSafetensors } from "../support/checkpoint-files.js";
import { temporaryFolder } from "../support/hostile.js";
import { refusal, rejection } from "../support/refusal.js";

const folder = temporaryFolder();
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(async () => {
  await device.sync();
  const { live, tensors, forgotten } = device.memory();
  assert.equal([live, tensors, forgotten], [0, 0, 0]);
  folder.remove();
  await device.dispose();
});

/** 0, 1, 2, … in a shape. */
const counting = (shape: readonly number[], dtype: DType = "f32", from = 0): Tensor => {
  const size = shape.reduce((n, m) => n * m, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, i) => from + i),
    { shape, dtype, device },
  );
};

let count = 0;
/** A safetensors file of tensors, which end with it. */
async function fileOf(tensors: Readonly<Record<string, Tensor>>): Promise<string> {
  const path = `${folder.path}/file-${count++}.safetensors`;
  await saveSafetensors(path, new Map(Object.entries(tensors)));
  for (const made of Object.values(tensors)) made.dispose();
  return path;
}

const spec = (name: string, shape: readonly number[], layout: ParameterSpec["layout"] = "same"): ParameterSpec => ({
  name,
  shape,
  layout,
});
const values = async (t: Tensor) => Array.from(await t.read(), Number);

const specs = [
  spec("conv.weight", [2, 3, 1, 2, 2], "channels-last"),
  spec("patch.weight", [2, 3, 1, 2, 2], "flat"),
  spec("linear.weight", [2, 3]),
  spec("linear.bias", [2]),
  spec("scale", []),
  spec("pointwise.weight", [2, 3, 1, 1, 1], "channels-last"),
];
const contents = (dtype: DType = "f32") =>
  Object.fromEntries(specs.map(({ name, shape }, i) => [name, counting(shape, dtype, i)]));

async function expectParams(params: ReturnType<typeof paramsFromTensors>, dtype: DType): Promise<void> {
  using saved = counting([2, 3, 1, 2, 2]);
  using conv = permute(saved, [0, 2, 3, 4, 1]);
  const root = params.at("conv");
  assert.equal(root.get("weight").shape, [2, 1, 2, 2, 3]);
  assert.equal(await values(root.get("weight")), await values(conv));
  assert.equal(params.get("patch.weight").shape, [2, 12]);
  assert.equal((await values(params.get("patch.weight"))).slice(0, 3), [1, 2, 3]);
  assert.equal(await values(params.get("linear.weight")), [2, 3, 4, 5, 6, 7]);
  assert.equal(params.get("scale").shape, []);
  assert.equal(await values(params.get("scale")), [4]);
  assert.equal(params.get("pointwise.weight").shape, [2, 1, 1, 1, 3]);
  assert.equal(await values(params.get("pointwise.weight")), [5, 6, 7, 8, 9, 10]);
  for (const name of params.names()) {
    const held = params.get(name);
    assert.is(held.dtype, dtype);
    assert.ok(held.isDense);
  }
}

for (const [from, to] of [
  ["f32", "f32"],
  ["bf16", "f32"],
  ["f32", "bf16"],
  ["f16", "f16"],
] as const) {
  test(`a file of ${from} in ${to}, from disk and from memory`, async () => {
    const path = await fileOf(contents(from));
    const seen: number[] = [];
    const params = await loadParams(device, await openCheckpoint(path), specs, releasedNaming, {
      dtype: to,
      onProgress: ({ loadedBytes, totalBytes }) => seen.push(loadedBytes / totalBytes),
    });
    await expectParams(params, to);
    params.dispose();
    assert.equal(seen, [1]);
    const given = contents(from);
    const copied = paramsFromTensors(specs, new Map(Object.entries(given)), { dtype: to });
    for (const one of Object.values(given)) one.dispose();
    await expectParams(copied, to);
    copied.dispose();
  });
}

test("some parameters are kept in a type of their own", async () => {
  const path = await fileOf({ w: counting([2, 4], "f8e4m3"), norm: counting([4], "bf16") });
  const params = await loadParams(
    device,
    await openCheckpoint(path),
    [spec("w", [2, 4]), spec("norm", [4])],
    releasedNaming,
    {
      dtype: "bf16",
      keep: ({ name }) => (name === "w" ? "f8e4m3" : "f32"),
    },
  );
  assert.is(params.get("w").dtype, "f8e4m3");
  assert.is(params.get("norm").dtype, "f32");
  assert.equal(await values(params.get("w")), [0, 1, 2, 3, 4, 5, 6, 7]);
  params.dispose();
});

/** Fused rows in three, and two halves that have changed places. */
const foreign: Naming = ({ name, shape }) => {
  if (name === "qkv") return ["q", "k", "v"].map((key) => ({ key, rows: 2 }));
  if (name === "swapped")
    return [
      { key: "halves", start: 1, rows: 1 },
      { key: "halves", rows: 1 },
    ];
  if (name === "up" || name === "down") return [{ key: "both", start: name === "up" ? 0 : 1, rows: 1 }];
  return [{ key: name, rows: shape[0] ?? 1 }];
};
const foreignSpecs = [spec("qkv", [6, 2]), spec("swapped", [2, 3]), spec("up", [1, 2]), spec("down", [1, 2])];
const foreignContents = () => ({
  q: counting([2, 2]),
  k: counting([2, 2], "f32", 10),
  v: counting([2, 2], "f32", 20),
  halves: counting([2, 3]),
  both: counting([2, 2]),
});

test("a foreign naming gathers and cuts rows", async () => {
  const given = foreignContents();
  const fromMemory = paramsFromTensors(foreignSpecs, new Map(Object.entries(given)), { naming: foreign });
  const checkpoint = await openCheckpoint(await fileOf(given));
  const fromDisk = await loadParams(device, checkpoint, foreignSpecs, foreign, { dtype: "f32" });
  for (const params of [fromMemory, fromDisk]) {
    assert.equal(await values(params.get("qkv")), [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]);
    assert.equal(await values(params.get("swapped")), [3, 4, 5, 0, 1, 2]);
    assert.equal(await values(params.get("up")), [0, 1]);
    assert.equal(await values(params.get("down")), [2, 3]);
    params.dispose();
  }
});

test("keys that are missing are listed and counted", async () => {
  const path = await fileOf({ present: counting([1]) });
  const wanted = ["present", ...Array.from({ length: 20 }, (_, i) => `absent.${i}`)].map((name) => spec(name, [1]));
  const error = await rejection(
    loadParams(device, await openCheckpoint(path), wanted, releasedNaming, { dtype: "f32" }),
  );
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /20 parameters are missing: absent\.0, .*absent\.7, and 12 more/);
  assert.ok(error.message.includes(path));
  assert.is((error.details as { keys: readonly string[] }).keys.length, 20);
  const fromMemory = refusal(() => paramsFromTensors(wanted, new Map()));
  assert.match(fromMemory.message, /21 parameters are missing/);
});

test("shapes and types that do not fit are refused by key", async () => {
  const path = await fileOf({
    w: counting([2, 3]),
    ids: tensor([1n, 2n], { device }),
    swapped: counting([3, 2]),
    q: counting([2, 2]),
    k: counting([2, 2], "bf16"),
    v: counting([2, 2]),
  });
  const checkpoint = await openCheckpoint(path);
  const cases: [ParameterSpec, Naming, string, RegExp][] = [
    [spec("w", [3, 2]), releasedNaming, "w", /is \[2, 3\], expected \[3, 2\]/],
    [spec("w", [1, 3]), releasedNaming, "w", /has 2 rows, of which the model has 1/],
    [spec("w", [4, 3]), releasedNaming, "w", /is \[2, 3\], expected \[4, 3\]/],
    [spec("swapped", [2, 3]), releasedNaming, "swapped", /is \[3, 2\]/],
    [spec("ids", [2]), releasedNaming, "ids", /is i64, which cannot be the f32 parameter/],
    [spec("qkv", [6, 2]), foreign, "k", /is bf16, but q, of the same parameter, f32/],
    [spec("w", [2, 3]), () => [{ key: "w", rows: 1 }], "w", /naming gives 1 rows/],
  ];
  for (const [one, naming, key, message] of cases) {
    const error = await rejection(loadParams(device, checkpoint, [one], naming, { dtype: "f32" }));
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, message);
    assert.is((error.details as { key?: string }).key, key);
    assert.is((error.details as { file?: string }).file, path);
  }
});

test("names may be anything", async () => {
  const names = ["a\0b", "\ud800", "n".repeat(10_000)];
  const path = `${folder.path}/names.safetensors`;
  writeSafetensors(
    path,
    names.map((name) => ({ name, dtype: "f32" as const, shape: [2] })),
  );
  const { entries, ...rest } = await openCheckpoint(path);
  assert.is(entries.size, names.length);
  const all = [...entries.values()].map(({ name, shape }) => spec(name, shape));
  const params = await loadParams(device, { entries, ...rest }, all, releasedNaming, { dtype: "f32" });
  assert.equal([...params.names()], [...entries.keys()]);
  params.dispose();
});

test("axes of one element may be written or not", async () => {
  const path = await fileOf({ w: counting([2, 3, 1, 1]), s: counting([1]) });
  const params = await loadParams(
    device,
    await openCheckpoint(path),
    [spec("w", [2, 3]), spec("s", [])],
    releasedNaming,
    {
      dtype: "f32",
    },
  );
  assert.equal(params.get("w").shape, [2, 3]);
  assert.equal(params.get("s").shape, []);
  params.dispose();
});

test("a file that is cut off after its header was read", async () => {
  const path = await fileOf({ first: counting([1000]), second: counting([1000]) });
  const checkpoint = await openCheckpoint(path);
  truncateSync(path, (checkpoint.entries.get("second")?.offset ?? 0) + 100);
  const wanted = [spec("first", [1000]), spec("second", [1000])];
  const error = await rejection(loadParams(device, checkpoint, wanted, releasedNaming, { dtype: "bf16" }));
  assert.is(error.code, "CHECKPOINT_INVALID", error.message);
  assert.match(error.message, /second: the file has become shorter/);
  assert.equal({ ...error.details }, { file: path, key: "second" });
  unlinkSync(path);
  const gone = await rejection(loadParams(device, checkpoint, wanted, releasedNaming, { dtype: "bf16" }));
  assert.is(gone.code, "FILE_ERROR");
  assert.match(gone.message, /first.*cannot open/);
  // The device is as before: what failed is told once.
  await device.sync();
});

test("a load is aborted, before and between", async () => {
  const path = `${folder.path}/large.safetensors`;
  const large = Array.from({ length: 3 }, (_, i) => spec(`w${i}`, [64 * 2 ** 20]));
  writeSafetensors(
    path,
    large.map(({ name, shape }) => ({ name, shape, dtype: "bf16" as const })),
  );
  const checkpoint = await openCheckpoint(path);
  const before = await rejection(
    loadParams(device, checkpoint, large, releasedNaming, { dtype: "bf16", signal: AbortSignal.abort() }),
  );
  assert.is(before.code, "ABORTED");
  const controller = new AbortController();
  const between = await rejection(
    loadParams(device, checkpoint, large, releasedNaming, {
      dtype: "bf16",
      signal: controller.signal,
      onProgress: () => controller.abort(),
    }),
  );
  assert.is(between.code, "ABORTED");
  unlinkSync(path);
});

test("what is on its way beside the parameters is bounded", async () => {
  const path = `${folder.path}/wide.safetensors`;
  const wide = Array.from({ length: 7 }, (_, i) => spec(`w${i}`, [16 * 2 ** 20]));
  writeSafetensors(
    path,
    wide.map(({ name, shape }) => ({ name, shape, dtype: "f32" as const })),
  );
  const own = openDevice("cpu");
  const params = await loadParams(own, await openCheckpoint(path), wide, releasedNaming, { dtype: "bf16" });
  const mib = 2 ** 20;
  const { peak, live } = own.memory();
  assert.ok(live < 225 * mib, `${live / mib} MiB of parameters`);
  assert.ok(peak < (128 + 256 + 64) * mib, `peak ${peak / mib} MiB`);
  params.dispose();
  await own.dispose();
  unlinkSync(path);
});

test("out of memory leaves nothing behind", async () => {
  const path = `${folder.path}/heavy.safetensors`;
  const heavy = Array.from({ length: 8 }, (_, i) => spec(`w${i}`, [2 ** 20]));
  writeSafetensors(
    path,
    heavy.map(({ name, shape }) => ({ name, shape, dtype: "f32" as const })),
  );
  const small = openDevice("cpu", { memoryLimit: 20 * 2 ** 20 });
  const checkpoint = await openCheckpoint(path);
  const error = await rejection(loadParams(small, checkpoint, heavy, releasedNaming, { dtype: "f32" }));
  assert.is(error.code, "OUT_OF_MEMORY");
  assert.is(small.memory().live, 0);
  assert.is(small.memory().tensors, 0);
  await small.dispose();
});

test.run();
