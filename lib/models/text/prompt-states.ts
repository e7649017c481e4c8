/** The language model's part: prompts in their template, through the model, and the rows that the transformer reads. */
import { concat } from "../../ops/concat.js";
import { cast } from "../../ops/copy.js";
import { gather } from "../../ops/layout.js";
import { slice, unsqueeze } from "../../ops/views.js";
import { HunyuanError } from "../../runtime/errors.js";
import { checkNumber, checkTensor, invalid } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Llama } from "./llama.js";
import { hiddenStateSkipLayer } from "./llama-config.js";
import { imageSlot, type PromptKind, type PromptTemplate } from "./templates.js";
import type { TokenBatch } from "./token-batch.js";
import type { EncodedText, TextTokenizer } from "./tokenizer.js";

/** A picture as the language model sees it: the projected tokens of LLaVA's vision tower, which is not part of this library. */
export interface ImageTokens {
  /** [576, C], C the language model's width; any float type. */
  readonly states: Tensor;
  /** Every n-th of the picture's states goes on to the transformer (`imageInterleave`). Default 1: all of them. */
  readonly interleave?: number;
}

/** Ids of several prompts, filled up on the right to the longest. */
export function padded(texts: readonly EncodedText[], padId: number): TokenBatch {
  const longest = Math.max(...texts.map(({ ids }) => ids.length));
  return texts.map(({ ids }) => [...ids, ...Array.from({ length: longest - ids.length }, () => padId)]);
}

/**
 * The template's cut is a number of tokens: with another tokenizer, or one that adds no begin-of-text, it would take
 * something of the prompt, or leave something of the head.
 *
 * @throws CHECKPOINT_INVALID
 */
export function checkTemplate(tokenizer: TextTokenizer, kind: PromptKind, { head, cropStart }: PromptTemplate): void {
  const { ids } = tokenizer.encode(head, { maxLength: 8 * head.length });
  const needsSlot = kind === "imageToVideo";
  const image = tokenizer.idOf(imageSlot.token);
  const hasSlot = image !== undefined && ids.indexOf(image) === imageSlot.start;
  if (ids.length === cropStart && (hasSlot || !needsSlot)) return;
  const seen = ids.length === cropStart ? `no ${imageSlot.token} at place ${imageSlot.start}` : `${ids.length} tokens`;
  const message =
    `${tokenizer.source}: makes ${seen} of the head of the template "${kind}", where the weights were trained with ` +
    `${cropStart} tokens; take the tokenizer of llava-llama-3-8b-v1_1-transformers, which adds <|begin_of_text|>`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: tokenizer.source });
}

/** States of each prompt [1, L, C]: its own tokens and the template's end. One pass for all of them. */
export function textStates(
  llama: Llama,
  tokenizer: TextTokenizer,
  texts: readonly EncodedText[],
  { cropStart }: PromptTemplate,
): Tensor<FloatDType>[] {
  const states = llama.hiddenState(padded(texts, tokenizer.padId), { skip: hiddenStateSkipLayer });
  // Copies: as views they would keep the rows of head and padding in memory.
  return texts.map(({ length }, i) => concat([slice(slice(states, 0, i, i + 1), 1, cropStart, length)]));
}

/**
 * The same as one tensor [B, L, C], with the template's head computed once for all prompts: for training, where it would be
 * most of the work. What stands behind a prompt's own length means nothing, and the last bits may differ from those of
 * {@link textStates}.
 */
export function textStatesAfterHead(
  llama: Llama,
  tokenizer: TextTokenizer,
  texts: readonly EncodedText[],
  { cropStart }: PromptTemplate,
): Tensor<FloatDType> {
  const rows = padded(texts, tokenizer.padId);
  const prompts = rows.map((row) => row.slice(cropStart));
  return llama.hiddenStateAfter(rows[0]?.slice(0, cropStart) ?? [], prompts, { skip: hiddenStateSkipLayer });
}

/**
 * States of a prompt with a picture [1, ⌈576 / interleave⌉ + L, C]: those of the picture, of the prompt, and of the last
 * double return. End of prompt and the assistant's header are left out; where the end was cut off, four tokens of what is
 * left are, as in the original.
 *
 * @see Tencent/HunyuanVideo-I2V, hyvideo/text_encoder
 */
export function imageTextStates(
  llama: Llama,
  tokenizer: TextTokenizer,
  { ids, length, truncated }: EncodedText,
  { cropStart }: PromptTemplate,
  { states, interleave = 1 }: ImageTokens,
): Tensor<FloatDType> {
  const { start, length: pictureLength, doubleReturn, assistantLength } = imageSlot;
  // The picture's tokens take the place of one: what follows moves by the rest.
  const shift = pictureLength - 1;
  const before = llama.embed([ids.slice(0, start)]);
  const after = llama.embed([ids.slice(start + 1)]);
  const input = concat([before, unsqueeze(cast(states, before.dtype), 0), after], 1);
  const output = llama.hiddenState(input, { skip: hiddenStateSkipLayer });
  const last = truncated ? length : lastOf(tokenizer, ids, doubleReturn);
  const picked = Array.from({ length: Math.ceil(pictureLength / interleave) }, (_, i) => start + i * interleave);
  return concat(
    [
      gather(output, tensor(Int32Array.from(picked), { dtype: "i32", device: output.device }), { axis: 1 }),
      slice(output, 1, cropStart + shift, last + shift - assistantLength),
      slice(output, 1, last + shift),
    ],
    1,
  );
}

/** Place of the last token that is this text alone. */
function lastOf(tokenizer: TextTokenizer, ids: readonly number[], text: string): number {
  const token = tokenizer.encode(text, { maxLength: text.length + 8 }).ids.at(-1);
  return token === undefined ? -1 : ids.lastIndexOf(token);
}

/** Throws unless the picture is one that the language model can take. */
export function checkImageTokens(image: ImageTokens | undefined, { config }: Llama): asserts image is ImageTokens {
  const op = "encodePrompt";
  if (typeof image !== "object" || image === null) {
    throw invalid(
      op,
      "image",
      image,
      '{ states } for the kind "imageToVideo"; without a picture take the kind "video"',
    );
  }
  const { states, interleave = 1 } = image;
  checkTensor(op, "image.states", states);
  checkNumber(op, "image.interleave", interleave, { whole: true, min: 1, max: imageSlot.length });
  const expected = `[${imageSlot.length}, ${config.hiddenSize}]`;
  if (states.rank === 2 && states.shape[0] === imageSlot.length && states.shape[1] === config.hiddenSize) return;
  throw invalid(op, "image.states", [...states.shape], expected);
}
