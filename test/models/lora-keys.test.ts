/** What LoRA files say, and what is said of files that are none, or of another model. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ditPresets } from "../../lib/models/dit/config.js";
import { ditLayouts, ditNaming } from "../../lib/models/dit/naming.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { loadLora } from "../../lib/models/lora/load.js";
import { findLoraModule, loraModules, parseLoraKey } from "../../lib/models/lora/styles.js";
import { foreignTensors } from "../../lib/nn/foreign.js";
import type { DType } from "../../lib/tensor/dtype.js";
import { type FileTensor, writeSafetensors } from "../support/checkpoint-files.js";
import { tinyDit } from "../support/dit-files.js";
import { loraPairs, loraRank, loraStyles, loraTargets, loraTensors } from "../support/lora-files.js";
import { rejection } from "../support/refusal.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-lora-keys-"));
test.after(() => rmSync(folder, { recursive: true }));

let written = 0;
function file(tensors: readonly FileTensor[], metadata?: { readonly [key: string]: string }): string {
  const path = join(folder, `${written++}.safetensors`);
  writeSafetensors(path, tensors, metadata);
  return path;
}

test("a name means one parameter, whatever the layout and however it is flattened", () => {
  for (const config of [tinyDit, ...Object.values(ditPresets)]) {
    const modules = loraModules(config);
    for (const layout of ditLayouts) {
      for (const tensor of foreignTensors(ditSpec(config), ditNaming(layout, config))) {
        if (!tensor.name.endsWith(".weight")) continue;
        const name = tensor.name.slice(0, -".weight".length);
        for (const spelled of [name, name.replaceAll(".", "_")]) {
          const found = modules.get(spelled)?.weight;
          const places = (parts = tensor.parts) => parts.map(({ spec, from, rows, to }) => [spec.name, from, rows, to]);
          assert.equal(places(found?.parts), places(), `${layout} ${spelled}`);
        }
      }
    }
  }
});

test("roles of keys", () => {
  const m = "diffusion_model.single_blocks.0.linear1";
  assert.equal(parseLoraKey(`${m}.lora_A.weight`), { module: m, role: "down" });
  assert.equal(parseLoraKey(`${m}.lora_A.default.weight`), { module: m, role: "down" });
  assert.equal(parseLoraKey(`${m}.lora_down`), { module: m, role: "down" });
  assert.equal(parseLoraKey(`${m}.lora.up.weight`), { module: m, role: "up" });
  assert.equal(parseLoraKey(`${m}.diff_b`), { module: m, role: "diff_b" });
  assert.is(parseLoraKey(`${m}.dora_scale`)?.role, "other");
  assert.is(parseLoraKey(`${m}.weight`), undefined);
});

test("prefixes of trainers", () => {
  const modules = loraModules(tinyDit);
  const inner = "transformer_blocks.1.attn.to_k";
  for (const prefix of ["", "transformer.", "base_model.model.", "base_model.model.transformer.", "diffusion_model."]) {
    const found = findLoraModule(modules, prefix + inner);
    assert.equal(found?.weight.parts[0]?.spec.name, "double_blocks.1.img_attn_qkv.weight", prefix);
    assert.is(found?.weight.parts[0]?.from, 64);
  }
  assert.is(findLoraModule(modules, "lora_te1_text_model_encoder_layers_0_mlp_fc1"), undefined);
});

const pairs = loraPairs(loraTargets.slice(0, 12));

test("keys without a place are an error with all of them, or a report", async () => {
  for (const style of loraStyles) {
    const strangers = ["lora_te1_layers_0.lora_down.weight", "lora_te1_layers_0.lora_up.weight", "notes"];
    const more = strangers.map((name): FileTensor => ({ name, dtype: "f32", shape: [2, 2] }));
    const path = file([...loraTensors(style, pairs), ...more]);
    const error = await rejection(loadLora(path, tinyDit));
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.equal("keys" in error.details && [...(error.details.keys ?? [])].sort(), [...strangers].sort(), style);
    const lora = await loadLora(path, tinyDit, { strict: false });
    assert.equal([...lora.unmatched].sort(), [...strangers].sort());
    assert.ok(lora.terms.length >= pairs.length);
  }
});

test("a LoRA of which nothing fits is refused also when that is allowed", async () => {
  const names = ["blocks.0.self_attn.q.lora_A.weight", "blocks.0.self_attn.q.lora_B.weight"];
  const error = await rejection(
    loadLora(file(names.map((name) => ({ name, dtype: "f32", shape: [2, 2] }))), tinyDit, { strict: false }),
  );
  assert.match(error.message, /another model/);
});

test("what is no LoRA says what it is", async () => {
  const vae: FileTensor = { name: "decoder.conv_in.conv.weight", dtype: "f32", shape: [1] };
  const error = await rejection(loadLora(file([vae]), tinyDit));
  assert.match(error.message, /no LoRA.*autoencoder/);
});

const module = "diffusion_model.double_blocks.0.img_attn_proj";
const pair = (down: readonly number[], up: readonly number[], dtype: DType = "f32"): FileTensor[] => [
  { name: `${module}.lora_A.weight`, dtype, shape: down },
  { name: `${module}.lora_B.weight`, dtype, shape: up },
];

test("pairs of wrong shapes, halves and types are named", async () => {
  const cases: [FileTensor[], RegExp][] = [
    [pair([4, 65], [64, 4]), /lora_A\.weight: is \[4, 65\], expected \[rank, 64\]/],
    [pair([4, 64], [63, 4]), /lora_B\.weight: is \[63, 4\], expected \[64, 4\]/],
    [pair([4, 64], [64, 8]), /expected \[64, 4\]/],
    [pair([0, 64], [64, 0]), /expected \[rank, 64\]/],
    [pair([4, 64], [64, 4], "i32"), /expected floats/],
    [pair([4, 64], [64, 4]).slice(1), /down half is missing/],
    [pair([4, 64], [64, 4]).slice(0, 1), /up half is missing/],
    [[{ name: `${module}.diff`, dtype: "f32", shape: [64, 63] }], /expected \[64, 64\]/],
    [[...pair([4, 64], [64, 4]), { name: `${module}.alpha`, dtype: "f32", shape: [2] }], /expected one number/],
    [
      [...pair([4, 64], [64, 4]), { name: `${module}.lora_down.weight`, dtype: "f32", shape: [4, 64] }],
      /says the same/,
    ],
  ];
  for (const [tensors, message] of cases) {
    const error = await rejection(loadLora(file(tensors), tinyDit));
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, message);
  }
});

test("other methods are refused by name", async () => {
  for (const suffix of ["dora_scale", "hada_w1_a", "lokr_w1", "lora_B.bias"]) {
    const tensors: FileTensor[] = [
      ...pair([4, 64], [64, 4]),
      { name: `${module}.${suffix}`, dtype: "f32", shape: [1] },
    ];
    assert.is((await rejection(loadLora(file(tensors), tinyDit))).code, "MODEL_UNSUPPORTED", suffix);
  }
});

test("alpha is read in any type", async () => {
  const bytes: [DType, Uint8Array][] = [
    ["f32", new Uint8Array(Float32Array.of(6).buffer)],
    ["f64", new Uint8Array(Float64Array.of(6).buffer)],
    ["bf16", Uint8Array.of(0xc0, 0x40)],
    ["f16", Uint8Array.of(0x00, 0x46)],
    ["i64", new Uint8Array(BigInt64Array.of(6n).buffer)],
    ["i32", new Uint8Array(Int32Array.of(6).buffer)],
  ];
  for (const [dtype, data] of bytes) {
    for (const shape of [[], [1]]) {
      const alpha: FileTensor = { name: `${module}.alpha`, dtype, shape, data };
      const lora = await loadLora(file([...pair([4, 64], [64, 4]), alpha]), tinyDit);
      assert.is(lora.terms[0]?.product?.scale, 6 / loraRank, dtype);
    }
  }
  const infinite: FileTensor = { name: `${module}.alpha`, dtype: "f16", shape: [], data: Uint8Array.of(0, 0x7c) };
  assert.match((await rejection(loadLora(file([...pair([4, 64], [64, 4]), infinite]), tinyDit))).message, /Infinity/);
});

test("without alpha the scale is 1, but for what PEFT's metadata say", async () => {
  const scale = async (peft?: unknown) => {
    const metadata = peft === undefined ? undefined : { lora_adapter_metadata: JSON.stringify(peft) };
    const lora = await loadLora(file(pair([4, 64], [64, 4]), metadata), tinyDit);
    return lora.terms[0]?.product?.scale;
  };
  assert.is(await scale(), 1);
  assert.is(await scale({ "diffusion_model.lora_alpha": 8, "diffusion_model.r": 4 }), 2);
  assert.is(
    await scale({ "diffusion_model.lora_alpha": 8, "diffusion_model.alpha_pattern": { img_attn_proj: 1 } }),
    0.25,
  );
  assert.is(await scale({ "text_encoder.lora_alpha": 8 }), 1);
  assert.is((await rejection(scale({ "diffusion_model.use_rslora": true }))).code, "MODEL_UNSUPPORTED");
});

test.run();
