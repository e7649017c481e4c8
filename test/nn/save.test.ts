/** Parameters to files and back: layouts, names, types, shards, and files that appear whole or not at all. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors, writeSafetensors } from "../../lib/io/safetensors-write.js";
import { convertCheckpoint } from "../../lib/nn/convert.js";
import { loadParams, paramsFromTensors } from "../../lib/nn/load.js";
import { saveParams } from "../../lib/nn/save.js";
import { type Naming, type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import {
  cast,
  type DType,
  fromBytes,
  openDevice,
  randn,
  scope,
  select,
  slice,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { temporaryFolder } from "../support/hostile.js";
import { rejection } from "../support/refusal.js";

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

let count = 0;
const newPath = () => join(folder.path, `file-${count++}.safetensors`);

const specs: readonly ParameterSpec[] = [
  { name: "conv.weight", shape: [4, 3, 1, 2, 2], layout: "channels-last" },
  { name: "patch.weight", shape: [4, 3, 1, 2, 2], layout: "flat" },
  { name: "qkv.weight", shape: [6, 5], layout: "same" },
  { name: "swapped.weight", shape: [4, 5], layout: "same" },
  { name: "up", shape: [1, 5], layout: "same" },
  { name: "down", shape: [2, 5], layout: "same" },
  { name: "scale", shape: [], layout: "same" },
];

const foreign: Naming = ({ name, shape }) => {
  if (name === "qkv.weight") return ["to_q", "to_k", "to_v"].map((key) => ({ key, rows: 2 }));
  if (name === "swapped.weight") return [2, 0].map((start) => ({ key: "norm", start, rows: 2 }));
  if (name === "up") return [{ key: "both", start: 2, rows: 1 }];
  if (name === "down") return [{ key: "both", rows: 2 }];
  return [{ key: `diffusers.${name}`, rows: shape[0] ?? 1 }];
};

/** Random parameters, as saved. */
function weights(dtype: DType): Map<string, Tensor> {
  return new Map(
    specs.map(({ name, shape }, seed) => [name, scope(() => cast(randn(shape, { seed, device }), dtype))]),
  );
}

function disposeAll(tensors: ReadonlyMap<string, Tensor>): void {
  for (const one of tensors.values()) one.dispose();
}

/** The bytes of each tensor in a checkpoint. */
async function contents(
  path: string,
): Promise<ReadonlyMap<string, { dtype: DType; shape: readonly number[]; data: Buffer }>> {
  const { entries } = await openCheckpoint(path);
  return new Map(
    [...entries.values()].map(({ name, dtype, shape, file, offset, bytes }) => [
      name,
      { dtype, shape, data: readFileSync(file).subarray(offset, offset + bytes) },
    ]),
  );
}

for (const dtype of ["f32", "bf16", "f8e4m3"] as const) {
  test(`what is saved in ${dtype} has the bytes of what was loaded`, async () => {
    const given = weights(dtype);
    const path = newPath();
    assert.equal(await saveSafetensors(path, given, { made: "by a test" }), [path]);
    const checkpoint = await openCheckpoint(path);
    assert.is(checkpoint.metadata.get("made"), "by a test");
    const params = await loadParams(device, checkpoint, specs, releasedNaming, { dtype });
    const again = newPath();
    await saveParams(params, specs, again);
    params.dispose();
    disposeAll(given);
    const [before, after] = [await contents(path), await contents(again)];
    assert.equal([...after.keys()].sort(), [...before.keys()].sort());
    for (const [name, one] of before) {
      assert.is(after.get(name)?.dtype, dtype);
      assert.equal(after.get(name)?.shape, one.shape, name);
      assert.ok(after.get(name)?.data.equals(one.data), name);
    }
  });
}

test("a foreign naming there and back, from the device and from file to file", async () => {
  const given = weights("bf16");
  const params = paramsFromTensors(specs, given);
  const [released, saved, converted, back] = [newPath(), newPath(), newPath(), newPath()];
  await saveSafetensors(released, given);
  disposeAll(given);
  await saveParams(params, specs, saved, { naming: foreign });
  params.dispose();
  await convertCheckpoint(device, await openCheckpoint(released), specs, converted, {
    from: releasedNaming,
    to: foreign,
  });
  await convertCheckpoint(device, await openCheckpoint(saved), specs, back, { from: foreign });
  const names = [
    "both",
    "diffusers.conv.weight",
    "diffusers.patch.weight",
    "diffusers.scale",
    "norm",
    "to_k",
    "to_q",
    "to_v",
  ];
  const [a, b, c, d] = await Promise.all([saved, converted, released, back].map(contents));
  assert.equal([...(a?.keys() ?? [])].sort(), names);
  assert.equal(b, a);
  assert.equal([...(d ?? [])].sort(), [...(c ?? [])].sort());
  assert.equal(a?.get("to_k")?.data, c?.get("qkv.weight")?.data.subarray(20, 40));
  const swapped = c?.get("swapped.weight")?.data ?? Buffer.alloc(0);
  assert.equal(a?.get("norm")?.data, Buffer.concat([swapped.subarray(20), swapped.subarray(0, 20)]));
  assert.equal(a?.get("both")?.shape, [3, 5]);
});

