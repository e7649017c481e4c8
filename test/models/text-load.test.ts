/** Text encoders under the names of several publishers, in f8e4m3, with and without config.json; and what they cost. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { clipSpec } from "../../lib/models/text/clip.js";
import { type ClipConfig, clipConfigOfHf, clipLarge, hfClipConfig } from "../../lib/models/text/clip-config.js";
import { estimateClip, estimateLlama } from "../../lib/models/text/estimate.js";
import { Llama, llamaSpec } from "../../lib/models/text/llama.js";
import { hfLlamaConfig, type LlamaConfig, llamaConfigOfHf, llavaLlama3 } from "../../lib/models/text/llama-config.js";
import { detectClip, detectLlama, loadClip, loadLlama } from "../../lib/models/text/load.js";
import { paramsFromTensors } from "../../lib/nn/load.js";
import { cast, isHunyuanError, mul, openDevice, type Tensor, tensor } from "../../lib/tensor.js";
import { type FileTensor, writeSafetensors } from "../support/checkpoint-files.js";
import { checkpointOf, f32Bytes } from "../support/dit-files.js";
import { refusal, rejection } from "../support/refusal.js";
import { textValues, tinyClip, tinyLlama } from "../support/tiny-text.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-text-"));
const device = openDevice("cpu");
const runner = suite("text: checkpoints");
runner.after(async () => {
  rmSync(folder, { recursive: true });
  await device.dispose();
});
/** uvu cannot show an error whose details are an object. */
const test = (name: string, run: () => void | Promise<void>) =>
  runner(name, async () => {
    try {
      await run();
    } catch (error) {
      throw isHunyuanError(error) ? new Error(`${error.code}: ${error.message}`) : error;
    }
  });

/** Heads of 128 and 64: what files without a config.json must have. */
const plainLlama: LlamaConfig = { ...tinyLlama, numHeads: 2, numKvHeads: 1, headDim: 128 };
const plainClip: ClipConfig = { ...tinyClip, hiddenSize: 64, numHeads: 1 };
const llamaIds = [[309, 1, 2, 3, 70, 200, 313]];
const clipIds = [[521, 5, 6, 300, 522, 522]];

function llamaFile(config: LlamaConfig, prefix: string): FileTensor[] {
  const specs = llamaSpec(config);
  const values = textValues(specs, 1);
  const model = specs.map(({ name, shape }) => ({
    name: prefix + name,
    dtype: "f32" as const,
    shape,
    data: f32Bytes(values.get(name) as Float32Array),
  }));
  return [...model, { name: "lm_head.weight", dtype: "f32", shape: [2, 2] }];
}

function clipFile(config: ClipConfig, prefix: string): FileTensor[] {
  const specs = clipSpec(config);
  const values = textValues(specs, 2);
  const model = specs.map(({ name, shape }) => ({
    name: prefix + name.slice("text_model.".length),
    dtype: "f32" as const,
    shape,
    data: f32Bytes(values.get(name) as Float32Array),
  }));
  return [...model, { name: `${prefix}embeddings.position_ids`, dtype: "i64", shape: [1, 77] }];
}

let files = 0;
function write(tensors: readonly FileTensor[], config?: unknown): string {
  const own = join(folder, `${++files}`);
  mkdirSync(own);
  writeSafetensors(join(own, "model.safetensors"), tensors);
  if (config !== undefined) writeFileSync(join(own, "config.json"), JSON.stringify(config));
  return join(own, "model.safetensors");
}

const numbers = async (x: Tensor) => [...Float32Array.from(await x.read(), Number)];

async function llamaOutput(path: string): Promise<number[]> {
  using llama = await loadLlama(path, device, { dtype: "f32" });
  assert.not([...llama.params.names()].includes("layers.2.mlp.up_proj.weight"), "layers that are not computed");
  using state = llama.hiddenState(llamaIds);
  return numbers(state);
}

async function clipOutput(path: string): Promise<number[]> {
  using clip = await loadClip(path, device, { dtype: "f32" });
  using pooled = clip.pooled(clipIds);
  return numbers(pooled);
}

test("Llama under every publisher's names, with a config.json and by shapes alone", async () => {
  const config = { ...hfLlamaConfig(plainLlama), num_hidden_layers: 4 };
  const want = await llamaOutput(write(llamaFile(plainLlama, ""), config));
  assert.is(want.length, 7 * plainLlama.hiddenSize);
  for (const prefix of ["", "model.", "language_model.model.", "model.language_model."]) {
    assert.equal(await llamaOutput(write(llamaFile(plainLlama, prefix))), want, prefix);
    const llava = { model_type: "llava", text_config: config, vision_config: { hidden_size: 1 } };
    assert.equal(await llamaOutput(write(llamaFile(plainLlama, prefix), llava)), want, `${prefix} with config`);
  }
  // The config.json of the model next door.
  const other = { model_type: "clip", text_config: { hidden_size: 1 } };
  assert.equal(await llamaOutput(write(llamaFile(plainLlama, "model."), other)), want);
});

