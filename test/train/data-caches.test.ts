/** Latents and prompt embeddings on disk: written once, read back bit for bit, safe against torn files, nothing leaked. */
import { appendFileSync, copyFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PromptEmbeddings } from "../../lib/models/text/embeddings.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { mean as meanOf, openDevice, randn, reshape, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { type Dataset, openDataset } from "../../lib/train/data/dataset.js";
import { identityOfFiles, identityOfParams } from "../../lib/train/data/identity.js";
import { cacheLatents } from "../../lib/train/data/latents.js";
import { PromptCache } from "../../lib/train/data/prompts.js";
import { TensorCache } from "../../lib/train/data/tensor-cache.js";
import { clipFolder, emptyFolder } from "../support/clip-folder.js";
import { refusal } from "../support/media.js";

const test = suite("data caches");
const folder = await clipFolder();
const device = openDevice("cpu");
const buckets = [{ width: 32, height: 32, numFrames: 9, batchSize: 2 }];
let before = { live: 0, tensors: 0 };

test.before.each(async () => {
  await device.sync();
  before = device.memory();
});
test.after.each(async () => {
  await device.sync();
  const { live, tensors } = device.memory();
  assert.equal([live, tensors], [before.live, before.tensors]);
});
test.after(async () => {
  await device.dispose();
});

/** An "autoencoder": means of blocks of 8×8 pixels over all frames, and the same halved. */
function encoder() {
  const calls: number[] = [];
  const encode = (pixels: Tensor<"f32">) => {
    const [b = 0, t = 0, h = 0, w = 0] = pixels.shape;
    calls.push(b);
    return scope(() => {
      const blocks = meanOf(reshape(pixels, [b * t, h / 8, 8, w / 8, 24]), { axes: [2], keepDims: true });
      const mean = reshape(blocks, [b, t, h / 8, w / 8, 24]);
      return { mean, logvar: reshape(meanOf(mean, { axes: [4], keepDims: true }), [b, t, h / 8, w / 8, 1]) };
    });
  };
  return { calls, encode };
}

const values = async (x: Tensor) => Array.from(await x.read(), Number);

test("tensors come back bit for bit, alone and as a batch, also after opening anew", async () => {
  const own = emptyFolder();
  const bytes = (n: number) => Uint8Array.from({ length: 24 }, (_, i) => (i * 7 + n * 31) % 251);
  const entry = (n: number) => ({
    key: `k${n}`,
    tensors: { a: { dtype: "bf16" as const, shape: [3, 4], bytes: bytes(n) } },
    notes: { n },
  });
  {
    await using cache = await TensorCache.open(own, "things", "me");
    await Promise.all([cache.put([entry(0), entry(1)]), cache.put([entry(2), entry(0)])]);
    assert.is(cache.size, 3);
  }
  await using cache = await TensorCache.open(own, "things", "me");
  assert.equal([...cache.keys()].sort(), ["k0", "k1", "k2"]);
  assert.equal([cache.notes("k2"), cache.shape("k2", "a")], [{ n: 2 }, [3, 4]]);
  using batch = cache.read(device, ["k2", "k0", "k2"], "a");
  assert.equal([batch.dtype, ...batch.shape], ["bf16", 3, 3, 4]);
  const expected = [2, 0, 2].flatMap((n) => {
    const words = new Uint16Array(bytes(n).buffer);
    return Array.from(words, (word) => new Float32Array(new Uint32Array([word << 16]).buffer)[0] ?? 0);
  });
  assert.equal(await values(batch), expected);
  assert.equal(await cache.verify(), []);
  await using other = await TensorCache.open(own, "things", "somebody else");
  assert.is(other.size, 0);
  assert.throws(() => cache.read(device, ["k9"], "a"), /key is "k9"/);
  assert.throws(() => cache.read(device, ["k1"], "b"), /one of a/);
});

