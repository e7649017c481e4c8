/** Whole models in three layouts, single checkpoints, and what is said of each. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ditPresets } from "../../lib/models/dit/config.js";
import { diffusersDitConfig } from "../../lib/models/dit/diffusers-config.js";
import { inspectCheckpoint, inspectModel, inspectPath } from "../../lib/models/inspect.js";
import { findModelParts, type ModelParts, type ModelPaths, requireParts } from "../../lib/models/model-folder.js";
import { clipSpec } from "../../lib/models/text/clip.js";
import { clipLarge } from "../../lib/models/text/clip-config.js";
import { llamaSpec } from "../../lib/models/text/llama.js";
import { llavaLlama3 } from "../../lib/models/text/llama-config.js";
import { vaePresets } from "../../lib/models/vae/config.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import { type ParameterSpec, releasedNaming } from "../../lib/nn/spec.js";
import { type FileTensor, writeSafetensors, writeTorchZip } from "../support/checkpoint-files.js";
import { ditTensors, tensorsIn, tinyDit } from "../support/dit-files.js";
import { loraPairs, loraTargets, loraTensors } from "../support/lora-files.js";
import { refusal, rejection } from "../support/refusal.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-inspect-"));
test.after(() => rmSync(folder, { recursive: true }));

const zeros = (specs: readonly ParameterSpec[]) => tensorsIn(releasedNaming, specs, { dtype: () => "bf16" });
/** Sparse files, so real widths cost nothing. */
const vae = zeros(vaeSpec(vaePresets["884-16c-hy"]));
const llama = zeros(llamaSpec({ ...llavaLlama3, numLayers: 4 }));
const clip = zeros(clipSpec(clipLarge));
const transformer = ditTensors(ditPresets.t2v, "tencent");

type Content = readonly FileTensor[] | object | string;

/** Files of a folder: lists are tensors, objects JSON, strings text. */
function folderOf(name: string, files: { readonly [path: string]: Content }): string {
  const root = join(folder, name);
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    if (typeof content === "string") writeFileSync(file, content);
    else if (!Array.isArray(content)) writeFileSync(file, JSON.stringify(content));
    else if (file.endsWith(".pt"))
      writeTorchZip(file, content, file.includes("transformers") ? "module" : "state_dict");
    else writeSafetensors(file, content);
  }
  return root;
}

const inside = (
  root: string,
  { transformer, vae, llama, clip, llamaTokenizer, clipTokenizer, scheduler }: ModelParts,
) =>
  Object.fromEntries(
    Object.entries({ transformer, vae, llama, clip, llamaTokenizer, clipTokenizer, scheduler }).map(([name, path]) => [
      name,
      path?.slice(root.length + 1),
    ]),
  );

const tencent = {
  "text_encoder/model.safetensors": llama,
  "text_encoder/config.json": {
    model_type: "llama",
    hidden_size: 4096,
    num_hidden_layers: 4,
    num_key_value_heads: 8,
    intermediate_size: 14336,
    vocab_size: 128320,
  },
  "text_encoder/tokenizer.json": {},
  "text_encoder_2/model.safetensors": clip,
  "text_encoder_2/vocab.json": {},
  "text_encoder_2/merges.txt": "",
};
const t2v = {
  "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt": transformer,
  "hunyuan-video-t2v-720p/vae/pytorch_model.pt": vae,
  "hunyuan-video-t2v-720p/vae/config.json": { _class_name: "AutoencoderKLCausal3D" },
};

test("Tencent's layout, from the top or from the model's own folder", async () => {
  const root = folderOf("tencent", { ...tencent, ...t2v });
  const expected: ModelPaths = {
    transformer: "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
    vae: "hunyuan-video-t2v-720p/vae",
    llama: "text_encoder",
    clip: "text_encoder_2",
    llamaTokenizer: "text_encoder",
    clipTokenizer: "text_encoder_2",
    scheduler: undefined,
  };
  for (const path of [root, join(root, "hunyuan-video-t2v-720p")]) {
    const parts = await findModelParts(path);
    assert.is(parts.layout, "tencent");
    assert.equal(inside(root, parts), expected);
  }
  const report = await inspectModel(root);
  assert.equal(report.problems, []);
  assert.equal(report.missing, []);
  assert.is(report.parts.transformer?.parameters, 12_821_012_544);
  assert.is(report.parts.vae?.what, "HunyuanVideo autoencoder");
  assert.is(report.parts.llama?.part, "llama");
  assert.match(report.parts.clip?.licence ?? "", /MIT/);
  assert.match(report.parts.transformer?.licence ?? "", /European Union.*United Kingdom.*South Korea/);
});

