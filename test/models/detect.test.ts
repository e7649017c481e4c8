/** Which transformer a checkpoint holds: layouts, prefixes, variants, and what is said of everything else. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { detectDit, examineDit } from "../../lib/models/dit/detect.js";
import { ditMetadataKey } from "../../lib/models/dit/hints.js";
import { ditLayouts } from "../../lib/models/dit/naming.js";
import type { FileTensor } from "../support/checkpoint-files.js";
import { checkpointOf, ditTensors, tinyDit } from "../support/dit-files.js";
import { refusal } from "../support/refusal.js";

const plain = (config: DitConfig): unknown => JSON.parse(JSON.stringify(config));

for (const [name, preset] of Object.entries(ditPresets)) {
  const config: DitConfig = preset;
  for (const layout of ditLayouts) {
    test(`${name} in ${layout} naming`, () => {
      const found = detectDit(checkpointOf(ditTensors(config, layout)), { i2v: config.i2v });
      assert.is(found.layout, layout);
      assert.is(found.dtype, "bf16");
      assert.is(found.fp8, "none");
      assert.equal(plain(found.config), plain(config));
    });
  }
}

const prefixes = ["module.", "model.diffusion_model.", "diffusion_model.", "transformer.", "model.model."];

for (const prefix of prefixes) {
  test(`keys after ${prefix}`, () => {
    for (const layout of ditLayouts) {
      const tensors = ditTensors(ditPresets.t2v, layout, { prefix });
      const found = detectDit(checkpointOf([...tensors, { name: "vae.decoder.x", dtype: "bf16", shape: [2] }]));
      assert.is(found.layout, layout);
      assert.is(found.prefix, prefix);
    }
  });
}

test("ComfyUI's older norm keys", () => {
  const found = detectDit(checkpointOf(ditTensors(ditPresets.t2v, "comfyui", { normSuffix: "scale" })));
  const spec = found.specs.find((one) => one.name === "double_blocks.3.txt_attn_k_norm.weight");
  assert.is(spec && found.naming(spec)[0]?.key, "double_blocks.3.txt_attn.norm.key_norm.scale");
});

test("averaged weights beside the model's own are left alone", () => {
  const own = ditTensors(ditPresets.t2v, "tencent", { prefix: "module." });
  const averaged = ditTensors(ditPresets.t2v, "tencent", { prefix: "ema." });
  assert.is(detectDit(checkpointOf([...averaged, ...own])).prefix, "module.");
});

test("sizes come from the shapes, odd MLPs too", () => {
  for (const layout of ditLayouts) {
    for (const mlpRatio of [2.5, 2.515625, 3.3, 1 / 3]) {
      const config = { ...tinyDit, mlpRatio };
      const checkpoint = checkpointOf(ditTensors(config, layout));
      const found = detectDit(checkpoint, { ropeAxes: [8, 12, 12] });
      assert.is(Math.trunc(found.config.mlpRatio * 64), Math.trunc(mlpRatio * 64));
      assert.equal({ ...found.config, mlpRatio, i2v: undefined }, { ...config, i2v: undefined });
    }
  }
});

test("a model without blocks of one kind", () => {
  for (const counts of [{ numDoubleBlocks: 0 }, { numSingleBlocks: 0 }]) {
    const config = { ...ditPresets.t2v, ...counts };
    assert.equal(plain(detectDit(checkpointOf(ditTensors(config, "tencent"))).config), plain(config));
  }
});

test("how a head divides is asked for, or taken from config.json or metadata", () => {
  const checkpoint = checkpointOf(ditTensors(tinyDit, "diffusers"));
  assert.match(refusal(() => detectDit(checkpoint)).message, /heads are 32 wide.*ropeAxes/);
  const configJson = { rope_axes_dim: [8, 12, 12], rope_theta: 10, image_condition_type: "token_replace" };
  const { config } = detectDit(checkpoint, { configJson });
  assert.equal(config.ropeAxes, [8, 12, 12]);
  assert.is(config.ropeTheta, 10);
  assert.is(config.i2v, "token_replace");
  const metadata = new Map([[ditMetadataKey, JSON.stringify({ ...tinyDit, i2v: "token_replace" })]]);
  const saved = detectDit({ ...checkpoint, metadata });
  assert.equal(plain(saved.config), plain({ ...tinyDit, i2v: "token_replace" }));
  assert.throws(() => detectDit({ ...checkpoint, metadata: new Map([[ditMetadataKey, "{"]]) }), /ropeAxes/);
});

test("token replace is told by option, config.json or name", () => {
  const i2vOf = (source: string, options = {}) =>
    detectDit(checkpointOf(ditTensors(ditPresets.t2v, "tencent"), { source }), options).config.i2v;
  assert.is(i2vOf("/m/hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt"), undefined);
  assert.is(i2vOf("/m/hunyuan-video-i2v-720p/transformers/mp_rank_00_model_states.pt"), "token_replace");
  assert.is(i2vOf("/m/hunyuan_video_v2_replace_image_to_video_720p_bf16.safetensors"), "token_replace");
  assert.is(i2vOf("/m/x.safetensors", { i2v: "token_replace" }), "token_replace");
  assert.is(i2vOf("/m/i2v.safetensors", { i2v: "none" }), undefined);
  assert.is(i2vOf("/m/i2v.safetensors", { configJson: { image_condition_type: null } }), undefined);
  assert.is(refusal(() => i2vOf("/m/x", { i2v: "latent_concat" })).code, "CHECKPOINT_INVALID");
});

const complete = () => ditTensors(ditPresets.t2v, "tencent");

test("missing keys are all named", () => {
  const gone = (name: string) => name.startsWith("single_blocks.7.") || name === "time_in.mlp.2.bias";
  const error = refusal(() => detectDit(checkpointOf(complete().filter(({ name }) => !gone(name)))));
  assert.is(error.code, "CHECKPOINT_INVALID");
  const expected = complete().filter(({ name }) => gone(name));
  assert.equal(
    "keys" in error.details && error.details.keys,
    expected.map(({ name }) => name),
  );
  assert.match(error.message, /model\.safetensors.*lacks time_in\.mlp\.2\.bias/);
});

test("a key that tells the sizes is named when it is missing or misshapen", () => {
  const without = complete().filter(({ name }) => name !== "img_in.proj.weight");
  assert.match(refusal(() => detectDit(checkpointOf(without))).message, /img_in\.proj\.weight.*missing/);
  const flat = complete().map((t): FileTensor => (t.name === "img_in.proj.weight" ? { ...t, shape: [3072, 64] } : t));
  assert.match(refusal(() => detectDit(checkpointOf(flat))).message, /5 axes, but it is \[3072, 64\]/);
});

test("swapped keys are told by their shapes", () => {
  const swapped = new Map([
    ["double_blocks.4.img_mlp.fc1.weight", "double_blocks.4.img_mlp.fc2.weight"],
    ["double_blocks.4.img_mlp.fc2.weight", "double_blocks.4.img_mlp.fc1.weight"],
  ]);
  const error = refusal(() =>
    detectDit(checkpointOf(complete().map((t) => ({ ...t, name: swapped.get(t.name) ?? t.name })))),
  );
  assert.match(error.message, /fc1\.weight \[12288, 3072\], but that is \[3072, 12288\], and 1 more/);
  assert.equal("keys" in error.details && error.details.keys, [...swapped.keys()]);
});

test("keys without a meaning are refused, or reported", () => {
  const checkpoint = checkpointOf([...complete(), { name: "audio_in.weight", dtype: "bf16", shape: [3] }]);
  assert.match(refusal(() => detectDit(checkpoint)).message, /unknown meaning: audio_in\.weight/);
  assert.equal(examineDit(checkpoint).report, { missing: [], misshapen: [], unexpected: ["audio_in.weight"] });
});

test("an absurd number of blocks is not believed", () => {
  const far = { name: "double_blocks.999999999.img_mod.linear.bias", dtype: "bf16", shape: [18432] } as const;
  assert.match(refusal(() => detectDit(checkpointOf([...complete(), far]))).message, /not believed/);
});

test("later models of the family are named, not run", () => {
  const variants: [string, RegExp][] = [
    ["byt5_in.layernorm.weight", /HunyuanVideo 1\.5/],
    ["context_embedder_2.layernorm.weight", /HunyuanVideo 1\.5/],
    ["clean_x_embedder.proj.weight", /FramePack/],
  ];
  for (const [name, what] of variants) {
    const layout = name.startsWith("byt5") ? "tencent" : "diffusers";
    const tensors = [...ditTensors(ditPresets.t2v, layout), { name, dtype: "bf16", shape: [3] } as const];
    const error = refusal(() => detectDit(checkpointOf(tensors)));
    assert.is(error.code, "MODEL_UNSUPPORTED");
    assert.match(error.message, what);
  }
  const skyReels = ditTensors({ ...ditPresets.t2v, inChannels: 32 }, "tencent");
  assert.match(refusal(() => detectDit(checkpointOf(skyReels))).message, /SkyReels/);
});

const strangers: [key: string, more: string | undefined, what: RegExp][] = [
  ["encoder.down_blocks.0.resnets.0.conv1.conv.weight", undefined, /HunyuanVideo autoencoder/],
  ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight", /Llama/],
  ["text_model.encoder.layers.0.self_attn.q_proj.weight", undefined, /CLIP text/],
  ["encoder.block.0.layer.0.SelfAttention.q.weight", undefined, /T5/],
  ["blocks.0.cross_attn.k.weight", undefined, /Wan/],
  ["double_blocks.0.img_attn.qkv.weight", undefined, /Flux/],
  ["single_transformer_blocks.0.attn.to_q.weight", undefined, /Flux/],
  ["joint_blocks.0.x_block.attn.qkv.weight", undefined, /Stable Diffusion 3/],
  ["model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", undefined, /similar|U-Net/],
  ["diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight", undefined, /LoRA/],
  ["something.else", undefined, /no model known here \(something\.else\)/],
];

for (const [key, more, what] of strangers) {
  test(`${key} is no transformer of ours`, () => {
    const keys = more === undefined ? [key] : [key, more];
    const error = refusal(() => detectDit(checkpointOf(keys.map((name) => ({ name, dtype: "f32", shape: [1] })))));
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, what);
  });
}

test("a file without tensors", () => {
  assert.match(refusal(() => detectDit(checkpointOf([]))).message, /no tensors/);
});

test.run();
