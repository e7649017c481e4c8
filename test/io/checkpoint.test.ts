/** Folders, indexes and shards: which files are opened, and what is wrong with those that are not. */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { type FileTensor, writeSafetensors, writeTorchZip } from "../support/checkpoint-files.js";
import { refusesToOpen, temporaryFolder } from "../support/hostile.js";
import { rejection } from "../support/refusal.js";

const root = temporaryFolder();
test.after(() => root.remove());

let count = 0;
/** A folder of its own with these files: tensors in safetensors, or text. */
function folder(files: Readonly<Record<string, readonly FileTensor[] | string | object>>): string {
  const path = join(root.path, `folder-${count++}`);
  mkdirSync(path);
  for (const [name, content] of Object.entries(files)) {
    const file = join(path, name);
    if (Array.isArray(content)) (name.endsWith(".safetensors") ? writeSafetensors : writeTorchZip)(file, content);
    else writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  }
  return path;
}

const named = (...names: readonly string[]): FileTensor[] => names.map((name) => ({ name, dtype: "f32", shape: [2] }));
const names = async (path: string) => [...(await openCheckpoint(path)).entries.keys()];
const indexName = "diffusion_pytorch_model.safetensors.index.json";
const indexOf = (weight_map: unknown) => ({ metadata: { total_size: 16 }, weight_map });

test("the shards of an index, by the folder or by the index", async () => {
  const path = folder({
    "a-00001-of-00002.safetensors": named("x", "y"),
    "a-00002-of-00002.safetensors": named("z"),
    [indexName]: indexOf({
      z: "a-00002-of-00002.safetensors",
      x: "a-00001-of-00002.safetensors",
      y: "a-00001-of-00002.safetensors",
    }),
  });
  for (const source of [path, join(path, indexName)]) {
    const checkpoint = await openCheckpoint(source);
    assert.equal([...checkpoint.entries.keys()], ["z", "x", "y"]);
    assert.is(checkpoint.entries.get("z")?.file, join(path, "a-00002-of-00002.safetensors"));
    assert.is(checkpoint.files.length, 2);
    assert.is(checkpoint.source, source);
  }
});

test("shards of torch.save", async () => {
  const path = folder({
    "m-1.bin": named("x"),
    "m-2.bin": named("y"),
    "pytorch_model.bin.index.json": indexOf({ x: "m-1.bin", y: "m-2.bin" }),
  });
  const checkpoint = await openCheckpoint(path);
  assert.is(checkpoint.format, "torch");
  assert.equal([...checkpoint.entries.keys()], ["x", "y"]);
});

test("shards without an index", async () => {
  const whole = folder({ "m-00001-of-00002.safetensors": named("x"), "m-00002-of-00002.safetensors": named("y") });
  assert.equal(await names(whole), ["x", "y"]);
  const part = folder({ "m-00002-of-00002.safetensors": named("y") });
  await refusesToOpen(part, {
    message: /is missing; the folder holds 1 of 2/,
    file: join(part, "m-00001-of-00002.safetensors"),
    key: "m-00001-of-00002.safetensors",
  });
  const twice = folder({ "m-00001-of-00002.safetensors": named("x"), "m-00002-of-00002.safetensors": named("x") });
  await refusesToOpen(twice, { message: /stands in/, file: join(twice, "m-00002-of-00002.safetensors"), key: "x" });
});

test("the files under which models are published", async () => {
  for (const name of [
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "hunyuan_video_vae_bf16.safetensors",
    "mp_rank_00_model_states.pt",
    "pytorch_model.pt",
    "pytorch_model.bin",
    "pytorch_model_module.pt",
  ]) {
    assert.equal(await names(folder({ [name]: named("w"), "config.json": "{}" })), ["w"], name);
  }
  const both = folder({ "model.safetensors": named("safe"), "pytorch_model.bin": named("pickled") });
  assert.equal(await names(both), ["safe"]);
});

test("folders that leave it open", async () => {
  await refusesToOpen(folder({ "config.json": "{}" }), { message: /holds no checkpoint/ });
  const path = folder({ "a.safetensors": named("x"), "b.safetensors": named("y") });
  await refusesToOpen(path, { message: /2 checkpoints \(a\.safetensors, b\.safetensors\)/, key: "a.safetensors" });
});

