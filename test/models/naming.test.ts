/** The layouts' names: every parameter has a place in each, and every row of each foreign tensor belongs to one parameter. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { type DitLayout, ditLayouts, ditNaming } from "../../lib/models/dit/naming.js";
import { ditSpec } from "../../lib/models/dit/spec.js";

const tiny: DitConfig = {
  ...ditPresets.t2v,
  hiddenSize: 64,
  numHeads: 2,
  ropeAxes: [8, 12, 12],
  mlpRatio: 2.5,
  numDoubleBlocks: 2,
  numSingleBlocks: 3,
  textDim: 56,
  pooledDim: 48,
};
const configs: [string, DitConfig][] = [...Object.entries(ditPresets), ["tiny", tiny]];

/** Which rows of which parameter a foreign key holds, in the key's order. */
function inverse(layout: DitLayout, config: DitConfig) {
  const naming = ditNaming(layout, config);
  const keys = new Map<string, { start: number; rows: number; name: string; at: number }[]>();
  for (const spec of ditSpec(config)) {
    let at = 0;
    for (const { key, rows, start = 0 } of naming(spec)) {
      keys.set(key, [...(keys.get(key) ?? []), { start, rows, name: spec.name, at }]);
      at += rows;
    }
    assert.is(at, spec.shape[0], `${layout} ${spec.name}: rows of its pieces`);
  }
  for (const pieces of keys.values()) pieces.sort((a, b) => a.start - b.start);
  return keys;
}

for (const [name, config] of configs) {
  for (const layout of ditLayouts) {
    test(`${layout} names of ${name} are total, and one to one in rows`, () => {
      for (const [key, pieces] of inverse(layout, config)) {
        let next = 0;
        for (const { start, rows } of pieces) {
          assert.ok(Number.isInteger(rows) && rows > 0, key);
          assert.is(start, next, `${key}: a gap or an overlap`);
          next += rows;
        }
        assert.is(new Set(pieces.map((piece) => piece.name)).size, 1, `${key} serves several parameters`);
      }
    });
  }
}

test("numbers of keys of the released model", () => {
  assert.is(inverse("tencent", ditPresets.t2v).size, ditSpec(ditPresets.t2v).length);
  assert.is(inverse("comfyui", ditPresets.t2v).size, ditSpec(ditPresets.t2v).length);
  // Each module has a weight and a bias, but for the norms of q and k.
  const top = 14 * 2;
  const double = 2 * (7 * 2 + 2);
  const single = 6 * 2 + 2;
  const refiner = 9 * 2;
  assert.is(inverse("diffusers", ditPresets.t2v).size, top + 20 * double + 40 * single + 2 * refiner);
});

/** diffusers' spelling by the replacements of its conversion script, one after the other: another way to the same names. */
function byReplacement(name: string): string[] {
  const renames: [string, string][] = [
    ["img_in", "x_embedder"],
    ["vector_in.in_layer", "time_text_embed.text_embedder.linear_1"],
    ["vector_in.out_layer", "time_text_embed.text_embedder.linear_2"],
    ["double_blocks", "transformer_blocks"],
    ["single_blocks", "single_transformer_blocks"],
    ["img_attn_q_norm", "attn.norm_q"],
    ["img_attn_k_norm", "attn.norm_k"],
    ["img_attn_proj", "attn.to_out.0"],
    ["txt_attn_q_norm", "attn.norm_added_q"],
    ["txt_attn_k_norm", "attn.norm_added_k"],
    ["txt_attn_proj", "attn.to_add_out"],
    ["img_mod.linear", "norm1.linear"],
    ["img_mlp", "ff"],
    ["txt_mod.linear", "norm1_context.linear"],
    ["txt_mlp", "ff_context"],
    ["self_attn_proj", "attn.to_out.0"],
    ["modulation.linear", "norm.linear"],
    ["final_layer.linear", "proj_out"],
    ["final_layer.adaLN_modulation.1", "norm_out.linear"],
    ["fc1", "net.0.proj"],
    ["fc2", "net.2"],
    ["input_embedder", "proj_in"],
    ["individual_token_refiner.blocks", "token_refiner.refiner_blocks"],
    ["adaLN_modulation.1", "norm_out.linear"],
    ["linear2", "proj_out"],
    [".q_norm", ".attn.norm_q"],
    [".k_norm", ".attn.norm_k"],
  ];
  let key = name;
  for (const [from, to] of renames) key = key.replace(from, to);
  if (key.includes("txt_in")) {
    key = key
      .replace("txt_in", "context_embedder")
      .replace("t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1")
      .replace("t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2")
      .replace("c_embedder", "time_text_embed.text_embedder")
      .replace(".mlp.", ".ff.");
  }
  for (const which of ["time", "guidance"]) {
    const embedder = which === "time" ? "timestep" : which;
    key = key.replace(`${which}_in.mlp.0`, `time_text_embed.${embedder}_embedder.linear_1`);
    key = key.replace(`${which}_in.mlp.2`, `time_text_embed.${embedder}_embedder.linear_2`);
  }
  const split: [string, string[]][] = [
    ["img_attn_qkv", ["attn.to_q", "attn.to_k", "attn.to_v"]],
    ["txt_attn_qkv", ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]],
    ["self_attn_qkv", ["attn.to_q", "attn.to_k", "attn.to_v"]],
    ["linear1", ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]],
  ];
  for (const [from, to] of split) if (key.includes(from)) return to.map((part) => key.replace(from, part));
  return [key];
}

