/**
 * How other projects spell the transformer's parameters.
 *
 * Three conventions are in use for the same weights: the released checkpoint's, diffusers' (q, k, v apart, linear1 in four
 * pieces, the halves of the final modulation swapped) and ComfyUI's own (other names, the same cuts). Sources: diffusers'
 * scripts/convert_hunyuan_video_to_diffusers.py and ComfyUI's comfy/supported_models.py.
 */

import type { Naming, ParameterSpec, Piece } from "../../nn/spec.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DitConfig } from "./config.js";

export type DitLayout = "tencent" | "diffusers" | "comfyui";

export const ditLayouts = ["tencent", "diffusers", "comfyui"] as const satisfies readonly DitLayout[];

export interface DitNamingOptions {
  /** What stands before every key of the file: "module.", "model.diffusion_model.", … Default "". */
  readonly prefix?: string;
  /** ComfyUI's older files end the keys of the q and k norms so. Default "weight". */
  readonly normSuffix?: "weight" | "scale";
}

/** Where a released module went: another name; several modules, cut along the rows; or one with its halves swapped. */
type Place = string | { readonly fused: readonly string[] } | { readonly swapped: string };
type Places = { readonly [module: string]: Place };

const fused = (...names: string[]) => ({ fused: names });

const diffusers = {
  top: {
    "img_in.proj": "x_embedder.proj",
    "time_in.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "time_in.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.mlp.0": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.mlp.2": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "txt_in.input_embedder": "context_embedder.proj_in",
    "txt_in.t_embedder.mlp.0": "context_embedder.time_text_embed.timestep_embedder.linear_1",
    "txt_in.t_embedder.mlp.2": "context_embedder.time_text_embed.timestep_embedder.linear_2",
    "txt_in.c_embedder.linear_1": "context_embedder.time_text_embed.text_embedder.linear_1",
    "txt_in.c_embedder.linear_2": "context_embedder.time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": { swapped: "norm_out.linear" },
  },
  double: {
    "img_mod.linear": "norm1.linear",
    img_attn_qkv: fused("attn.to_q", "attn.to_k", "attn.to_v"),
    img_attn_q_norm: "attn.norm_q",
    img_attn_k_norm: "attn.norm_k",
    img_attn_proj: "attn.to_out.0",
    "img_mlp.fc1": "ff.net.0.proj",
    "img_mlp.fc2": "ff.net.2",
    "txt_mod.linear": "norm1_context.linear",
    txt_attn_qkv: fused("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    txt_attn_q_norm: "attn.norm_added_q",
    txt_attn_k_norm: "attn.norm_added_k",
    txt_attn_proj: "attn.to_add_out",
    "txt_mlp.fc1": "ff_context.net.0.proj",
    "txt_mlp.fc2": "ff_context.net.2",
  },
  single: {
    linear1: fused("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    linear2: "proj_out",
    q_norm: "attn.norm_q",
    k_norm: "attn.norm_k",
    "modulation.linear": "norm.linear",
  },
  refiner: {
    norm1: "norm1",
    norm2: "norm2",
    self_attn_qkv: fused("attn.to_q", "attn.to_k", "attn.to_v"),
    self_attn_proj: "attn.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
    "adaLN_modulation.1": "norm_out.linear",
  },
} as const satisfies { readonly [family: string]: Places };

const comfyui = {
  top: {
    "img_in.proj": "img_in.proj",
    "time_in.mlp.0": "time_in.in_layer",
    "time_in.mlp.2": "time_in.out_layer",
    "guidance_in.mlp.0": "guidance_in.in_layer",
    "guidance_in.mlp.2": "guidance_in.out_layer",
    "vector_in.in_layer": "vector_in.in_layer",
    "vector_in.out_layer": "vector_in.out_layer",
    "txt_in.input_embedder": "txt_in.input_embedder",
    "txt_in.t_embedder.mlp.0": "txt_in.t_embedder.in_layer",
    "txt_in.t_embedder.mlp.2": "txt_in.t_embedder.out_layer",
    "txt_in.c_embedder.linear_1": "txt_in.c_embedder.in_layer",
    "txt_in.c_embedder.linear_2": "txt_in.c_embedder.out_layer",
    "final_layer.linear": "final_layer.linear",
    "final_layer.adaLN_modulation.1": "final_layer.adaLN_modulation.1",
  },
  double: {
    "img_mod.linear": "img_mod.lin",
    img_attn_qkv: "img_attn.qkv",
    img_attn_q_norm: "img_attn.norm.query_norm",
    img_attn_k_norm: "img_attn.norm.key_norm",
    img_attn_proj: "img_attn.proj",
    "img_mlp.fc1": "img_mlp.0",
    "img_mlp.fc2": "img_mlp.2",
    "txt_mod.linear": "txt_mod.lin",
    txt_attn_qkv: "txt_attn.qkv",
    txt_attn_q_norm: "txt_attn.norm.query_norm",
    txt_attn_k_norm: "txt_attn.norm.key_norm",
    txt_attn_proj: "txt_attn.proj",
    "txt_mlp.fc1": "txt_mlp.0",
    "txt_mlp.fc2": "txt_mlp.2",
  },
  single: {
    linear1: "linear1",
    linear2: "linear2",
    q_norm: "norm.query_norm",
    k_norm: "norm.key_norm",
    "modulation.linear": "modulation.lin",
  },
  refiner: {
    norm1: "norm1",
    norm2: "norm2",
    self_attn_qkv: "self_attn.qkv",
    self_attn_proj: "self_attn.proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
    "adaLN_modulation.1": "adaLN_modulation.1",
  },
} as const satisfies { readonly [family: string]: Places };

type Family = "top" | "double" | "single" | "refiner";

/** Before a block's index, here and there. */
const blockPaths = {
  double: { tencent: "double_blocks", comfyui: "double_blocks", diffusers: "transformer_blocks" },
  single: { tencent: "single_blocks", comfyui: "single_blocks", diffusers: "single_transformer_blocks" },
  refiner: {
    tencent: "txt_in.individual_token_refiner.blocks",
    comfyui: "txt_in.individual_token_refiner.blocks",
    diffusers: "context_embedder.token_refiner.refiner_blocks",
  },
} as const;

/**
 * The path before the index of a kind of blocks.
 *
 * @example ditBlockPath("diffusers", "double") // "transformer_blocks"
 */
export function ditBlockPath(layout: DitLayout, family: "double" | "single" | "refiner"): string {
  return blockPaths[family][layout];
}

/**
 * The naming of a layout for transformers of a configuration: which rows of which keys make up a parameter.
 *
 * @throws MODEL_UNSUPPORTED from the naming, for a scale of a weight that the layout keeps in several pieces
 * @example ditNaming("diffusers", ditPresets.t2v)(spec) // for img_attn_qkv: rows of to_q, then of to_k, then of to_v
 */
export function ditNaming(layout: DitLayout, config: DitConfig, options: DitNamingOptions = {}): Naming {
  const { prefix = "", normSuffix = "weight" } = options;
  if (layout === "tencent") return ({ name, shape }) => [{ key: prefix + name, rows: shape[0] ?? 1 }];
  return (spec) => {
    const dot = spec.name.lastIndexOf(".");
    const { path, place } = placeOf(layout, spec.name.slice(0, dot));
    const isHeadNorm = layout === "comfyui" && typeof place === "string" && /\b(query|key)_norm$/.test(place);
    const suffix = isHeadNorm ? `.${normSuffix}` : spec.name.slice(dot);
    return piecesOf(place, spec, config).map((piece) => ({ ...piece, key: prefix + path + piece.key + suffix }));
  };
}

function placeOf(layout: "diffusers" | "comfyui", module: string): { path: string; place: Place } {
  const tables: { readonly [family in Family]: Places } = layout === "diffusers" ? diffusers : comfyui;
  for (const family of ["double", "single", "refiner"] as const) {
    const before = `${blockPaths[family].tencent}.`;
    if (!module.startsWith(before)) continue;
    const dot = module.indexOf(".", before.length);
    const place = tables[family][module.slice(dot + 1)];
    if (dot < 0 || place === undefined) break;
    return { path: `${blockPaths[family][layout]}.${module.slice(before.length, dot)}.`, place };
  }
  const place = tables.top[module];
  if (place !== undefined) return { path: "", place };
  // The lists above have every parameter of ditSpec; a further one is a mistake of ours, not of a file.
  const message = `${module}.* is no parameter of a transformer that the ${layout} layout has a name for`;
  throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: module });
}

/** Keys are the module's, as yet without path and suffix. */
function piecesOf(place: Place, { name, shape }: ParameterSpec, { hiddenSize }: DitConfig): readonly Piece[] {
  const rows = shape[0] ?? 1;
  if (typeof place === "string") return [{ key: place, rows }];
  if (name.endsWith(".weight_scale")) {
    const message = `${name}: diffusers' layout keeps this weight in pieces, for which one scale is not defined`;
    throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: name });
  }
  if ("swapped" in place) {
    const half = rows / 2;
    return [
      { key: place.swapped, start: half, rows: half },
      { key: place.swapped, rows: half },
    ];
  }
  // q, k and v have hiddenSize rows each; a fourth piece is the MLP, which has the rest.
  return place.fused.map((key, i) => ({ key, rows: i < 3 ? hiddenSize : rows - 3 * hiddenSize }));
}
