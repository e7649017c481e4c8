/** What a checkpoint is, told from its keys: of our models, or which other model somebody took for one. */

/** The parts of a HunyuanVideo that this library reads, and LoRAs for the first of them. */
export type ModelPart = "transformer" | "vae" | "llama" | "clip" | "lora";

export interface Family {
  /** undefined: nothing that this library reads. */
  readonly part?: ModelPart;
  /** As people call it: "Flux", "Wan", … */
  readonly name: string;
}

interface Rule extends Family {
  /** Some key matches each of these. */
  readonly all: readonly RegExp[];
  /** No key matches any of these. */
  readonly none?: readonly RegExp[];
}

/** From the particular to the general: the first that fits is it. */
const rules: readonly Rule[] = [
  { part: "lora", name: "LoRA", all: [/\.(lora_[AB]|lora_down|lora_up|diff_b)\b/] },
  { part: "lora", name: "LoHa, LoKr or another LyCORIS adapter", all: [/\.(hada_w1_[ab]|lokr_w[12](_[ab])?)$/] },
  { name: "HunyuanVideo 1.5", all: [/individual_token_refiner/, /(^|\.)(byt5_in|vision_in|cond_type_embedding)\./] },
  { name: "HunyuanVideo 1.5", all: [/(^|\.)context_embedder_2\./, /token_refiner\.refiner_blocks/] },
  { name: "FramePack", all: [/(^|\.)(clean_x_embedder|image_projection)\./, /token_refiner\.refiner_blocks/] },
  { part: "transformer", name: "HunyuanVideo transformer", all: [/txt_in\.individual_token_refiner\./] },
  { part: "transformer", name: "HunyuanVideo transformer", all: [/context_embedder\.token_refiner\.refiner_blocks\./] },
  {
    part: "transformer",
    name: "HunyuanVideo transformer",
    all: [/(^|\.)(double|single)_blocks\.\d+\.(img_attn_qkv|q_norm)\./],
  },
  { name: "Wan", all: [/(^|\.)blocks\.\d+\.cross_attn\.[kv](_img)?\.weight$/] },
  { name: "Wan (diffusers)", all: [/(^|\.)condition_embedder\.time_embedder\./, /(^|\.)blocks\.\d+\.attn2\./] },
  { name: "Flux", all: [/(^|\.)double_blocks\.\d+\.img_attn\./] },
  { name: "Flux (diffusers)", all: [/(^|\.)single_transformer_blocks\.\d+\./] },
  { name: "Stable Diffusion 3", all: [/(^|\.)joint_blocks\.\d+\./] },
  { name: "Mochi", all: [/(^|\.)blocks\.\d+\.attn\.qkv_x\./] },
  { name: "LTX-Video, CogVideoX or a similar transformer", all: [/(^|\.)transformer_blocks\.\d+\.attn1\./] },
  {
    name: "Stable Diffusion (U-Net)",
    all: [/(^|\.)(input_blocks|down_blocks)\.\d+\..*(transformer_blocks|attentions)\./],
  },
  { name: "CogVideoX autoencoder", all: [/(^|\.)decoder\..*\.norm1\.conv_[by]\./] },
  {
    part: "vae",
    name: "HunyuanVideo autoencoder",
    all: [
      /(^|\.)(encoder\.conv_in|decoder\.conv_in|encoder\.down_blocks\.0\.resnets\.0\.conv1|decoder\.conv_out)\.conv\./,
    ],
  },
  { name: "Wan autoencoder", all: [/(^|\.)decoder\.middle\.\d+\.residual\./] },
  {
    name: "autoencoder of another model",
    all: [/(^|\.)decoder\./, /(^|\.)encoder\./, /(^|\.)(mid_block|mid|conv_in)\./],
  },
  { part: "clip", name: "CLIP text encoder", all: [/(^|\.)text_model\.encoder\.layers\.\d+\.self_attn\./] },
  {
    name: "CLIP or SigLIP image encoder",
    all: [/(^|\.)vision_model\.encoder\.layers\.\d+\./],
    none: [/layers\.\d+\.mlp\.gate_proj/],
  },
  { name: "T5 text encoder", all: [/(^|\.)encoder\.block\.\d+\.layer\.\d+\.SelfAttention\./] },
  {
    part: "llama",
    name: "Llama text encoder",
    all: [/(^|\.)layers\.\d+\.self_attn\.q_proj\./, /(^|\.)layers\.\d+\.mlp\.gate_proj\./],
  },
];

/** Far more, and far longer, than any model's: files may hold names without end, and each is held against many patterns. */
const mostKeys = 20_000;
const longestKey = 400;

/**
 * The first family whose keys these are; undefined when they are of none that is known here.
 *
 * @example familyOf(["double_blocks.0.img_attn.qkv.weight"])?.name // "Flux"
 */
export function familyOf(keys: Iterable<string>): Family | undefined {
  const list: string[] = [];
  for (const key of keys) {
    if (list.length === mostKeys) break;
    if (key.length <= longestKey) list.push(key);
  }
  const some = (pattern: RegExp) => list.some((key) => pattern.test(key));
  return rules.find(({ all, none }) => all.every(some) && !none?.some(some));
}

/** "keys of Flux", or what the keys begin with when nobody knows them. */
export function describeFamily(keys: Iterable<string>): string {
  const list = [...keys];
  if (list.length === 0) return "it has no tensors";
  const family = familyOf(list);
  if (family !== undefined) return `its keys are those of: ${family.name}`;
  const first = list.slice(0, 3).map((key) => key.slice(0, 80));
  return `its keys are of no model known here (${first.join(", ")}${list.length > 3 ? ", …" : ""})`;
}