test("diffusers names are those of its conversion script", () => {
  const naming = ditNaming("diffusers", tiny);
  for (const spec of ditSpec(tiny)) {
    const keys = naming(spec).map((piece) => piece.key);
    assert.equal([...new Set(keys)], byReplacement(spec.name), spec.name);
  }
});

/** ComfyUI's spelling by the replacements that it makes when it reads the released names. */
function comfyByReplacement(name: string): string {
  return name
    .replace("txt_in.t_embedder.mlp.0.", "txt_in.t_embedder.in_layer.")
    .replace("txt_in.t_embedder.mlp.2.", "txt_in.t_embedder.out_layer.")
    .replace("txt_in.c_embedder.linear_1.", "txt_in.c_embedder.in_layer.")
    .replace("txt_in.c_embedder.linear_2.", "txt_in.c_embedder.out_layer.")
    .replace("_mod.linear.", "_mod.lin.")
    .replace("_attn_qkv.", "_attn.qkv.")
    .replace("mlp.fc1.", "mlp.0.")
    .replace("mlp.fc2.", "mlp.2.")
    .replace("_attn_q_norm.weight", "_attn.norm.query_norm.weight")
    .replace("_attn_k_norm.weight", "_attn.norm.key_norm.weight")
    .replace(".q_norm.weight", ".norm.query_norm.weight")
    .replace(".k_norm.weight", ".norm.key_norm.weight")
    .replace("_attn_proj.", "_attn.proj.")
    .replace(".modulation.linear.", ".modulation.lin.")
    .replace("_in.mlp.2.", "_in.out_layer.")
    .replace("_in.mlp.0.", "_in.in_layer.");
}

test("ComfyUI names are those that it gives the released ones", () => {
  const naming = ditNaming("comfyui", tiny);
  for (const spec of ditSpec(tiny)) {
    assert.equal(
      naming(spec).map((piece) => piece.key),
      [comfyByReplacement(spec.name)],
    );
  }
});

test("diffusers cuts q, k, v and the MLP, and swaps the final halves", () => {
  const naming = ditNaming("diffusers", tiny, { prefix: "transformer." });
  const pieces = (name: string) => {
    const spec = ditSpec(tiny).find((one) => one.name === name);
    if (spec === undefined) throw new Error(name);
    return naming(spec);
  };
  const at = "transformer.single_transformer_blocks.1.";
  assert.equal(pieces("single_blocks.1.linear1.bias"), [
    { key: `${at}attn.to_q.bias`, rows: 64 },
    { key: `${at}attn.to_k.bias`, rows: 64 },
    { key: `${at}attn.to_v.bias`, rows: 64 },
    { key: `${at}proj_mlp.bias`, rows: 160 },
  ]);
  assert.equal(pieces("final_layer.adaLN_modulation.1.weight"), [
    { key: "transformer.norm_out.linear.weight", start: 64, rows: 64 },
    { key: "transformer.norm_out.linear.weight", rows: 64 },
  ]);
});

test("prefixes and ComfyUI's older norm keys", () => {
  const [first] = ditSpec(tiny);
  const q = ditSpec(tiny).find((spec) => spec.name === "single_blocks.0.q_norm.weight");
  if (first === undefined || q === undefined) throw new Error("spec");
  assert.is(ditNaming("tencent", tiny, { prefix: "module." })(first)[0]?.key, "module.img_in.proj.weight");
  const naming = ditNaming("comfyui", tiny, { prefix: "model.diffusion_model.", normSuffix: "scale" });
  assert.is(naming(q)[0]?.key, "model.diffusion_model.single_blocks.0.norm.query_norm.scale");
});

test("a scale of a weight in pieces is refused", () => {
  const scale = { name: "single_blocks.0.linear1.weight_scale", shape: [1], layout: "same" } as const;
  assert.is(ditNaming("tencent", tiny)(scale)[0]?.key, scale.name);
  assert.throws(() => ditNaming("diffusers", tiny)(scale), /in pieces/);
});

test.run();
