/** What text encoders a model has, from the headers of their files. */
import type { ModelParts } from "../models/model-folder.js";
import { type ClipConfig, clipLarge } from "../models/text/clip-config.js";
import { type LlamaConfig, llavaLlama3 } from "../models/text/llama-config.js";
import { openClip, openLlama } from "../models/text/load.js";

export interface TextConfigs {
  readonly llama: LlamaConfig;
  readonly clip: ClipConfig;
}

/** Those of the released model. */
export const releasedText: TextConfigs = { llama: llavaLlama3, clip: clipLarge };

/**
 * Undefined when the folder lacks one of them: prompts may come encoded.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED, FILE_ERROR for encoders that are there, but could not be loaded
 */
export async function textConfigs({ llama, clip }: ModelParts): Promise<TextConfigs | undefined> {
  if (llama === undefined || clip === undefined) return undefined;
  return { llama: (await openLlama(llama)).config, clip: (await openClip(clip)).config };
}
