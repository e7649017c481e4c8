/**
 * How LoRA files spell what they change.
 *
 * | style | example |
 * | --- | --- |
 * | original | `diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight`, or `transformer.…`; no alpha |
 * | kohya | `lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight`, `.alpha` (musubi-tuner, Tencent's image to video) |
 * | diffusers | `transformer.transformer_blocks.0.attn.to_q.lora_A.weight`: q, k, v apart (also finetrainers) |
 * | comfyui | `diffusion_model.double_blocks.0.img_attn.qkv.lora_down.weight`, `.diff_b` (FastVideo for ComfyUI) |
 * | onetrainer | `lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight`, `.alpha` |
 */
import { type ForeignTensor, foreignTensors } from "../../nn/foreign.js";
import type { DitConfig } from "../dit/config.js";
import { type DitLayout, ditLayouts, ditNaming } from "../dit/naming.js";
import { ditSpec } from "../dit/spec.js";

export type LoraStyle = "original" | "kohya" | "diffusers" | "comfyui" | "onetrainer";

/** What a key holds of its module. */
export type LoraRole =
  /** [rank, in] */
  | "down"
  /** [out, rank] */
  | "up"
  /** One number; the change is alpha / rank · up · down. */
  | "alpha"
  /** A change of the weight itself, of its shape. */
  | "diff"
  /** A change of the bias. */
  | "diff_b"
  /** Of a method that is not plain LoRA. */
  | "other";

export interface LoraKey {
  readonly module: string;
  readonly role: LoraRole;
}

const roles: readonly [RegExp, LoraRole][] = [
  [/\.(lora_A|lora_down|lora\.down)(\.default)?(\.weight)?$/, "down"],
  [/\.(lora_B|lora_up|lora\.up)(\.default)?(\.weight)?$/, "up"],
  [/\.alpha$/, "alpha"],
  [/\.diff$/, "diff"],
  [/\.diff_b$/, "diff_b"],
  [
    /\.(dora_scale|lora_magnitude_vector|lora_mid|hada_|lokr_|oft_|ia3|w_norm|b_norm|set_weight|lora_[AB]\.bias).*$/,
    "other",
  ],
];

/** The module and what of it, of a key; undefined for keys of no LoRA. */
export function parseLoraKey(key: string): LoraKey | undefined {
  for (const [pattern, role] of roles) {
    const found = pattern.exec(key);
    if (found !== null) return { module: key.slice(0, found.index), role };
  }
  return undefined;
}

/** The parameters behind a module's name. */
export interface LoraModule {
  readonly layout: DitLayout;
  readonly flat: boolean;
  readonly weight: ForeignTensor;
  readonly bias: ForeignTensor | undefined;
}

/** Modules of a model by the names that the styles have for them, prefixes left out. */
export type LoraModules = ReadonlyMap<string, LoraModule>;

/**
 * All names of all modules of a transformer.
 *
 * @example loraModules(config).get("double_blocks_0_img_attn_qkv")?.weight.parts
 */
export function loraModules(config: DitConfig): LoraModules {
  const specs = ditSpec(config);
  const modules = new Map<string, LoraModule>();
  for (const layout of ditLayouts) {
    const tensors = foreignTensors(specs, ditNaming(layout, config));
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    for (const weight of tensors) {
      if (!weight.name.endsWith(".weight")) continue;
      const name = weight.name.slice(0, -".weight".length);
      const bias = byName.get(`${name}.bias`);
      for (const flat of [false, true]) {
        const spelled = flat ? name.replaceAll(".", "_") : name;
        // Many names are the same in two layouts, and then mean the same parameter.
        if (!modules.has(spelled)) modules.set(spelled, { layout, flat, weight, bias });
      }
    }
  }
  return modules;
}

const prefixes = [
  "base_model.model.",
  "model.diffusion_model.",
  "diffusion_model.",
  "transformer.",
  "module.",
  "lora_unet_",
  "lora_transformer_",
] as const;

/** Trainers nest a few; a hostile name could go on for ever. */
const mostPrefixes = 4;

/** The module of a name in a file, whatever stands before it. */
export function findLoraModule(modules: LoraModules, name: string): LoraModule | undefined {
  let inner = name;
  for (let i = 0; i <= mostPrefixes; i++) {
    const found = modules.get(inner);
    if (found !== undefined) return found;
    const prefix = prefixes.find((one) => inner.startsWith(one));
    if (prefix === undefined) return undefined;
    inner = inner.slice(prefix.length);
  }
  return undefined;
}

/** The style of a file, from its modules' names: those that only one layout has decide. */
export function loraStyleOf(names: Iterable<string>, modules: LoraModules): LoraStyle {
  const list = [...names];
  if (list.some((name) => name.startsWith("lora_transformer_"))) return "onetrainer";
  const found = list.flatMap((name) => findLoraModule(modules, name) ?? []);
  if (found.some(({ flat }) => flat)) return "kohya";
  const layouts = new Set(found.map(({ layout }) => layout));
  if (layouts.has("diffusers")) return "diffusers";
  return layouts.has("comfyui") ? "comfyui" : "original";
}
