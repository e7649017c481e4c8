/** Small text encoders to train together with a transformer. */
import { ClipText, clipSpec } from "../../models/text/clip.js";
import type { ClipConfig } from "../../models/text/clip-config.js";
import { Llama, layersForSkip, llamaSpec } from "../../models/text/llama.js";
import { hiddenStateSkipLayer, type LlamaConfig } from "../../models/text/llama-config.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { type InitialOptions, initialParams, one, type Start, zero } from "./start.js";

/** As Hugging Face's models begin: norms one, biases zero, all else normal. */
function startOf({ name }: ParameterSpec): Start {
  if (/norm\d?\.weight$/.test(name)) return one;
  return name.endsWith(".bias") ? zero : { kind: "normal", std: 0.02 };
}

/** A language model without the layers at its end that HunyuanVideo does not read. */
export function initialLlama(config: LlamaConfig, options: InitialOptions): Llama {
  const specs = llamaSpec(config, { numLayers: layersForSkip(config, hiddenStateSkipLayer) });
  return new Llama(config, initialParams(specs, startOf, options));
}

/** A CLIP text model. */
export function initialClip(config: ClipConfig, options: InitialOptions): ClipText {
  return new ClipText(config, initialParams(clipSpec(config), startOf, options));
}
