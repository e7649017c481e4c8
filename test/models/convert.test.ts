/** Checkpoints written anew under other names, and back. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { convertModel } from "../../lib/models/convert.js";
import { ditLayouts } from "../../lib/models/dit/naming.js";
import { openDit } from "../../lib/models/dit/open.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { type VaeConfig, vaePresets } from "../../lib/models/vae/config.js";
import { openVae } from "../../lib/models/vae/open.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import { loadParams } from "../../lib/nn/load.js";
import { releasedNaming } from "../../lib/nn/spec.js";
import { openDevice } from "../../lib/tensor.js";
import { type FileTensor, writeSafetensors, writeTorchZip } from "../support/checkpoint-files.js";
import { ditTensors, randomValues, tensorsIn, tinyDit } from "../support/dit-files.js";
import { rejection } from "../support/refusal.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-convert-"));
const device = openDevice("cpu");
test.after(async () => {
  assert.is(device.memory().tensors, 0);
  await device.dispose();
  rmSync(folder, { recursive: true });
});

const specs = ditSpec(tinyDit);
const values = randomValues(specs);
const { ropeAxes } = tinyDit;

/** Names, types, shapes and bytes. */
async function contents(path: string): Promise<Map<string, string>> {
  const { entries } = await openCheckpoint(path);
  const all = [...entries.values()].map(({ name, dtype, shape, file, offset, bytes }): [string, string] => {
    const data = readFileSync(file)
      .subarray(offset, offset + bytes)
      .toString("base64");
    return [name, `${dtype} ${shape} ${data}`];
  });
  return new Map(all.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function written(name: string, tensors: readonly FileTensor[]): string {
  const path = join(folder, name);
  if (name.endsWith(".pt")) writeTorchZip(path, tensors, "module");
  else writeSafetensors(path, tensors);
  return path;
}

for (const from of ditLayouts) {
  for (const to of ditLayouts) {
    test(`a transformer from ${from} to ${to} names`, async () => {
      const source = written(`${from}-${to}.safetensors`, ditTensors(tinyDit, from, { values }));
      const target = join(folder, `${from}-${to}.out.safetensors`);
      assert.equal(await convertModel(device, source, target, { layout: to, ropeAxes }), [target]);
      const direct = written(`${from}-${to}.direct.safetensors`, ditTensors(tinyDit, to, { values }));
      assert.equal(await contents(target), await contents(direct));
      // What shapes do not tell travels in the metadata.
      const { config, layout } = await openDit(target);
      assert.is(layout, to);
      assert.equal(config.ropeAxes, ropeAxes);
    });
  }
}

test("from a torch file to a folder of shards, and back with the same bytes", async () => {
  const source = written("model.pt", ditTensors(tinyDit, "tencent", { values }));
  const out = join(folder, "transformer");
  const files = await convertModel(device, source, out, { layout: "diffusers", ropeAxes, shardBytes: 200_000 });
  assert.ok(files.length > 4);
  assert.equal(readdirSync(out).sort(), files.map((file) => file.slice(out.length + 1)).sort());
  const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
  assert.is(config._class_name, "HunyuanVideoTransformer3DModel");
  assert.equal(config.rope_axes_dim, ropeAxes);
  assert.is(config.num_attention_heads, 2);
  const back = join(folder, "back.safetensors");
  await convertModel(device, out, back, { layout: "tencent" });
  assert.equal(await contents(back), await contents(source));
});

test("types are converted on the way", async () => {
  const source = written("f32.safetensors", ditTensors(tinyDit, "tencent", { dtype: "f32", values }));
  const target = join(folder, "bf16.safetensors");
  await convertModel(device, source, target, { layout: "comfyui", ropeAxes, dtype: "bf16" });
  const direct = written("bf16.direct.safetensors", ditTensors(tinyDit, "comfyui", { values }));
  assert.equal(await contents(target), await contents(direct));
});

test("fp8 with scales keeps them, or is refused", async () => {
  const blocks = (name: string) => /^(double|single)_blocks.*weight$/.test(name);
  const fp8 = tensorsIn(releasedNaming, specs, {
    dtype: ({ name, shape }) => (blocks(name) && shape.length === 2 ? "f8e4m3" : "bf16"),
  });
  const scales = fp8.flatMap(({ name, dtype }): FileTensor[] =>
    dtype === "f8e4m3" ? [{ name: name.replace(/weight$/, "scale_weight"), dtype: "f32", shape: [] }] : [],
  );
  const source = written("fp8.safetensors", [...fp8, ...scales]);
  const target = join(folder, "fp8.out.safetensors");
  await convertModel(device, source, target, { layout: "comfyui", ropeAxes });
  const dit = await openDit(target);
  assert.is(dit.fp8, "scaled");
  const params = await loadParams(device, dit.checkpoint, dit.specs, dit.naming, { dtype: "f32", keep: dit.keep });
  assert.is(params.get("single_blocks.1.linear2.weight").dtype, "f8e4m3");
  assert.equal(params.get("single_blocks.1.linear2.weight_scale").shape, [1]);
  params.dispose();
  await device.sync();
  for (const options of [{ layout: "diffusers" }, { layout: "tencent", dtype: "bf16" }] as const) {
    const error = await rejection(
      convertModel(device, source, join(folder, "no.safetensors"), { ropeAxes, ...options }),
    );
    assert.is(error.code, "MODEL_UNSUPPORTED");
  }
});

test("an autoencoder keeps its names and gets a config.json", async () => {
  const config: VaeConfig = {
    ...vaePresets["884-16c-hy"],
    blockChannels: [8, 8, 16, 16],
    normGroups: 4,
    layersPerBlock: 1,
  };
  const list = vaeSpec(config);
  const tensors = tensorsIn(releasedNaming, list, { dtype: () => "f32", values: randomValues(list) });
  const source = written(
    "vae.safetensors",
    tensors.map((tensor) => ({ ...tensor, name: `vae.${tensor.name}` })),
  );
  // Without a config.json beside it the file is taken for the released one, which it is not.
  assert.is(
    (await rejection(convertModel(device, source, join(folder, "v"), { layout: "tencent" }))).code,
    "CHECKPOINT_INVALID",
  );
  const first = join(folder, "vae-a");
  writeSafetensorsWithConfig(first, tensors, config);
  for (const layout of ["diffusers", "tencent"] as const) {
    const out = join(folder, `vae-${layout}`);
    await convertModel(device, first, out, { layout });
    const opened = await openVae(out);
    assert.equal(opened.config, config);
    assert.equal(opened.report, { missing: [], unexpected: [], misshapen: [] });
    assert.equal(await contents(out), await contents(first));
  }
});

function writeSafetensorsWithConfig(at: string, tensors: readonly FileTensor[], config: VaeConfig): void {
  mkdirSync(at);
  writeSafetensors(join(at, "diffusion_pytorch_model.safetensors"), tensors);
  const json = { block_out_channels: config.blockChannels, norm_num_groups: 4, layers_per_block: 1 };
  writeFileSync(join(at, "config.json"), JSON.stringify(json));
}

test("other checkpoints are not converted, and an abort leaves nothing", async () => {
  const clip = written("clip.safetensors", [
    { name: "text_model.encoder.layers.0.self_attn.q_proj.weight", dtype: "f32", shape: [2, 2] },
  ]);
  const error = await rejection(convertModel(device, clip, join(folder, "c"), { layout: "diffusers" }));
  assert.match(error.message, /only transformers and autoencoders.*CLIP/);
  const source = written("abort.safetensors", ditTensors(tinyDit, "tencent", { values }));
  const out = join(folder, "aborted");
  const options = { layout: "diffusers", ropeAxes, signal: AbortSignal.abort() } as const;
  assert.is((await rejection(convertModel(device, source, out, options))).code, "ABORTED");
  assert.equal(readdirSync(out), []);
});

test.run();
