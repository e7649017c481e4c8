/** A model to train from scratch: its tokenizers, what its weights begin as, and that it loads like a released one. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ditPresets } from "../../lib/models/dit/config.js";
import { checkTemplate } from "../../lib/models/text/prompt-states.js";
import { applyTemplate, promptTemplates } from "../../lib/models/text/templates.js";
import { TextTokenizer } from "../../lib/models/text/tokenizer.js";
import { wordsIn, wordTokenizer } from "../../lib/models/text/word-tokenizer.js";
import type { Params } from "../../lib/nn/params.js";
import { type InitialModelOptions, writeInitialModel } from "../../lib/pipelines/training/initial-model.js";
import { openDevice } from "../../lib/tensor.js";
import { captionOf } from "../../lib/train/demo/captions.js";
import { demoClip, demoDit, demoLlama, demoVae } from "../../lib/train/demo/model.js";
import { demoWords } from "../../lib/train/demo/words.js";
import { initialDit } from "../../lib/train/initial/dit.js";
import { initialLlama } from "../../lib/train/initial/text.js";
import { living } from "../support/dit-case.js";
import { loadTiny, smallRequest, temporaryFolder } from "../support/tiny-pipeline.js";

const test = suite("training: initial model");
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const words = demoWords();
const tokenizers = (["llama", "clip"] as const).map((kind) => {
  const { json, config, vocabSize } = wordTokenizer(kind, words);
  return { kind, vocabSize, tokenizer: new TextTokenizer(json, config) };
});
const [llama, clip] = tokenizers as [(typeof tokenizers)[number], (typeof tokenizers)[number]];
const idsOf = ({ tokenizer }: typeof llama, text: string) => tokenizer.encode(text, { maxLength: 500 }).ids;

const caption = captionOf({ colour: "red", shape: "circle", motion: "left", background: "black" });

test("tokenizers: a token a word, whatever its case and place; all ids are in the vocabulary", () => {
  for (const one of tokenizers) {
    const around = idsOf(one, "").length;
    assert.is(idsOf(one, caption).length, around + caption.split(" ").length);
    assert.equal(idsOf(one, "Red CIRCLE, red"), idsOf(one, " red  circle,red"));
    for (const word of words) assert.is(idsOf(one, word).length, around + 1, word);
    assert.is(new Set(words.map((word) => idsOf(one, word)[1])).size, words.length);
    const all = idsOf(one, `${words.join(" ")} 0123456789 ~ naïve 猫 🐈\n\n`);
    assert.ok(Math.max(...all) < one.vocabSize && Math.min(...all) >= 0);
  }
  assert.equal(wordsIn("A red, red Circle 2"), ["a", "red", ",", "circle", "2"]);
});

test("tokenizers: words that are not known are spelled, each another way", () => {
  for (const one of tokenizers) {
    const spelled = ["zebra", "zebras", "naïve", "猫", "🐈"].map((text) => idsOf(one, text).join());
    assert.is(new Set(spelled).size, spelled.length);
    assert.match(one.tokenizer.decode(idsOf(one, "a zebra")), /a zebra/);
  }
});

test("tokenizers: the templates' heads have the tokens that they are cut by", () => {
  for (const kind of ["video", "image", "imageToVideo"] as const) {
    const template = promptTemplates[kind];
    checkTemplate(llama.tokenizer, kind, template);
    assert.equal(
      idsOf(llama, applyTemplate(caption, template)).slice(0, template.cropStart),
      idsOf(llama, template.head),
    );
  }
  const ids = idsOf(clip, caption);
  assert.equal([ids[0], ids.at(-1)], [clip.vocabSize - 2, clip.vocabSize - 1]);
});

test("tokenizers: the same words give the same ids, further ones go to the end", () => {
  const hash = (list: readonly string[]) =>
    createHash("sha256")
      .update(JSON.stringify(wordTokenizer("llama", list)))
      .digest("hex");
  assert.is(hash(demoWords()), hash(words));
  assert.not.ok(words.includes("okapi"));
  const { json, config } = wordTokenizer("llama", [...words, "okapi"]);
  const longer = new TextTokenizer(json, config);
  assert.is(longer.idOf("Ġred"), llama.tokenizer.idOf("Ġred"));
});

/** Root mean square of a parameter. */
async function size(params: Params, name: string): Promise<number> {
  const values = Array.from(await params.get(name).read(), Number);
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
}

test("weights: modulations and the last layer are zero, norms one, matrices by their width", async () => {
  const before = living(device);
  const { params } = initialDit(
    { ...ditPresets.t2vUndistilled, ...demoDit, textDim: 128, pooledDim: 64 },
    { device, seed: 3 },
  );
  for (const name of [
    "double_blocks.0.img_mod.linear.weight",
    "single_blocks.5.modulation.linear.bias",
    "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.weight",
    "final_layer.linear.weight",
    "final_layer.adaLN_modulation.1.weight",
    "double_blocks.1.txt_attn_qkv.bias",
  ]) {
    assert.is(await size(params, name), 0, name);
  }
  assert.is(await size(params, "single_blocks.0.q_norm.weight"), 1);
  const near = (seen: number, expected: number) =>
    assert.ok(Math.abs(seen / expected - 1) < 0.05, `${seen}, ${expected}`);
  near(await size(params, "double_blocks.0.img_attn_qkv.weight"), Math.sqrt(2 / 256));
  near(await size(params, "single_blocks.0.linear2.weight"), Math.sqrt(2 / (640 + 128)));
  near(await size(params, "time_in.mlp.0.weight"), 0.02);
  params.dispose();
  const text = initialLlama({ ...demoLlama, vocabSize: 300 }, { device, seed: 3 });
  assert.ok([...text.params.names()].every((name) => !/^(norm|layers\.[23])\b/.test(name)));
  near(await size(text.params, "embed_tokens.weight"), 0.02);
  text.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

const small: InitialModelOptions = {
  dit: { ...demoDit, hiddenSize: 32, ropeAxes: [4, 6, 6], numDoubleBlocks: 1, numSingleBlocks: 1 },
  vae: { ...demoVae, blockChannels: [8, 8, 16, 16] },
  llama: { ...demoLlama, hiddenSize: 32, headDim: 16, mlpSize: 32 },
  clip: { ...demoClip, hiddenSize: 16, mlpSize: 32 },
  words,
  seed: 5,
};

test("a whole model: loads like a released one, makes a video, and comes out the same again", async () => {
  const [one, two] = [join(temporaryFolder(), "a"), join(temporaryFolder(), "b")];
  const files = await writeInitialModel(one, small);
  const hashes = (list: readonly string[]) =>
    list.map((file) => createHash("sha256").update(readFileSync(file)).digest("hex"));
  assert.equal(hashes(await writeInitialModel(two, small)), hashes(files));
  assert.not.equal(hashes(await writeInitialModel(two, { ...small, seed: 6 })), hashes(files));
  await using model = await loadTiny(one);
  const video = await model.generate({ ...smallRequest, prompt: caption, numInferenceSteps: 2 });
  assert.is(video.numFrames, smallRequest.numFrames);
});

test("refuses an autoencoder of other latents", async () => {
  const vae = { ...demoVae, latentChannels: 8 };
  try {
    await writeInitialModel(join(temporaryFolder(), "c"), { ...small, vae });
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), /8 latent channels, the transformer 16/);
  }
});

test.run();