test("Tencent's image to video has its own language model; fp8 alone is found with its map", async () => {
  const root = folderOf("tencent-i2v", {
    "hunyuan-video-i2v-720p/transformers/mp_rank_00_model_states_fp8.pt": transformer,
    "hunyuan-video-i2v-720p/transformers/mp_rank_00_model_states_fp8_map.pt": [
      { name: "double_blocks.0.img_mod.linear", dtype: "f32", shape: [] },
    ],
    "text_encoder/tokenizer.json": {},
    "text_encoder_i2v/tokenizer.json": {},
  });
  const parts = await findModelParts(root);
  assert.is(parts.llama, join(root, "text_encoder_i2v"));
  assert.match(parts.transformer ?? "", /states_fp8\.pt$/);
  assert.match((await inspectCheckpoint(parts.transformer ?? "")).variant ?? "", /token replace/);
});

test("a folder of two models asks which", async () => {
  const root = folderOf("two", { ...t2v, "hunyuan-video-i2v-720p/transformers/x.txt": "" });
  assert.match((await rejection(findModelParts(root))).message, /i2v-720p, hunyuan-video-t2v-720p/);
});

const diffusers = {
  "model_index.json": {},
  "transformer/diffusion_pytorch_model.safetensors": ditTensors(tinyDit, "diffusers"),
  "transformer/config.json": diffusersDitConfig({ ...tinyDit, i2v: "token_replace" }),
  "vae/diffusion_pytorch_model.safetensors": vae,
  "text_encoder/model.safetensors": llama,
  "text_encoder_2/model.safetensors": clip,
  "tokenizer/tokenizer.json": {},
  "tokenizer_2/tokenizer.json": {},
  "scheduler/scheduler_config.json": {},
};

test("diffusers' layout", async () => {
  const root = folderOf("diffusers", diffusers);
  const parts = await findModelParts(root);
  assert.is(parts.layout, "diffusers");
  assert.equal(inside(root, parts), {
    transformer: "transformer",
    vae: "vae",
    llama: "text_encoder",
    clip: "text_encoder_2",
    llamaTokenizer: "tokenizer",
    clipTokenizer: "tokenizer_2",
    scheduler: "scheduler/scheduler_config.json",
  });
  const report = await inspectPath(root);
  if (!("parts" in report)) throw new Error("no model");
  assert.equal(report.problems, []);
  assert.is(report.parts.transformer?.variant, "image to video by token replace, guidance as an input");
  assert.is(report.others.scheduler, join(root, "scheduler", "scheduler_config.json"));
});

test("what is missing is named with the option that gives it", async () => {
  const root = folderOf("partly", { "transformer/diffusion_pytorch_model.safetensors": transformer });
  const parts = await findModelParts(root);
  assert.match(
    refusal(() => requireParts(parts, ["transformer", "vae", "clip"])).message,
    /lacks vae, clip.*\{ vae: "…" \}/,
  );
  const given = await findModelParts(root, { vae: join(folder, "diffusers", "vae") });
  requireParts(given, ["transformer", "vae"]);
  assert.equal((await inspectModel(root)).missing, ["vae", "llama", "clip", "llamaTokenizer", "clipTokenizer"]);
});

const comfy = {
  "split_files/diffusion_models/hunyuan_video_t2v_720p_bf16.safetensors": transformer,
  "split_files/vae/hunyuan_video_vae_bf16.safetensors": vae,
  "split_files/text_encoders/clip_l.safetensors": clip,
  "split_files/text_encoders/llava_llama3_fp16.safetensors": llama.map((tensor) => ({
    ...tensor,
    name: `model.${tensor.name}`,
  })),
};
const files = Object.keys(comfy);

test("ComfyUI's files, from the top or from the transformer", async () => {
  const root = folderOf("comfy", comfy);
  for (const path of [root, join(root, files[0] ?? "")]) {
    const parts = await findModelParts(path);
    assert.is(parts.layout, "comfyui");
    assert.equal(
      [parts.transformer, parts.vae, parts.clip, parts.llama].map((one) => one?.slice(root.length + 1)),
      files,
    );
    assert.is(parts.llamaTokenizer, undefined);
  }
  assert.equal((await inspectModel(root)).problems, []);
});

