/** Text conditions that are made while gradients are recorded: for text encoders that learn together with the transformer. */
import type { TextEncoders } from "../models/text/encode.js";
import { padded, textStatesAfterHead } from "../models/text/prompt-states.js";
import { applyTemplate, pooledTextLength, promptTemplates } from "../models/text/templates.js";
import { invalid } from "../runtime/check.js";
import { scope } from "../tensor/scope.js";
import type { TextCondition } from "./objective.js";

/**
 * What `encodePrompts` gives, as one batch and at once: nothing is waited for, and where the encoders' parameters are
 * leaves, gradients flow back into them. Padding follows the text.
 *
 * @throws INVALID_ARGUMENT for no prompts
 * @example
 * const trained = new ParameterSet([...selectedOf(dit.params), ...selectedOf(encoders.llama.params, { prefix: "llama." })]);
 * const losses = velocityLosses(dit, { ...conditionsOf(encoders, captions), latents, noise, sigmas, dtype: "f32" });
 */
export function conditionsOf(encoders: TextEncoders, prompts: readonly string[]): TextCondition {
  if (prompts.length === 0) throw invalid("conditionsOf", "prompts", prompts, "at least one");
  const { llama, llmTokenizer, clip, clipTokenizer } = encoders;
  const template = promptTemplates.video;
  const texts = prompts.map((prompt) => llmTokenizer.encode(applyTemplate(prompt, template), template));
  const maxLength = Math.min(pooledTextLength, clip.config.maxLength);
  const pooledTexts = prompts.map((prompt) => clipTokenizer.encode(prompt, { maxLength }));
  return scope(() => ({
    text: textStatesAfterHead(llama, llmTokenizer, texts, template),
    textLengths: texts.map(({ length }) => length - template.cropStart),
    pooled: clip.pooled(padded(pooledTexts, clip.config.eosTokenId)),
  }));
}
