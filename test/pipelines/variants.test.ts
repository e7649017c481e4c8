/** Other ways to hold and to ask a tiny model: offload, types, image-to-video, LoRAs, pictures and videos going in. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HunyuanVideo, loadEmbeddings, openDevice, saveEmbeddings, type Video, writeImage } from "../../lib/index.js";
import { tensor } from "../../lib/tensor.js";
import { writeSafetensors } from "../support/checkpoint-files.js";
import { f32Bytes, randomNumbers, tinyDit } from "../support/dit-files.js";
import { rejection } from "../support/refusal.js";
import {
  loadTiny,
  restingMemory,
  sameBytes,
  smallRequest,
  temporaryFolder,
  tinyFolder,
} from "../support/tiny-pipeline.js";

const folder = tinyFolder();
const scratch = temporaryFolder();

async function once(options: Parameters<typeof loadTiny>[1], request = smallRequest): Promise<Video> {
  await using model = await loadTiny(folder, options);
  return await model.generate(request);
}

const plain = await once({});

const worst = (a: Video, b: Video) =>
  a.data.reduce((most, byte, i) => Math.max(most, Math.abs(byte - (b.data[i] as number))), 0);

test("offload gives the same bytes with less memory", async () => {
  await using resident = await loadTiny(folder);
  await using streamed = await loadTiny(folder, { offload: "blocks" });
  const [whole, parts] = [await restingMemory(resident), await restingMemory(streamed)];
  assert.ok(parts.live < whole.live, `${parts.live} bytes, ${whole.live} without`);
  assert.ok(sameBytes(await streamed.generate(smallRequest), plain));
  assert.ok(sameBytes(await streamed.generate(smallRequest), plain), "and again");
  assert.is((await restingMemory(streamed)).live, parts.live);
  const controller = new AbortController();
  const stopped = streamed.generate(smallRequest, {
    signal: controller.signal,
    onProgress: ({ stage, step }) => {
      if (stage === "sample" && step === 2) controller.abort();
    },
  });
  assert.is((await rejection(stopped)).code, "ABORTED");
  assert.ok(sameBytes(await streamed.generate(smallRequest), plain), "after an abort");
});

test("text encoders may stay, and cost their memory", async () => {
  await using model = await loadTiny(folder, { keepTextEncoders: true });
  const before = await restingMemory(model);
  assert.ok(sameBytes(await model.generate(smallRequest), plain));
  const kept = await restingMemory(model);
  assert.ok(kept.live > before.live);
  assert.ok(sameBytes(await model.generate(smallRequest), plain));
  assert.equal(await restingMemory(model), kept);
});

for (const dtype of ["bf16", "f16"] as const) {
  test(`in ${dtype} about the same video`, async () => {
    const video = await once({ dtype });
    const mean =
      video.data.reduce((sum, byte, i) => sum + Math.abs(byte - (plain.data[i] as number)), 0) / video.data.length;
    assert.ok(mean < 4, `${mean}`);
  });
}

test("each part may have a type of its own", async () => {
  await using model = await loadTiny(folder, { dtype: "bf16", vaeDtype: "f32", textDtype: "f16" });
  assert.equal(model.dtypes, { dit: "bf16", vae: "f32", text: "f16" });
  assert.is((await model.generate(smallRequest)).numFrames, 9);
});

test("without text encoders a model takes prompts that are encoded already", async () => {
  const path = join(scratch, "cat.safetensors");
  await using whole = await loadTiny(folder);
  {
    using prompt = await whole.encodePrompt(smallRequest.prompt);
    await saveEmbeddings(path, prompt);
  }
  await using alone = await HunyuanVideo.load(join(folder, "transformer", "diffusion_pytorch_model.safetensors"), {
    dtype: "f32",
    vae: join(folder, "vae"),
  });
  const error = await rejection(alone.generate(smallRequest));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /lacks llama, clip/);
  using prompt = await loadEmbeddings(path, alone.device);
  assert.ok(sameBytes(await alone.generate({ ...smallRequest, prompt }), plain));
  const other = await rejection(whole.generate({ ...smallRequest, prompt }));
  assert.match(other.message, /"embeddings on cpu", expected ones on the model's own device/);
});

test("a device that was given stays open, with the memory it had", async () => {
  const device = openDevice("cpu");
  {
    await using model = await loadTiny(folder, { device });
    assert.ok(sameBytes(await model.generate(smallRequest), plain));
  }
  assert.equal([device.disposed, device.memory().live, device.memory().tensors], [false, 0, 0]);
  await device.dispose();
});

// --- pictures and videos going in ------------------------------------------------------------------------------------

const picture = { width: 64, height: 48, data: Uint8Array.from(plain.data.subarray(0, 64 * 48 * 3)) };

for (const [i2v, extra] of [
  ["token_replace", {}],
  ["latent_concat", { inChannels: 33, guidanceEmbed: false }],
] as const) {
  test(`image to video by ${i2v}`, async () => {
    await using model = await loadTiny(tinyFolder({ dit: { i2v, ...extra } }));
    const resting = await restingMemory(model);
    assert.is(model.config.i2v, i2v);
    assert.match(
      (await rejection(model.generate(smallRequest))).message,
      /image is undefined, expected the first frame/,
    );
    const path = join(scratch, `${i2v}.png`);
    await writeImage(path, picture);
    const fromFile = await model.generate({ ...smallRequest, image: path });
    const fromBytes = await model.generate({ ...smallRequest, image: picture });
    assert.ok(sameBytes(fromFile, fromBytes));
    {
      using pixels = tensor(picture.data, { shape: [48, 64, 3], device: model.device });
      assert.ok(sameBytes(await model.generate({ ...smallRequest, image: pixels }), fromFile));
    }
    const livelier = await model.generate({ ...smallRequest, image: picture, imageStability: false });
    assert.not(sameBytes(livelier, fromFile));
    const wrong = { ...picture, width: 48, height: 64 };
    assert.match(
      (await rejection(model.generate({ ...smallRequest, image: wrong }))).message,
      /image is "48 × 64", expected 64 × 48/,
    );
    assert.is(fromFile.metadata.settings?.imageMode, i2v);
    assert.equal(await restingMemory(model), resting);
  });
}

test("a model without embedded guidance takes true guidance, two forwards a step", async () => {
  await using model = await loadTiny(tinyFolder({ dit: { guidanceEmbed: false } }));
  const video = await model.generate(smallRequest);
  assert.is(video.metadata.settings?.trueCfgScale, 6);
  assert.match(video.metadata.negativePrompt ?? "", /^Aerial view/);
});

test("video to latents and back; files, frames and tensors alike", async () => {
  await using model = await loadTiny(folder);
  using latents = await model.encodeVideo(plain);
  assert.equal(latents.shape, [1, 16, 3, 6, 8]);
  const path = join(scratch, "clip.webp");
  await plain.save(path, { quality: 100 });
  using fromFile = await model.encodeVideo(path, { fps: plain.fps });
  assert.equal(fromFile.shape, latents.shape);
  using pixels = plain.toTensor(model.device);
  using fromTensor = await model.encodeVideo(pixels);
  assert.equal(await fromTensor.read(), await latents.read());
  using less = await model.encodeVideo(plain, { maxFrames: 8, width: 64, height: 48 });
  assert.equal(less.shape, [1, 16, 2, 6, 8]);
  const back = await model.decodeLatents(latents);
  assert.equal([back.width, back.height, back.numFrames, back.fps], [64, 48, 9, 24]);
  const changed = await model.generate({ ...smallRequest, video: pixels, strength: 0.5 });
  const same = await model.generate({ ...smallRequest, video: plain, strength: 0.5 });
  assert.ok(sameBytes(changed, same));
  const wrong = await rejection(model.encodeVideo(plain, { width: 50 }));
  assert.match(wrong.message, /width is 50, expected a multiple of 16/);
});

test("a LoRA changes the video; without it the model is what it was", async () => {
  const path = join(scratch, "style.safetensors");
  const rank = 2;
  const hidden = tinyDit.hiddenSize;
  const part = (name: string, shape: readonly [number, number], seed: number) => ({
    name: `diffusion_model.double_blocks.0.img_attn_proj.${name}.weight`,
    dtype: "f32" as const,
    shape,
    data: f32Bytes(randomNumbers(shape[0] * shape[1], seed)),
  });
  writeSafetensors(path, [part("lora_A", [rank, hidden], 1), part("lora_B", [hidden, rank], 2)]);
  await using model = await loadTiny(folder);
  const resting = await restingMemory(model);
  const { rank: seen, strength } = await model.loadLora(path, { strength: 0.5 });
  assert.equal([seen, strength, model.loras.length], [rank, 0.5, 1]);
  const styled = await model.generate(smallRequest);
  assert.not(sameBytes(styled, plain));
  await model.loadLora(path, { strength: 1 });
  assert.is(model.loras.length, 1);
  assert.ok(worst(await model.generate(smallRequest), styled) > 0);
  await model.unloadLora(path);
  assert.ok(sameBytes(await model.generate(smallRequest), plain));
  assert.is((await rejection(model.unloadLora(path))).code, "INVALID_ARGUMENT");
  await model.unloadLora();
  assert.equal(await restingMemory(model), resting);
  await using streamed = await loadTiny(folder, { offload: "blocks" });
  assert.is((await rejection(streamed.loadLora(path))).code, "MODEL_UNSUPPORTED");
});

test("a repository of the hub that is in the cache, by its name and revision", async () => {
  const cache = temporaryFolder();
  const repo = join(cache, "models--owner--name");
  const commit = "0123456789abcdef0123456789abcdef01234567";
  mkdirSync(join(repo, "refs"), { recursive: true });
  mkdirSync(join(repo, "snapshots"));
  writeFileSync(join(repo, "refs", "small"), commit);
  symlinkSync(folder, join(repo, "snapshots", commit), "dir");
  const before = { ...process.env };
  Object.assign(process.env, { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" });
  try {
    await using model = await loadTiny("owner/name@small");
    assert.ok(sameBytes(await model.generate(smallRequest), plain));
    assert.is((await rejection(HunyuanVideo.load("owner/name"))).code, "DOWNLOAD_FAILED");
  } finally {
    process.env = before;
  }
});

test("a folder without a transformer says so", async () => {
  const error = await rejection(HunyuanVideo.load(join(folder, "vae")));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /lacks transformer/);
});

test.run();