test("a torn index line, missing data and flipped bits cost their entries only", async () => {
  const own = emptyFolder();
  const entry = (key: string) => ({
    key,
    tensors: { a: { dtype: "u8" as const, shape: [8], bytes: Uint8Array.from(Array(8).keys()) } },
  });
  {
    await using cache = await TensorCache.open(own, "things", "me");
    await cache.put([entry("a"), entry("b"), entry("c")]);
  }
  const file = (ending: string) => join(own, readdirSync(own).find((name) => name.endsWith(ending)) ?? "");
  appendFileSync(file(".jsonl"), '{"key":"d","tensors":{"a":{"dty');
  truncateSync(file(".bin"), 20);
  {
    await using cache = await TensorCache.open(own, "things", "me");
    assert.equal([...cache.keys()], ["a", "b"]);
    await cache.put([entry("c")]);
  }
  assert.is(readdirSync(own).length, 4);
  for (const name of readdirSync(own).filter((one) => one.endsWith(".bin"))) {
    const bytes = readFileSync(join(own, name));
    if (bytes.length === 20) writeFileSync(join(own, name), bytes.fill(9, 8, 9));
  }
  await using cache = await TensorCache.open(own, "things", "me");
  assert.equal([...cache.keys()].sort(), ["a", "b", "c"]);
  assert.equal(await cache.verify(), ["b"]);
  assert.equal([cache.has("a"), cache.has("b")], [true, false]);
});

test("latents are encoded once, by content; batches of them carry captions and can be resumed", async () => {
  const own = emptyFolder();
  const data = await openDataset(folder, { buckets, seed: 3 });
  const { calls, encode } = encoder();
  let progress = { done: 0, total: 0 };
  const onProgress = (now: typeof progress) => {
    progress = now;
  };
  await using cache = await TensorCache.open(own, "latents", "vae 1");
  const latents = await cacheLatents(data, { cache, device, encode, variants: 2, onProgress });
  assert.equal(progress, { done: 16, total: 16 });
  assert.is(latents.size, 8);
  const encoded = calls.reduce((sum, n) => sum + n, 0);
  assert.ok(encoded <= 16 && cache.size === encoded, `${encoded}`);

  await using again = await TensorCache.open(own, "latents", "vae 1");
  const reopened = await cacheLatents(await openDataset(folder, { buckets, seed: 3 }), {
    ...{ cache: again, device, variants: 2 },
    encode: () => Promise.reject(new Error("nothing should be encoded")),
  });
  assert.is(reopened.identity, latents.identity);

  const collect = async (from?: { epoch: number; batch: number; data: string }) => {
    await using stream = latents.batches({ device, from, prefetch: 2 });
    const seen: string[] = [];
    for (let i = 0; i < 6; i++) {
      using batch = await stream.take();
      assert.equal(batch.mean.shape, [2, 9, 4, 4, 24]);
      assert.equal(batch.logvar.shape, [2, 9, 4, 4, 1]);
      for (const [at, id] of batch.ids.entries()) {
        const words = data.samples.find((one) => one.id === id)?.captions ?? [];
        assert.ok(words.includes(batch.captions[at] ?? ""));
      }
      const first = (await values(batch.mean)).slice(0, 3);
      seen.push(`${batch.epoch} ${batch.index} ${batch.ids} ${batch.captions} ${first}`);
    }
    return { seen, position: stream.position };
  };
  const whole = await collect();
  assert.equal(whole.position, { epoch: 1, batch: 2, data: latents.identity });
  assert.equal((await collect()).seen, whole.seen);
  const later = await collect({ epoch: 0, batch: 3, data: latents.identity });
  assert.equal(later.seen.slice(0, 3), whole.seen.slice(3));
});

test("latents belong to the pixels they were made of", async () => {
  const data: Dataset = await openDataset(folder, { buckets, seed: 1, place: "centre", start: "first" });
  await using cache = await TensorCache.open(emptyFolder(), "latents", "vae");
  const made = new Set<string>();
  const { encode } = encoder();
  const latents = await cacheLatents(data, {
    ...{ cache, device, batchSize: 3 },
    encode: async (pixels) => {
      const { mean, logvar } = encode(pixels);
      for (const part of parts(await values(mean), pixels.shape[0] ?? 1)) made.add(part);
      return { mean, logvar };
    },
  });
  assert.is(made.size, 8);
  const seen = new Set<string>();
  await using stream = latents.batches({ device });
  for (let i = 0; i < latents.batchesPerEpoch; i++) {
    using batch = await stream.take();
    for (const part of parts(await values(batch.mean), 2)) seen.add(part);
  }
  assert.ok([...seen].every((part) => made.has(part)) && seen.size === 8, `${seen.size} of 8`);
});

