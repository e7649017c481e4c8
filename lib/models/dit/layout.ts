/** Which layout a transformer's keys are in, and what stands before each of them. */
import type { Checkpoint } from "../../io/tensor-file.js";
import { HunyuanError } from "../../runtime/errors.js";
import { describeFamily, familyOf } from "../families.js";
import { type DitLayout, ditLayouts } from "./naming.js";

/** Keys that no other model has, in each layout; ComfyUI's differ from Flux's in the refiner only. */
const anchors: { readonly [L in DitLayout]: readonly string[] } = {
  tencent: [
    "double_blocks.0.img_attn_qkv.weight",
    "txt_in.individual_token_refiner.blocks.0.self_attn_qkv.weight",
    "txt_in.t_embedder.mlp.0.weight",
  ],
  diffusers: [
    "context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight",
    "context_embedder.time_text_embed.text_embedder.linear_1.weight",
  ],
  comfyui: ["txt_in.individual_token_refiner.blocks.0.self_attn.qkv.weight", "txt_in.t_embedder.in_layer.weight"],
};

/** Whether a key is another model's, in a file that holds several: not ours to complain about. */
export function isElsewhere(key: string): boolean {
  return /^(ema|vae|first_stage_model|text_encoders|cond_stage_model|optimizer|lr_scheduler)\./.test(key);
}

/**
 * @throws CHECKPOINT_INVALID when it is no HunyuanVideo transformer, saying what it looks like; MODEL_UNSUPPORTED for its
 * descendants
 * @example layoutOf(checkpoint) // { layout: "comfyui", prefix: "model.diffusion_model." }
 */
export function layoutOf({ source, entries }: Checkpoint): { layout: DitLayout; prefix: string } {
  const family = familyOf(entries.keys());
  if (family !== undefined && family.part === undefined && /FramePack|1\.5/.test(family.name)) {
    const message = `${source}: this is ${family.name}, a later model on the same ideas; this version runs HunyuanVideo 1 only`;
    throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: family.name });
  }
  for (const layout of ditLayouts) {
    for (const anchor of anchors[layout]) {
      const found = [...entries.keys()].filter((key) => key === anchor || key.endsWith(`.${anchor}`));
      // Training checkpoints may hold averaged weights beside the model's own.
      const key = found.find((one) => !isElsewhere(one)) ?? found[0];
      if (key !== undefined) return { layout, prefix: key.slice(0, -anchor.length) };
    }
  }
  const message = `${source}: this is no HunyuanVideo transformer; ${describeFamily(entries.keys())}`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source });
}
