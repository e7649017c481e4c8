/**
 * Tokenizers and templates. The ids in fixtures/tokenizers/expected.json are those of Hugging Face's own library, on a
 * vocabulary in which each word of the templates is one token, as in the released one.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkTemplate } from "../../lib/models/text/prompt-states.js";
import {
  applyTemplate,
  defaultNegativePrompt,
  type PromptKind,
  promptTemplates,
} from "../../lib/models/text/templates.js";
import { TextTokenizer } from "../../lib/models/text/tokenizer.js";
import { refusal, rejection } from "../support/refusal.js";
import { tokenizerFixtures } from "../support/tiny-text.js";

interface Ids {
  readonly text: string;
  readonly ids: readonly number[];
}
interface Truncated extends Ids {
  readonly max_length: number;
}
const expected: {
  readonly llama: readonly Ids[];
  readonly clip: readonly Ids[];
  readonly llama_truncated: Truncated;
  readonly clip_truncated: Truncated;
  readonly templates: { readonly [K in PromptKind]: { readonly head: number; readonly ids: readonly number[] } };
} = JSON.parse(readFileSync(join(tokenizerFixtures, "expected.json"), "utf8"));

const prompt = "A cat walks on the grass, realistic style.";
const folder = mkdtempSync(join(tmpdir(), "hunyuan-tokenizer-"));
const test = suite("text: tokenizers and templates");
test.after(() => rmSync(folder, { recursive: true }));

for (const name of ["llama", "clip"] as const) {
  test(`${name}: ids`, async () => {
    const tokenizer = await TextTokenizer.load(join(tokenizerFixtures, name));
    for (const { text, ids } of expected[name]) {
      assert.equal(tokenizer.encode(text, { maxLength: 1000 }), {
        ids,
        length: ids.length,
        tokens: ids.length,
        truncated: false,
      });
    }
  });

  test(`${name}: what is too long loses its end, but no special token`, async () => {
    const tokenizer = await TextTokenizer.load(join(tokenizerFixtures, name));
    const { text, ids, max_length: maxLength } = expected[`${name}_truncated`];
    const got = tokenizer.encode(text, { maxLength });
    assert.equal(got.ids, ids);
    assert.equal([got.length, got.truncated], [maxLength, true]);
    assert.ok(got.tokens > maxLength);
  });

  test(`${name}: padding stands on the right`, async () => {
    const tokenizer = await TextTokenizer.load(join(tokenizerFixtures, name));
    const plain = tokenizer.encode("a cat", { maxLength: 77 });
    const full = tokenizer.encode("a cat", { maxLength: 77, pad: true });
    assert.is(full.ids.length, 77);
    assert.is(full.length, plain.length);
    assert.equal(full.ids.slice(0, plain.length), plain.ids);
    assert.ok(full.ids.slice(plain.length).every((id) => id === tokenizer.padId));
    assert.is(tokenizer.padId, tokenizer.idOf(name === "llama" ? "<pad>" : "<|endoftext|>"));
  });
}

test("a limit below the special tokens is refused", async () => {
  const tokenizer = await TextTokenizer.load(join(tokenizerFixtures, "clip"));
  assert.is(refusal(() => tokenizer.encode("a cat", { maxLength: 2 })).code, "INVALID_ARGUMENT");
  assert.is(refusal(() => tokenizer.encode("a cat", { maxLength: 0 })).code, "INVALID_ARGUMENT");
});

test("templates are the trained ones, byte for byte", () => {
  const { hunyuan } = JSON.parse(readFileSync(join(tokenizerFixtures, "..", "llama_small.json"), "utf8"));
  const { templates, max_length_video: maxLength, negative_prompt: negative } = hunyuan;
  for (const [kind, key] of [
    ["video", "dit-llm-encode-video"],
    ["image", "dit-llm-encode"],
  ] as const) {
    assert.is(applyTemplate("{}", promptTemplates[kind]), templates[key].template);
    assert.is(promptTemplates[kind].cropStart, templates[key].crop_start);
    assert.is(promptTemplates[kind].maxLength, maxLength);
  }
  assert.is(defaultNegativePrompt, negative);
  assert.is(promptTemplates.image.maxLength - promptTemplates.image.cropStart, 315);
});

for (const kind of ["video", "image", "imageToVideo"] as const) {
  test(`template ${kind}: ids, and its head is what is cut`, async () => {
    const tokenizer = await TextTokenizer.load(join(tokenizerFixtures, "llama"));
    const template = promptTemplates[kind];
    const { ids, head } = expected.templates[kind];
    assert.equal(tokenizer.encode(applyTemplate(prompt, template), template).ids, ids);
    assert.is(head, template.cropStart);
    checkTemplate(tokenizer, kind, template);
    // No pattern of String.replace in a prompt means anything.
    assert.ok(applyTemplate("$& {} $'", template).includes("$& {} $'"));
  });
}

test("a tokenizer without begin-of-text is refused", async () => {
  const json = JSON.parse(readFileSync(join(tokenizerFixtures, "llama", "tokenizer.json"), "utf8"));
  const tokenizer = new TextTokenizer({ ...json, post_processor: null }, {}, "there/tokenizer.json");
  const error = refusal(() => checkTemplate(tokenizer, "video", promptTemplates.video));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, "there/tokenizer.json: makes 94 tokens");
  const added = json.added_tokens.filter(({ content }: { content: string }) => content !== "<image>");
  const blind = new TextTokenizer({ ...json, added_tokens: added });
  assert.is(
    refusal(() => checkTemplate(blind, "imageToVideo", promptTemplates.imageToVideo)).code,
    "CHECKPOINT_INVALID",
  );
});

test("missing and broken files say what is wrong", async () => {
  const missing = await rejection(TextTokenizer.load(folder));
  assert.is(missing.code, "FILE_ERROR");
  assert.match(missing.message, "no tokenizer.json here");
  assert.is((await rejection(TextTokenizer.load(join(folder, "nothing")))).code, "FILE_ERROR");
  for (const text of ["{", "[]", "{}", '{"model":{"type":"Unheard"}}', '{"model":{"type":"BPE"}}']) {
    writeFileSync(join(folder, "tokenizer.json"), text);
    const broken = await rejection(TextTokenizer.load(folder));
    assert.is(broken.code, "CHECKPOINT_INVALID", text);
    assert.match(broken.message, "tokenizer.json");
  }
  const own = join(folder, "vocabulary");
  mkdirSync(own);
  copyFileSync(join(tokenizerFixtures, "clip", "vocab.json"), join(own, "vocab.json"));
  assert.is((await rejection(TextTokenizer.load(own))).code, "FILE_ERROR", "merges.txt is missing");
  writeFileSync(join(own, "merges.txt"), "#version: 0.2\nc a t\n");
  assert.is((await rejection(TextTokenizer.load(own))).code, "CHECKPOINT_INVALID");
  writeFileSync(join(own, "vocab.json"), '{"a":0}');
  assert.match((await rejection(TextTokenizer.load(own))).message, "startoftext");
});

test("a special token without an id is refused", async () => {
  const json = JSON.parse(readFileSync(join(tokenizerFixtures, "llama", "tokenizer.json"), "utf8"));
  const added = json.added_tokens.filter(({ content }: { content: string }) => content !== "<|begin_of_text|>");
  const tokenizer = new TextTokenizer({ ...json, added_tokens: added });
  const error = refusal(() => tokenizer.encode("a cat", { maxLength: 10 }));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, 'does not cover "a cat" (token 1)');
});

test.run();
