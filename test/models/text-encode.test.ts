/** Prompts through both encoders of a small model: templates, cuts, batches, pictures, saving, abort, memory. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  batchEmbeddings,
  loadEmbeddings,
  type PromptEmbeddings,
  saveEmbeddings,
} from "../../lib/models/text/embeddings.js";
import { TextEncoders } from "../../lib/models/text/encode.js";
import { loadLlama } from "../../lib/models/text/load.js";
import { applyTemplate, promptTemplates } from "../../lib/models/text/templates.js";
import type { ParameterSpec } from "../../lib/nn/spec.js";
import { streamParams } from "../../lib/nn/streamed-store.js";
import { concat, isHunyuanError, openDevice, randn, slice, type Tensor, unsqueeze } from "../../lib/tensor.js";
import { rejection } from "../support/refusal.js";
import { tinyClip, tinyLlama, writeTinyTextEncoders } from "../support/tiny-text.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-encode-"));
writeTinyTextEncoders(folder);
const paths = {
  llm: join(folder, "text_encoder"),
  llmTokenizer: join(folder, "tokenizer"),
  clip: join(folder, "text_encoder_2"),
  clipTokenizer: join(folder, "tokenizer_2"),
};
const device = openDevice("cpu");
const cat = "A cat walks on the grass, realistic style.";
let encoders: TextEncoders;

const runner = suite("text: prompts");
// What earlier tests let go of must be gone before a test counts bytes.
runner.before.each(() => device.sync());
/** uvu cannot show an error whose details are an object. */
const test = (name: string, run: () => void | Promise<void>) =>
  runner(name, async () => {
    try {
      await run();
    } catch (error) {
      throw isHunyuanError(error) ? new Error(`${error.code}: ${error.message}`) : error;
    }
  });
runner.before(async () => {
  encoders = await TextEncoders.load(paths, device, { dtype: "f32" });
});
runner.after(async () => {
  rmSync(folder, { recursive: true });
  await device.dispose();
});

async function bytesLeft(): Promise<readonly number[]> {
  await device.sync();
  const { live, tensors } = device.memory();
  return [live, tensors];
}

function near(got: ArrayLike<number>, want: ArrayLike<number>, tolerance = 1e-5): void {
  assert.is(got.length, want.length);
  assert.ok(want.length > 0);
  let [worst, largest] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs((got[i] as number) - (want[i] as number)) || 0);
    largest = Math.max(largest, Math.abs(want[i] as number));
    assert.not(Number.isNaN(got[i]));
  }
  assert.ok(largest > 0 && worst <= tolerance * largest, `${worst} of ${largest}`);
}

const numbers = async (x: Tensor) => Float32Array.from(await x.read(), Number);

for (const kind of ["video", "image"] as const) {
  test(`${kind}: the prompt's own rows and the template's end`, async () => {
    const before = await bytesLeft();
    const template = promptTemplates[kind];
    const ids = encoders.llmTokenizer.encode(applyTemplate(cat, template), template).ids;
    {
      using got = await encoders.encodePrompt(cat, { kind });
      assert.equal([...got.text.shape], [1, ids.length - template.cropStart, tinyLlama.hiddenSize]);
      assert.equal([...got.pooled.shape], [1, tinyClip.hiddenSize]);
      assert.is(got.length, got.text.shape[1]);
      const notes = { prompt: cat, kind, truncated: false, pooledTruncated: false, warning: undefined };
      assert.equal(got.notes, notes);

      // As the original has it: padded to the full length, third state from the end, then cut.
      const full = encoders.llmTokenizer.encode(applyTemplate(cat, template), { ...template, pad: true }).ids;
      using whole = await loadLlama(join(folder, "text_encoder"), device, { dtype: "f32", skip: 0 });
      const states = whole.hiddenStates([full]);
      const state = states[states.length - 3] as Tensor;
      assert.is(state.shape[1], 351);
      using cut = slice(state, 1, template.cropStart, ids.length);
      near(await numbers(got.text), await numbers(cut));
      for (const one of states) one.dispose();
      using pooled = encoders.clip.pooled([encoders.clipTokenizer.encode(cat, { maxLength: 77, pad: true }).ids]);
      near(await numbers(got.pooled), await numbers(pooled));
    }
    assert.equal(await bytesLeft(), before, "memory comes back");
  });
}