/** Each sample's numbers as text. */
function parts(all: readonly number[], count: number): string[] {
  const each = all.length / count;
  return Array.from({ length: count }, (_, i) => all.slice(i * each, (i + 1) * each).join());
}

test("damaged files are left out of the latents; another encoder has other ones; abort", async () => {
  const own = emptyFolder();
  for (let i = 0; i < 3; i++) copyFileSync(join(folder, `clip-${i}.webp`), join(own, `clip-${i}.webp`));
  const data = await openDataset(own, { buckets, seed: 3 });
  writeFileSync(join(own, "clip-1.webp"), "broken");
  const { calls, encode } = encoder();
  const place = emptyFolder();
  await using cache = await TensorCache.open(place, "latents", "vae 1");
  const latents = await cacheLatents(data, { cache, device, encode });
  assert.is(latents.size, 2);
  assert.equal(
    data.skipped.map(({ id }) => id),
    ["clip-1.webp"],
  );
  await using other = await TensorCache.open(place, "latents", "vae 2");
  await cacheLatents(data, { cache: other, device, encode });
  assert.is(
    calls.reduce((sum, n) => sum + n, 0),
    4,
  );
  await using third = await TensorCache.open(place, "latents", "vae 3");
  const stopped = cacheLatents(data, { cache: third, device, encode, signal: AbortSignal.abort() });
  assert.is((await refusal(stopped)).code, "ABORTED");
  const wrong = cacheLatents(data, {
    ...{ cache: third, device },
    encode: () => ({ mean: randn([1, 2], { seed: 1, device }), logvar: randn([1, 2], { seed: 1, device }) }),
  });
  assert.is((await refusal(wrong)).code, "SHAPE_MISMATCH");
});

test("prompt embeddings come back by their words, with their notes", async () => {
  const own = emptyFolder();
  await using cache = await TensorCache.open(own, "prompts", "llama and clip");
  const prompts = new PromptCache(cache);
  const asked: string[] = [];
  const encode = async (words: readonly string[]) => {
    asked.push(...words);
    return words.map((prompt) => {
      const notes = { prompt, kind: "video" as const, truncated: prompt.length > 5, pooledTruncated: false };
      const text = randn([1, prompt.length, 4], { seed: prompt.length, device, dtype: "bf16" });
      return new PromptEmbeddings(text, randn([1, 6], { seed: 1, device }), notes);
    });
  };
  await prompts.add(["a cat", "a walking dog", "a cat"], { encode, batchSize: 1 });
  await prompts.add(["a cat", "a bird"], { encode });
  assert.equal(asked, ["a cat", "a walking dog", "a bird"]);
  using dog = prompts.read("a walking dog", device);
  using wanted = randn([1, 13, 4], { seed: 13, device, dtype: "bf16" });
  assert.equal([dog.length, dog.notes.prompt, dog.truncated, dog.text.dtype], [13, "a walking dog", true, "bf16"]);
  assert.equal(await values(dog.text), await values(wanted));
  assert.equal(dog.pooled.shape, [1, 6]);
  assert.not.ok(prompts.has("a cat", "image"));
  assert.throws(() => prompts.read("a fish", device), /one that was added to the cache/);
});

test("identities tell weights apart", async () => {
  const params = (value: number) =>
    new Params(
      new ResidentStore([
        ["a.weight", tensor([1, 2, value], { device })],
        ["a.bias", tensor([0], { device })],
      ]),
    );
  const identities: string[] = [];
  for (const value of [3, 3, 4]) {
    using made = params(value);
    identities.push(await identityOfParams(made, { scale: 1 }));
    if (value === 4)
      identities.push(await identityOfParams(made, { scale: 2 }), await identityOfParams(made.at("a"), { scale: 1 }));
  }
  assert.is(identities[0], identities[1]);
  // Below "a" lies everything.
  assert.is(identities[2], identities[4]);
  assert.is(new Set(identities).size, 3);
  const file = join(emptyFolder(), "model.bin");
  const contents = Buffer.alloc(10_000_000, 7);
  writeFileSync(file, contents);
  const before = await identityOfFiles([file]);
  assert.is(await identityOfFiles([file]), before);
  writeFileSync(file, contents.fill(8, 5_000_000, 5_400_000));
  assert.not.equal(await identityOfFiles([file]), before);
});

test.run();