test("CLIP under every publisher's names, with a config.json and by shapes alone", async () => {
  const want = await clipOutput(write(clipFile(plainClip, "text_model."), hfClipConfig(plainClip)));
  assert.is(want.length, plainClip.hiddenSize);
  for (const prefix of ["text_model.", "transformer.text_model.", "text_encoders.clip_l.transformer.text_model."]) {
    assert.equal(await clipOutput(write(clipFile(plainClip, prefix))), want, prefix);
  }
  const whole = { model_type: "clip", text_config: hfClipConfig(plainClip), vision_config: { hidden_size: 1 } };
  assert.equal(await clipOutput(write(clipFile(plainClip, "text_model."), whole)), want);
});

test("weights in f8e4m3 stay so, with the scale under either name or none", async () => {
  const specs = llamaSpec(plainLlama, { numLayers: 2 });
  const values = textValues(specs, 1);
  for (const scaleName of ["scale_weight", "weight_scale", undefined]) {
    const scale = scaleName === undefined ? 1 : 0.375;
    const dequantised = new Map<string, Tensor>();
    const stored: FileTensor[] = [{ name: "scaled_fp8", dtype: "f8e4m3", shape: [2] }];
    for (const { name, shape } of specs) {
      const data = values.get(name) as Float32Array;
      const exact = tensor(data, { shape, dtype: "f32", device });
      if (shape.length !== 2 || name.startsWith("embed")) {
        stored.push({ name: `model.${name}`, dtype: "f32", shape, data: f32Bytes(data) });
        dequantised.set(name, exact);
        continue;
      }
      using narrow = cast(exact, "f8e4m3");
      using wide = cast(narrow, "f32");
      stored.push({ name: `model.${name}`, dtype: "f8e4m3", shape, data: f8Bytes(await numbers(wide)) });
      if (scaleName !== undefined) {
        const key = `model.${name.slice(0, -"weight".length)}${scaleName}`;
        stored.push({ name: key, dtype: "f32", shape: [], data: f32Bytes(Float32Array.of(scale)) });
      }
      dequantised.set(name, mul(wide, scale));
      exact.dispose();
    }
    const config = { ...hfLlamaConfig(plainLlama), num_hidden_layers: 4 };
    using llama = await loadLlama(write(stored, config), device, { dtype: "f32" });
    assert.is(llama.params.get("layers.1.mlp.up_proj.weight").dtype, "f8e4m3");
    assert.is(llama.params.get("layers.1.input_layernorm.weight").dtype, "f32");
    using got = llama.hiddenState(llamaIds);
    using reference = new Llama(plainLlama, paramsFromTensors(specs, dequantised));
    using want = reference.hiddenState(llamaIds);
    const [a, b] = [await numbers(got), await numbers(want)];
    const largest = Math.max(...b.map(Math.abs));
    assert.ok(largest > 0.1);
    assert.ok(Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? 0)))) < 1e-5 * largest);
    for (const weight of dequantised.values()) weight.dispose();
  }
});

/** Bytes of values that f8e4m3 holds exactly. */
function f8Bytes(exact: readonly number[]): Uint8Array {
  const magnitudes = Array.from({ length: 127 }, (_, byte) => {
    const [exponent, mantissa] = [byte >> 3, byte & 7];
    return exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  });
  const byteOf = new Map(magnitudes.map((value, byte) => [value, byte]));
  return Uint8Array.from(exact, (value) => {
    const byte = byteOf.get(Math.abs(value));
    if (byte === undefined) throw new Error(`${value} is no f8e4m3`);
    return byte + (value < 0 ? 128 : 0);
  });
}

test("what is no text encoder, or not this one, is refused", async () => {
  const clip = checkpointOf(clipFile(plainClip, "text_model."));
  const llama = checkpointOf(llamaFile(plainLlama, "model."));
  for (const error of [refusal(() => detectLlama(clip)), refusal(() => detectClip(llama))]) {
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, "/nowhere/model.safetensors: holds no ");
  }
  // A config.json of other sizes than the tensors.
  const wider = { ...hfLlamaConfig(plainLlama), hidden_size: 64 };
  const misfit = await rejection(loadLlama(write(llamaFile(plainLlama, ""), wider), device));
  assert.is(misfit.code, "CHECKPOINT_INVALID");
  const without = llamaFile(plainLlama, "").filter(({ name }) => name !== "layers.1.mlp.up_proj.weight");
  const missing = await rejection(loadLlama(write(without), device));
  assert.match(missing.message, "layers.1.mlp.up_proj.weight");
  const scaled = [
    ...llamaFile(plainLlama, "model."),
    { name: "model.embed_tokens.scale_weight", dtype: "f32", shape: [] } as const,
  ];
  assert.is(refusal(() => detectLlama(checkpointOf(scaled))).code, "MODEL_UNSUPPORTED");
  // Heads of 14 cannot be guessed.
  assert.is(refusal(() => detectLlama(checkpointOf(llamaFile(tinyLlama, "")))).code, "MODEL_UNSUPPORTED");
});

