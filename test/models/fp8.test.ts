/** Transformers in f8e4m3: Tencent's with its map, ComfyUI's with scales inside, and plain casts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DitLayout, ditNaming } from "../../lib/models/dit/naming.js";
import { type OpenDitOptions, openDit } from "../../lib/models/dit/open.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { loadParams } from "../../lib/nn/load.js";
import type { ParameterSpec } from "../../lib/nn/spec.js";
import { openDevice } from "../../lib/tensor.js";
import { type FileTensor, writeSafetensors, writeTorchZip } from "../support/checkpoint-files.js";
import { f32Bytes, tensorsIn, tinyDit } from "../support/dit-files.js";
import { rejection } from "../support/refusal.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-fp8-"));
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true });
});

const options: OpenDitOptions = { ropeAxes: tinyDit.ropeAxes };
const specs = ditSpec(tinyDit);
const inBlocks = ({ name, shape }: ParameterSpec) => /^(double|single)_blocks\./.test(name) && shape.length === 2;
const scaleOf = (index: number) => 0.5 + index / 64;
const modules = specs.filter(inBlocks).map(({ name }) => name.slice(0, -".weight".length));

/** Bytes of f8e4m3 that are all numbers: the two NaNs (0x7f, 0xff) left out. */
const f8Bytes = (count: number, seed: number) => Uint8Array.from({ length: count }, (_, i) => (i * 37 + seed) % 127);

/** The blocks' matrices in f8e4m3, the rest zeros in bf16. */
function fp8Tensors(layout: DitLayout, prefix = ""): FileTensor[] {
  const naming = ditNaming(layout, tinyDit, { prefix });
  const tensors = tensorsIn(naming, specs, { dtype: (spec) => (inBlocks(spec) ? "f8e4m3" : "bf16") });
  return tensors.map((tensor, i) => {
    if (tensor.dtype !== "f8e4m3") return tensor;
    return {
      ...tensor,
      data: f8Bytes(
        tensor.shape.reduce((a, b) => a * b, 1),
        i,
      ),
    };
  });
}

function scales(suffix: string, shape: readonly number[], rename: (module: string) => string = (m) => m): FileTensor[] {
  return modules.map((module, i) => {
    const data = f32Bytes(Float32Array.of(scaleOf(i)));
    return { name: rename(module) + suffix, dtype: "f32", shape, data };
  });
}

let made = 0;
function place(...files: [name: string, tensors: FileTensor[], part?: string][]): string {
  const at = join(folder, String(made++));
  mkdirSync(at);
  for (const [name, tensors, part] of files) {
    if (name.endsWith(".pt")) writeTorchZip(join(at, name), tensors, part);
    else writeSafetensors(join(at, name), tensors);
  }
  return join(at, files[0]?.[0] ?? "");
}

/** Loads it and looks at every weight and scale of the blocks. */
async function checkLoaded(path: string, scaled: boolean, more: OpenDitOptions = {}): Promise<void> {
  const before = device.memory();
  const dit = await openDit(path, { ...options, ...more });
  assert.is(dit.fp8, scaled ? "scaled" : "plain");
  assert.is(dit.dtype, "f8e4m3");
  const params = await loadParams(device, dit.checkpoint, dit.specs, dit.naming, { dtype: "f32", keep: dit.keep });
  for (const [i, module] of modules.entries()) {
    const p = params.at(module);
    assert.is(p.get("weight").dtype, "f8e4m3", module);
    const scale = p.find<"f32">("weight_scale");
    assert.is(scale === undefined, !scaled, module);
    if (scale === undefined) continue;
    assert.equal(scale.shape, [1]);
    assert.is(await scale.item(), Math.fround(scaleOf(i)), module);
  }
  assert.is(params.get("img_in.proj.weight").dtype, "f32");
  params.dispose();
  await device.sync();
  assert.is(device.memory().live, before.live);
  assert.is(device.memory().tensors, before.tensors);
}

const released = "mp_rank_00_model_states_fp8.pt";
const releasedMap = "mp_rank_00_model_states_fp8_map.pt";

test("Tencent's file takes the scales of the map beside it", async () => {
  await checkLoaded(place([released, fp8Tensors("tencent"), "module"], [releasedMap, scales("", [])]), true);
});

test("its map may be safetensors, or one that is named", async () => {
  const tensors = fp8Tensors("tencent");
  await checkLoaded(place([released, tensors, "module"], ["fp8_map.safetensors", scales("", [1])]), true);
  const elsewhere = place(["scales.safetensors", scales("", [])]);
  await checkLoaded(place([released, tensors, "module"]), true, { scaleMap: elsewhere });
});