test("several files for one part have to be chosen from; strangers and broken files are passed over", async () => {
  const root = folderOf("many", {
    "a.safetensors": transformer,
    "b.safetensors": transformer,
    "vae.safetensors": vae,
    "flux.safetensors": [{ name: "double_blocks.0.img_attn.qkv.weight", dtype: "bf16", shape: [2, 2] }],
    "broken.safetensors": "not a checkpoint",
  });
  const parts = await findModelParts(root);
  assert.is(parts.transformer, undefined);
  assert.equal(parts.ambiguous.get("transformer"), [join(root, "a.safetensors"), join(root, "b.safetensors")]);
  assert.match(
    refusal(() => requireParts(parts, ["transformer"])).message,
    /a\.safetensors, .*b\.safetensors; name one/,
  );
  const chosen = await findModelParts(join(root, "b.safetensors"));
  assert.is(chosen.transformer, join(root, "b.safetensors"));
  assert.is(chosen.vae, join(root, "vae.safetensors"));
  assert.match((await rejection(findModelParts(join(root, "flux.safetensors")))).message, /Flux/);
  assert.is((await rejection(findModelParts(join(root, "broken.safetensors")))).code, "CHECKPOINT_INVALID");
});

test("folders without a model, and paths without anything", async () => {
  const empty = folderOf("empty", { "readme.txt": "" });
  assert.match((await rejection(findModelParts(empty))).message, /no part of a HunyuanVideo/);
  assert.is((await rejection(findModelParts(join(empty, "nothing")))).code, "FILE_ERROR");
});

test("a checkpoint that is incomplete is reported, not refused", async () => {
  const some = transformer.filter(({ name }) => name !== "single_blocks.39.linear2.weight");
  const root = folderOf("incomplete", {
    "x.safetensors": [...some, { name: "extra.weight", dtype: "f32", shape: [7] }],
  });
  const report = await inspectPath(root);
  if (!("dtypes" in report)) throw new Error("no checkpoint");
  assert.is(report.layout, "tencent");
  assert.equal(report.missing, ["single_blocks.39.linear2.weight"]);
  assert.equal(report.unexpected, ["extra.weight"]);
  assert.equal(report.problems, ["1 key is missing", "1 key is of an unknown meaning"]);
  assert.equal(
    report.dtypes.map(({ dtype, tensors }) => [dtype, tensors]),
    [
      ["bf16", some.length],
      ["f32", 1],
    ],
  );
  assert.equal(report.tensors.at(-1), { name: "extra.weight", dtype: "f32", shape: [7] });
});

test("what cannot be told stands among the problems", async () => {
  const root = folderOf("odd", {
    "tiny.safetensors": ditTensors(tinyDit, "tencent"),
    "wan.safetensors": [{ name: "blocks.0.cross_attn.k.weight", dtype: "f32", shape: [1] }],
    "fp8.pt": transformer.map(
      (tensor): FileTensor => (tensor.shape.length === 2 ? { ...tensor, dtype: "f8e4m3" } : tensor),
    ),
  });
  const tiny = await inspectCheckpoint(join(root, "tiny.safetensors"));
  assert.is(tiny.part, "transformer");
  assert.match(tiny.problems[0] ?? "", /ropeAxes/);
  const wan = await inspectCheckpoint(join(root, "wan.safetensors"));
  assert.is(wan.part, undefined);
  assert.match(wan.what, /Wan/);
  const fp8 = await inspectCheckpoint(join(root, "fp8.pt"));
  assert.is(fp8.fp8, "map-missing");
  assert.match(fp8.problems[0] ?? "", /fp8_map\.pt/);
});

test("a LoRA's style, ranks and strangers", async () => {
  const kohya = [
    ...loraTensors("kohya", loraPairs(loraTargets)),
    { name: "lora_te1_x.alpha", dtype: "f32", shape: [] } as const,
  ];
  const root = folderOf("lora", { "l.safetensors": kohya });
  const report = await inspectCheckpoint(join(root, "l.safetensors"));
  assert.is(report.part, "lora");
  assert.equal(report.lora, { style: "kohya", ranks: [4], modules: loraTargets.length });
  assert.equal(report.unexpected, ["lora_te1_x.alpha"]);
  assert.match(report.licence ?? "", /author/);
});

test.run();