test("types change on the way when asked", async () => {
  const given = weights("f32");
  const params = paramsFromTensors(specs, given);
  const [path, saved, converted] = [newPath(), newPath(), newPath()];
  await saveSafetensors(path, given);
  disposeAll(given);
  const dtype = ({ name }: ParameterSpec) => (name === "scale" ? undefined : ("bf16" as const));
  await saveParams(params, specs, saved, { dtype });
  await convertCheckpoint(device, await openCheckpoint(path), specs, converted, { from: releasedNaming, dtype });
  params.dispose();
  const [a, b] = [await contents(saved), await contents(converted)];
  assert.equal(a, b);
  assert.equal([...new Set([...a.values()].map((one) => one.dtype))].sort(), ["bf16", "f32"]);
});

test("views are saved as what they show", async () => {
  using base = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { device },
  );
  using columns = slice(base, 1, 1, 3);
  using row = select(base, 0, 1);
  const path = newPath();
  await saveSafetensors(
    path,
    new Map<string, Tensor>([
      ["columns", columns],
      ["row", row],
    ]),
  );
  const found = await contents(path);
  const floats = (name: string) => Array.from(new Float32Array(Uint8Array.from(found.get(name)?.data ?? []).buffer));
  assert.equal(floats("columns"), [2, 3, 5, 6]);
  assert.equal(floats("row"), [4, 5, 6]);
});

test("wide types come first, so that every tensor is aligned", async () => {
  using odd = fromBytes(Uint8Array.of(1, 2, 3), { dtype: "u8", shape: [3], device });
  using wide = tensor([1n], { device });
  using half = tensor([1], { dtype: "bf16", device });
  const path = newPath();
  await saveSafetensors(
    path,
    new Map<string, Tensor>([
      ["odd", odd],
      ["half", half],
      ["wide", wide],
    ]),
  );
  for (const { offset, bytes, shape } of (await openCheckpoint(path)).entries.values()) {
    assert.is(offset % (bytes / (shape[0] ?? 1)), 0);
  }
});

test("a model above the limit is split, with an index", async () => {
  const given = weights("f32");
  const path = newPath();
  const seen: number[] = [];
  const files = await saveSafetensors(
    path,
    given,
    {},
    { shardBytes: 250, onProgress: ({ writtenBytes }) => seen.push(writtenBytes) },
  );
  disposeAll(given);
  const stem = path.replace(/\.safetensors$/, "");
  assert.equal(files, [1, 2, 3, 4].map((n) => `${stem}-0000${n}-of-00004.safetensors`).concat(`${path}.index.json`));
  const { entries, files: shards } = await openCheckpoint(`${path}.index.json`);
  assert.equal([...entries.keys()].sort(), specs.map(({ name }) => name).sort());
  assert.is(shards.length, 4);
  assert.is(seen.at(-1), JSON.parse(readFileSync(`${path}.index.json`, "utf8")).metadata.total_size);
});

test("what fails half-way leaves the old file, and no other", async () => {
  const path = newPath();
  writeFileSync(path, "the old one");
  const before = readdirSync(folder.path);
  using good = tensor([1, 2, 3], { device });
  const broken = {
    name: "w",
    dtype: "f32" as const,
    shape: [4],
    async *chunks() {
      yield new Uint8Array(8);
    },
  };
  const short = await rejection(writeSafetensors(path, [broken]));
  assert.match(short.message, /w: 8 bytes came for f32 \[4\]/);
  const aborted = await rejection(saveSafetensors(path, new Map([["w", good]]), {}, { signal: AbortSignal.abort() }));
  assert.is(aborted.code, "ABORTED");
  const twice = await rejection(saveSafetensors(path, new Map([["__metadata__", good]])));
  assert.is(twice.code, "INVALID_ARGUMENT");
  const nowhere = await rejection(saveSafetensors(join(folder.path, "no", "folder"), new Map([["w", good]])));
  assert.is(nowhere.code, "FILE_ERROR");
  assert.equal(readdirSync(folder.path), before);
  assert.is(readFileSync(path, "utf8"), "the old one");
});

test("rows that come from nowhere are refused", async () => {
  const params = paramsFromTensors([], new Map());
  const some = specs.filter(({ name }) => name === "up");
  const error = await rejection(saveParams(params, some, newPath(), { naming: foreign }));
  assert.match(error.message, /both: its rows 0 … 2 come from no parameter/);
  params.dispose();
});

test.run();