for (const name of [
  "../elsewhere.safetensors",
  "..",
  ".",
  "",
  "/etc/passwd",
  "C:\\weights.safetensors",
  "sub/a.safetensors",
  "sub\\a.safetensors",
  "a\u0000.safetensors",
  ".hidden",
  "a".repeat(300),
]) {
  test(`the shard name ${JSON.stringify(name.slice(0, 30))} is refused`, async () => {
    const path = folder({ "a.safetensors": named("x"), [indexName]: indexOf({ x: name }) });
    await refusesToOpen(path, { message: /name of a file beside the index/, file: join(path, indexName), key: "x" });
  });
}

test("indexes that are malformed", async () => {
  const cases: [object | string, RegExp, string?][] = [
    [{}, /no weight_map/],
    [indexOf(["a.safetensors"]), /no weight_map/],
    [indexOf({}), /0 shards/],
    [indexOf({ x: 7 }), /no text/, "x"],
    [indexOf(Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`k${i}`, `s${i}`]))), /600 shards/],
    ['{"weight_map":{"x":"a","x":"b"}}', /twice/, "x"],
    ['{"weight_map":', /not valid JSON/],
  ];
  for (const [index, message, key] of cases) {
    const path = folder({ [indexName]: index });
    await refusesToOpen(path, { message, file: join(path, indexName), ...(key === undefined ? {} : { key }) });
  }
});

test("missing shards are named", async () => {
  const path = folder({
    "a.safetensors": named("x"),
    [indexName]: indexOf({ x: "a.safetensors", y: "b.safetensors", z: "c.safetensors" }),
  });
  await refusesToOpen(path, {
    message: /2 of its 3 shards are missing: "b\.safetensors", "c\.safetensors"/,
    file: join(path, indexName),
    key: "b.safetensors",
  });
});

test("a key that is not in its shard, and a shard that is none", async () => {
  const lacking = folder({ "a.safetensors": named("x"), [indexName]: indexOf({ y: "a.safetensors" }) });
  await refusesToOpen(lacking, { message: /not in this shard/, file: join(lacking, "a.safetensors"), key: "y" });
  const looping = folder({ [indexName]: indexOf({ x: indexName }) });
  await refusesToOpen(looping, { message: /an index of shards where a shard/, file: join(looping, indexName) });
  const cut = folder({ "a.safetensors": "abc", [indexName]: indexOf({ x: "a.safetensors" }) });
  await refusesToOpen(cut, { message: /neither safetensors/, file: join(cut, "a.safetensors") });
});

test("files that cannot be opened are FILE_ERROR", async () => {
  const pipe = join(root.path, "pipe");
  execFileSync("mkfifo", [pipe]);
  const paths = [join(root.path, "nothing"), join(root.path, "nothing", "below"), pipe, "/dev/zero", "a\u0000b"];
  if (process.getuid?.() !== 0) {
    const locked = root.write("locked", "x");
    chmodSync(locked, 0);
    paths.push(locked);
  }
  for (const path of paths) {
    const error = await rejection(openCheckpoint(path));
    assert.is(error.code, "FILE_ERROR", `${path}: ${error.message}`);
  }
});

test("what other programs write is told apart", async () => {
  const files: [string, string | Uint8Array, RegExp][] = [
    ["pointer.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", /Git LFS pointer/],
    ["page.safetensors", "<!doctype html><title>404</title>", /neither safetensors/],
    ["config.json", '{"model_type":"llama"}', /no weight_map/],
  ];
  for (const [name, bytes, message] of files) await refusesToOpen(root.write(name, bytes), { message });
  const gguf = await rejection(openCheckpoint(root.write("model.gguf", Buffer.from("GGUF\x03\0\0\0\0\0\0\0"))));
  assert.is(gguf.code, "MODEL_UNSUPPORTED");
});

test("links to files are followed, as the hub's cache needs", async () => {
  const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures", "checkpoints");
  const path = folder({});
  copyFileSync(join(fixtures, "state_dict.pt"), join(root.path, "blob"));
  execFileSync("ln", ["-s", "../blob", join(path, "pytorch_model.pt")]);
  assert.equal(await names(path), ["weight", "bias"]);
});

test.run();