test("several prompts at once are what each is alone", async () => {
  const prompts = [cat, "", "the grass"];
  const together = await encoders.encodePrompts(prompts);
  for (const [i, prompt] of prompts.entries()) {
    using alone = await encoders.encodePrompt(prompt);
    const one = together[i] as PromptEmbeddings;
    assert.is(one.notes.prompt, prompt);
    near(await numbers(one.text), await numbers(alone.text));
    near(await numbers(one.pooled), await numbers(alone.pooled));
  }
  assert.is(together[1]?.length, 1, "of no prompt the end of turn is left");

  const batch = batchEmbeddings(together);
  assert.equal(
    batch.textLengths,
    together.map(({ length }) => length),
  );
  const longest = Math.max(...batch.textLengths);
  assert.equal([...batch.text.shape], [3, longest, tinyLlama.hiddenSize]);
  assert.equal([...batch.pooled.shape], [3, tinyClip.hiddenSize]);
  const whole = await numbers(batch.text);
  for (const [i, { text, length }] of together.entries()) {
    const start = i * longest * tinyLlama.hiddenSize;
    const valid = length * tinyLlama.hiddenSize;
    assert.equal(whole.slice(start, start + valid), await numbers(text));
    assert.ok(whole.slice(start + valid, start + longest * tinyLlama.hiddenSize).every((x) => x === 0));
  }
  for (const x of [batch.text, batch.pooled, ...together]) x.dispose();
  assert.equal(await encoders.encodePrompts([]), []);
});

test("what is too long loses its end, and the result says so", async () => {
  using video = await encoders.encodePrompt("cat ".repeat(400));
  assert.is(video.length, 256);
  assert.equal([video.truncated, video.notes.pooledTruncated], [true, true]);
  assert.match(video.notes.warning ?? "", "the prompt is too long: the language model did not see the last");
  using image = await encoders.encodePrompt("cat ".repeat(400), { kind: "image" });
  assert.is(image.length, 315);
  using middle = await encoders.encodePrompt("cat ".repeat(90));
  assert.equal([middle.truncated, middle.notes.pooledTruncated], [false, true]);
  assert.match(middle.notes.warning ?? "", "CLIP did not see the last");
});

test("with a picture: its states, the prompt's, and the last double return", async () => {
  const before = await bytesLeft();
  {
    using picture = randn([576, tinyLlama.hiddenSize], { seed: 7, device });
    const template = promptTemplates.imageToVideo;
    const { ids } = encoders.llmTokenizer.encode(applyTemplate(cat, template), template);
    const prompted = encoders.llmTokenizer.encode(cat, { maxLength: 999 }).length - 1;
    // By hand: embeddings with the picture in the slot, all states, then the rows by their places.
    using start = encoders.llama.embed([ids.slice(0, 5)]);
    using end = encoders.llama.embed([ids.slice(6)]);
    using middle = unsqueeze(picture, 0);
    using input = concat([start, middle, end], 1);
    assert.is(input.shape[1], ids.length + 575);
    using output = encoders.llama.hiddenState(input);
    const rows = await numbers(output);
    const row = (i: number) => [...rows.subarray(i * tinyLlama.hiddenSize, (i + 1) * tinyLlama.hiddenSize)];
    for (const interleave of [1, 2, 4, 5]) {
      using got = await encoders.encodePrompt(cat, { kind: "imageToVideo", image: { states: picture, interleave } });
      const pictureRows = Array.from({ length: Math.ceil(576 / interleave) }, (_, i) => row(5 + i * interleave));
      const textRows = Array.from({ length: prompted }, (_, i) => row(103 + 575 + i));
      const want = [...pictureRows, ...textRows, row(ids.length + 575 - 1)].flat();
      assert.is(got.length, Math.ceil(576 / interleave) + prompted + 1);
      near(await numbers(got.text), want);
    }
    // Cut off, nothing of the template's end is there; four tokens go all the same.
    const image = { states: picture, interleave: 4 };
    using long = await encoders.encodePrompt("cat ".repeat(400), { kind: "imageToVideo", image });
    assert.is(long.length, 144 + 256 - 4);

    const refused = await rejection(encoders.encodePrompt(cat, { kind: "imageToVideo" }));
    assert.is(refused.code, "INVALID_ARGUMENT");
    using few = slice(picture, 0, 0, 100);
    const short = await rejection(encoders.encodePrompt(cat, { kind: "imageToVideo", image: { states: few } }));
    assert.match(short.message, "expected [576, 56]");
  }
  assert.equal(await bytesLeft(), before, "memory comes back");
});

