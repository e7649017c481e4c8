/** The text encoders: hidden states, and what HunyuanVideo takes of them. B prompts, S tokens; padding is on the right. */
import { ClipText, clipSpec } from "../../../lib/models/text/clip.js";
import { clipConfigOfHf } from "../../../lib/models/text/clip-config.js";
import { Llama, llamaSpec } from "../../../lib/models/text/llama.js";
import { llamaConfigOfHf } from "../../../lib/models/text/llama-config.js";
import { scope, slice, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { Rule } from "../compare.js";
import type { Family, Outputs, RunOptions } from "./family.js";
import { caseParams } from "./parameters.js";

function rowsOf(from: ConformanceCase, name: string): number[][] {
  const { shape, data } = from.input(name);
  const [batch = 0, length = 0] = shape;
  return Array.from({ length: batch }, (_, b) => [...data.subarray(b * length, (b + 1) * length)]);
}

const named = (states: readonly Tensor[]): Outputs =>
  Object.fromEntries(states.map((state, i) => [`mid.hidden_states.${i}`, state]));

/** Rows with mask 0 need not agree. A cropped state has lost its first tokens, and so has the mask for it. */
function maskRule(from: ConformanceCase, name: string): Rule | undefined {
  const shape = from.stored.get(name)?.shape ?? [];
  const tokens = shape[1] ?? 0;
  if (shape.length !== 3) return undefined;
  const mask = rowsOf(from, "attention_mask");
  return {
    keepsRow: (row) => {
      const own = mask[Math.floor(row / tokens)] ?? [];
      return own[(row % tokens) + own.length - tokens] === 1;
    },
  };
}

function llamaOutputs(from: ConformanceCase, options: RunOptions): Outputs {
  const config = llamaConfigOfHf(from.withConfig("num_key_value_heads")?.about.config);
  using model = new Llama(config, caseParams(from, llamaSpec(config), options));
  const ids = rowsOf(from, "input_ids");
  const { hidden_state_skip_layer: skip } = from.about.hunyuan as { readonly hidden_state_skip_layer: number };
  const crop = Number(from.about.crop_start_here ?? 0);
  return scope(() => {
    const mask = rowsOf(from, "attention_mask").map((row) => row.slice(crop));
    return {
      ...named(model.hiddenStates(ids)),
      "out.hidden_state": slice(model.hiddenState(ids, { skip }), 1, crop),
      "out.attention_mask": { shape: [mask.length, mask[0]?.length ?? 0], data: mask.flat() },
    };
  });
}

function clipOutputs(from: ConformanceCase, options: RunOptions): Outputs {
  const config = clipConfigOfHf(from.about.config);
  using model = new ClipText(config, caseParams(from, clipSpec(config), options));
  const ids = rowsOf(from, "input_ids");
  return scope(() => ({ ...named(model.hiddenStates(ids)), "out.pooler_output": model.pooled(ids) }));
}

export const llama: Family = {
  name: "llama",
  fits: (from) => from.weight("embed_tokens.weight") !== undefined,
  outputs: llamaOutputs,
  rule: maskRule,
};

export const clip: Family = {
  name: "clip",
  fits: (from) => from.weight("text_model.embeddings.token_embedding.weight") !== undefined,
  outputs: clipOutputs,
  rule: maskRule,
};