test("without the map the error names it", async () => {
  const path = place([released, fp8Tensors("tencent"), "module"]);
  const error = await rejection(openDit(path, options));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /mp_rank_00_model_states_fp8_map\.pt/);
  assert.ok("file" in error.details && error.details.file?.endsWith(releasedMap));
});

test("a map that lacks a scale is refused with the weight's key", async () => {
  const error = await rejection(
    openDit(place([released, fp8Tensors("tencent")], [releasedMap, scales("", []).slice(1)]), options),
  );
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.equal("keys" in error.details && error.details.keys, [`${modules[0]}.weight`]);
});

test("a scale for each row is not understood", async () => {
  const many = scales("", []).map((scale, i) => (i === 3 ? { ...scale, shape: [2], data: new Uint8Array(8) } : scale));
  const error = await rejection(openDit(place([released, fp8Tensors("tencent")], [releasedMap, many]), options));
  assert.match(error.message, /is \[2\], expected one number/);
});

test("scales of weights that are not fp8 are of no use", async () => {
  const some = fp8Tensors("tencent").map((tensor): FileTensor => {
    return tensor.name.startsWith("single_blocks.1.") ? { ...tensor, dtype: "bf16", data: undefined } : tensor;
  });
  const dit = await openDit(place([released, some, "module"], [releasedMap, scales("", [])]), options);
  const names = dit.specs.map(({ name }) => name);
  assert.ok(names.includes("single_blocks.0.linear1.weight_scale"));
  assert.not.ok(names.includes("single_blocks.1.linear1.weight_scale"));
});

const comfyModule = (prefix: string) => (module: string) => {
  const spec = specs.find(({ name }) => name === `${module}.weight`);
  const [piece] = spec === undefined ? [] : ditNaming("comfyui", tinyDit, { prefix })(spec);
  return piece?.key.replace(/\.weight$/, "") ?? "";
};

test("ComfyUI's scaled files, whatever they call the scales", async () => {
  const prefix = "model.diffusion_model.";
  const marker: FileTensor = { name: `${prefix}scaled_fp8`, dtype: "f8e4m3", shape: [2] };
  for (const suffix of [".scale_weight", ".weight_scale"]) {
    const beside = scales(suffix, [], comfyModule(prefix));
    const inputs = scales(".scale_input", [], comfyModule(prefix));
    await checkLoaded(
      place(["comfy.safetensors", [...fp8Tensors("comfyui", prefix), ...beside, ...inputs, marker]]),
      true,
    );
  }
});

test("a marker without scales is refused", async () => {
  const marker: FileTensor = { name: "scaled_fp8", dtype: "f8e4m3", shape: [0] };
  const error = await rejection(openDit(place(["x.safetensors", [...fp8Tensors("tencent"), marker]]), options));
  assert.match(error.message, /x_map\.pt/);
});

test("plain casts have no scales, in every layout", async () => {
  for (const layout of ["tencent", "comfyui", "diffusers"] as const) {
    await checkLoaded(place(["plain_fp8_e4m3fn.safetensors", fp8Tensors(layout)]), false);
  }
});

test("vectors and the patch embedding of a plain cast widen", async () => {
  const tensors = tensorsIn(ditNaming("tencent", tinyDit), specs, { dtype: () => "f8e4m3" });
  await checkLoaded(place(["all.safetensors", tensors]), false);
});

test("weights in pieces with a scale each are refused", async () => {
  const split = fp8Tensors("diffusers");
  const beside = split.flatMap(({ name, dtype }): FileTensor[] =>
    dtype === "f8e4m3" ? [{ name: name.replace(/weight$/, "scale_weight"), dtype: "f32", shape: [] }] : [],
  );
  const error = await rejection(openDit(place(["split.safetensors", [...split, ...beside]]), options));
  assert.is(error.code, "MODEL_UNSUPPORTED");
});

test("config.json beside the weights says how a head divides", async () => {
  const path = place(["diffusion_pytorch_model.safetensors", fp8Tensors("diffusers")]);
  const config = { _class_name: "HunyuanVideoTransformer3DModel", rope_axes_dim: [8, 12, 12], rope_theta: 256 };
  writeFileSync(join(path, "..", "config.json"), JSON.stringify(config));
  for (const source of [path, join(path, "..")]) assert.equal((await openDit(source)).config.ropeAxes, [8, 12, 12]);
});

test.run();