test("embeddings are saved and used again", async () => {
  const file = join(folder, "cat.safetensors");
  using made = await encoders.encodePrompt(cat, { kind: "image" });
  await saveEmbeddings(file, made);
  {
    using read = await loadEmbeddings(file, device);
    assert.equal(await numbers(read.text), await numbers(made.text));
    assert.equal(await numbers(read.pooled), await numbers(made.pooled));
    assert.equal(read.notes, made.notes);
    using narrow = await loadEmbeddings(file, device, { dtype: "bf16" });
    using cast = made.to("bf16");
    assert.equal([narrow.text.dtype, narrow.pooled.dtype], ["bf16", "bf16"]);
    assert.equal(await numbers(narrow.text), await numbers(cast.text));
  }
  const other = join(folder, "text_encoder_2", "model.safetensors");
  assert.is((await rejection(loadEmbeddings(other, device))).code, "CHECKPOINT_INVALID");
  assert.is((await rejection(loadEmbeddings(join(folder, "none.safetensors"), device))).code, "FILE_ERROR");
});

test("aborting leaves nothing behind, and the next prompt works", async () => {
  const before = await bytesLeft();
  const controller = new AbortController();
  const pending = encoders.encodePrompts(
    Array.from({ length: 8 }, () => cat.repeat(6)),
    { signal: controller.signal },
  );
  controller.abort();
  assert.is((await rejection(pending)).code, "ABORTED");
  assert.equal(await bytesLeft(), before);
  assert.is((await rejection(encoders.encodePrompt(cat, { signal: controller.signal }))).code, "ABORTED");
  assert.equal(await bytesLeft(), before);
  using again = await encoders.encodePrompt(cat);
  assert.ok(again.length > 1);
});

test("wrong arguments are refused", async () => {
  // @ts-expect-error not a kind
  assert.is((await rejection(encoders.encodePrompt(cat, { kind: "poem" }))).code, "INVALID_ARGUMENT");
  // @ts-expect-error not a string
  assert.is((await rejection(encoders.encodePrompt(7))).code, "INVALID_ARGUMENT");
});

test("parameters that are streamed layer by layer give the same", async () => {
  const before = await bytesLeft();
  const layerOf = ({ name }: ParameterSpec) => /^(text_model\.encoder\.)?layers\.\d+/.exec(name)?.[0];
  {
    using streamed = await TextEncoders.load(paths, device, { dtype: "f32" }, (on, checkpoint, detected, options) => {
      const { specs, naming, keep } = detected;
      return streamParams(on, checkpoint, specs, naming, { ...options, keep, groupOf: layerOf });
    });
    using got = await streamed.encodePrompt(cat);
    using want = await encoders.encodePrompt(cat);
    assert.equal(await numbers(got.text), await numbers(want.text));
    assert.equal(await numbers(got.pooled), await numbers(want.pooled));
  }
  assert.equal(await bytesLeft(), before, "memory comes back");
});

test("loading leaves nothing behind when a part is missing, and everything goes with dispose", async () => {
  const before = await bytesLeft();
  const missing = { ...paths, llm: paths.clip };
  const error = await rejection(TextEncoders.load(missing, device));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, "expected a Llama");
  assert.equal(await bytesLeft(), before);
  writeFileSync(join(folder, "empty.json"), "{}");
  const broken = { ...paths, clipTokenizer: join(folder, "empty.json") };
  assert.is((await rejection(TextEncoders.load(broken, device))).code, "CHECKPOINT_INVALID");
  const second = await TextEncoders.load(paths, device, { dtype: "bf16" });
  assert.is(second.llama.params.get("embed_tokens.weight").dtype, "bf16");
  second.dispose();
  assert.equal(await bytesLeft(), before);
  encoders.dispose();
  assert.equal(await bytesLeft(), [0, 0]);
});

runner.run();