test("ids outside of the vocabulary, rows of several lengths and too many tokens are refused", async () => {
  using llama = await loadLlama(write(llamaFile(plainLlama, "")), device, { dtype: "f32" });
  using clip = await loadClip(write(clipFile(plainClip, "text_model.")), device, { dtype: "f32" });
  for (const ids of [[[320]], [[-1]], [[1.5]], [[1, 2], [3]], [[]], []]) {
    assert.is(refusal(() => llama.hiddenState(ids)).code, "INVALID_ARGUMENT", JSON.stringify(ids));
  }
  for (const ids of [[[523]], [[1, 2], [3]], []]) assert.is(refusal(() => clip.pooled(ids)).code, "INVALID_ARGUMENT");
  assert.match(refusal(() => clip.pooled([Array.from({ length: 78 }, () => 1)])).message, "78 tokens, at most 77");
  assert.is(refusal(() => llama.hiddenState(llamaIds, { skip: 5 })).code, "INVALID_ARGUMENT");
  using wrong = tensor(new Float32Array(10), { shape: [1, 2, 5], device });
  assert.is(refusal(() => llama.hiddenState(wrong)).code, "INVALID_ARGUMENT");
});

test("config.json: what is left out has Hugging Face's defaults, and what cannot be run is refused", () => {
  // As published with llava-llama-3-8b-v1_1-transformers.
  const published = {
    model_type: "llava",
    text_config: {
      model_type: "llama",
      intermediate_size: 14336,
      max_position_embeddings: 8192,
      num_key_value_heads: 8,
      rms_norm_eps: 1e-5,
      rope_theta: 500000.0,
      vocab_size: 128320,
    },
  };
  assert.equal(llamaConfigOfHf(published), llavaLlama3);
  const inner = published.text_config;
  assert.equal(llamaConfigOfHf({ ...inner, rope_theta: undefined, rope_parameters: { rope_theta: 5e5 } }), llavaLlama3);
  const refused: readonly unknown[] = [
    { ...inner, rope_scaling: { rope_type: "llama3", factor: 8 } },
    { ...inner, rope_scaling: { type: "linear", factor: 2 } },
    { ...inner, hidden_act: "gelu" },
    { ...inner, attention_bias: true },
    { ...inner, num_key_value_heads: 7 },
    { ...inner, head_dim: 127 },
  ];
  for (const json of refused) assert.is(refusal(() => llamaConfigOfHf(json)).code, "MODEL_UNSUPPORTED");
  for (const json of [null, "x", { hidden_size: -1 }, { num_hidden_layers: "many" }]) {
    assert.is(refusal(() => llamaConfigOfHf(json)).code, "CHECKPOINT_INVALID");
    assert.is(refusal(() => clipConfigOfHf(json)).code, "CHECKPOINT_INVALID");
  }
  assert.match(
    refusal(() => llamaConfigOfHf({ hidden_size: -1 }, "a/config.json")).message,
    "a/config.json: hidden_size",
  );

  const large = { ...hfClipConfig(clipLarge), eos_token_id: 2 };
  assert.equal(clipConfigOfHf(large), clipLarge);
  assert.is(refusal(() => clipConfigOfHf({ ...large, hidden_act: "relu" })).code, "MODEL_UNSUPPORTED");
  assert.is(refusal(() => clipConfigOfHf({ ...large, num_attention_heads: 5 })).code, "MODEL_UNSUPPORTED");
});

test("cost at the real sizes", () => {
  const options = { dtype: "bf16", tokens: 351 } as const;
  // Llama-3 8B is 8.03 billion parameters with its head, which has a row for each token.
  const whole = estimateLlama({ ...llavaLlama3, vocabSize: 128256 }, { ...options, skip: 0 });
  assert.is(whole.parameters + 128256 * 4096, 8_030_261_248);
  const used = estimateLlama(llavaLlama3, options);
  assert.is(used.parameters, 7_068_958_720);
  assert.is(used.parameterBytes, 2 * used.parameters);
  const table = 128320 * 4096;
  const norms = 60 * 4096;
  const narrow = estimateLlama(llavaLlama3, { ...options, weightBytes: 1 });
  assert.is(narrow.parameterBytes, used.parameters + table + norms);
  // Two for each weight and token, and attention.
  const matrices = 2 * 351 * (used.parameters - table - norms);
  assert.is(used.flops, matrices + 30 * 2 * 351 * 351 * 4096);
  assert.is(estimateClip(clipLarge, { dtype: "f16", tokens: 77 }).parameters, 123_060_480);
});

runner.run();
