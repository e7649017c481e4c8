/** From prompts to what the transformer reads: both text encoders with their tokenizers and templates. */
import { slice } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import { checkOneOf, checkOptions, invalid } from "../../tensor/check.js";
import { scope } from "../../tensor/scope.js";
import type { ClipText } from "./clip.js";
import { PromptEmbeddings, type PromptNotes } from "./embeddings.js";
import type { Llama } from "./llama.js";
import { type LoadTextOptions, loadClip, loadLlama, type TextParamsLoader } from "./load.js";
import {
  checkImageTokens,
  checkTemplate,
  type ImageTokens,
  imageTextStates,
  padded,
  textStates,
} from "./prompt-states.js";
import { applyTemplate, type PromptKind, pooledTextLength, promptTemplates } from "./templates.js";
import { type EncodedText, TextTokenizer } from "./tokenizer.js";

export type { ImageTokens } from "./prompt-states.js";

/** Where the encoders are; `findModelParts` finds them in a model's folder. */
export interface TextEncoderPaths {
  /** Folder or file of the language model's weights. */
  readonly llm: string;
  /** Folder with its tokenizer.json, or that file. */
  readonly llmTokenizer: string;
  /** Folder or file of CLIP's weights. */
  readonly clip: string;
  /** Folder with CLIP's tokenizer.json, or vocab.json and merges.txt; or that tokenizer.json. */
  readonly clipTokenizer: string;
}

export interface EncodePromptOptions {
  /** Which template the prompt is put into. Default "video". */
  readonly kind?: PromptKind;
  /** For the kind "imageToVideo" only, where it must be given. */
  readonly image?: ImageTokens | undefined;
  /** Aborting cancels what is queued and rejects with ABORTED; nothing stays behind. */
  readonly signal?: AbortSignal | undefined;
}

/** The parts of {@link TextEncoders}, where they are not loaded from files. */
export interface TextEncoderParts {
  readonly llama: Llama;
  readonly llmTokenizer: TextTokenizer;
  readonly clip: ClipText;
  readonly clipTokenizer: TextTokenizer;
}

/**
 * Both encoders. The released ones take 14.4 GB in bf16, so pipelines dispose of them before sampling.
 *
 * @example
 * const paths = { llm: "text_encoder", llmTokenizer: "tokenizer", clip: "text_encoder_2", clipTokenizer: "tokenizer_2" };
 * using encoders = await TextEncoders.load(paths, device, { dtype: "bf16" });
 * using embeddings = await encoders.encodePrompt("A cat walks on the grass, realistic style.");
 */
export class TextEncoders implements Disposable {
  readonly llama: Llama;
  readonly llmTokenizer: TextTokenizer;
  readonly clip: ClipText;
  readonly clipTokenizer: TextTokenizer;
  readonly device: Device;
  readonly #checked = new Set<PromptKind>();

  /** Takes over the parts: they are disposed of with it. */
  constructor(device: Device, { llama, llmTokenizer, clip, clipTokenizer }: TextEncoderParts) {
    this.device = device;
    this.llama = llama;
    this.llmTokenizer = llmTokenizer;
    this.clip = clip;
    this.clipTokenizer = clipTokenizer;
  }

  /**
   * Loads everything; of the language model only the layers that are computed.
   *
   * @param load in place of reading all parameters onto the device (to stream them, say)
   * @throws FILE_ERROR, CHECKPOINT_INVALID, MODEL_UNSUPPORTED, OUT_OF_MEMORY, ABORTED; nothing stays on the device then
   */
  static async load(
    paths: TextEncoderPaths,
    device: Device,
    options: LoadTextOptions = {},
    load?: TextParamsLoader,
  ): Promise<TextEncoders> {
    // Small things first: what they lack should not be found after reading 16 GB.
    const llmTokenizer = await TextTokenizer.load(paths.llmTokenizer);
    const clipTokenizer = await TextTokenizer.load(paths.clipTokenizer);
    const clip = await loadClip(paths.clip, device, options, load);
    try {
      const llama = await loadLlama(paths.llm, device, options, load);
      return new TextEncoders(device, { llama, llmTokenizer, clip, clipTokenizer });
    } catch (error) {
      clip.dispose();
      throw error;
    }
  }

  /**
   * States of one prompt; a negative prompt is encoded the same way. A prompt that is too long loses its end, and the
   * result's `notes` say so.
   *
   * @throws CHECKPOINT_INVALID when the tokenizer is not the one that the templates were cut for
   * @throws INVALID_ARGUMENT, ABORTED, OUT_OF_MEMORY
   */
  async encodePrompt(prompt: string, options: EncodePromptOptions = {}): Promise<PromptEmbeddings> {
    const [embeddings] = await this.encodePrompts([prompt], options);
    return embeddings as PromptEmbeddings;
  }

  /** States of several prompts, in one pass of each encoder (with pictures: one each); see {@link encodePrompt}. */
  async encodePrompts(prompts: readonly string[], options: EncodePromptOptions = {}): Promise<PromptEmbeddings[]> {
    checkOptions("encodePrompt", options);
    const { kind = "video", signal } = options;
    checkOneOf("encodePrompt", "kind", kind, Object.keys(promptTemplates));
    for (const prompt of prompts) {
      if (typeof prompt !== "string") throw invalid("encodePrompt", "prompt", prompt, "a string");
    }
    if (prompts.length === 0) return [];
    const all = this.#queue(prompts, kind, options.image);
    try {
      await this.device.sync(signal === undefined ? {} : { signal });
      return all;
    } catch (error) {
      for (const embeddings of all) embeddings.dispose();
      throw error;
    }
  }

  #queue(prompts: readonly string[], kind: PromptKind, image: ImageTokens | undefined): PromptEmbeddings[] {
    const template = promptTemplates[kind];
    if (!this.#checked.has(kind)) checkTemplate(this.llmTokenizer, kind, template);
    this.#checked.add(kind);
    const texts = prompts.map((prompt) => this.llmTokenizer.encode(applyTemplate(prompt, template), template));
    const pooledLimit = Math.min(pooledTextLength, this.clip.config.maxLength);
    const pooledTexts = prompts.map((prompt) => this.clipTokenizer.encode(prompt, { maxLength: pooledLimit }));
    return scope(() => {
      const pooled = this.clip.pooled(padded(pooledTexts, this.clip.config.eosTokenId));
      const states = this.#states(texts, kind, image);
      return prompts.map((prompt, i) => {
        const notes = notesOf(prompt, kind, texts[i] as EncodedText, pooledTexts[i] as EncodedText);
        return new PromptEmbeddings(states[i] as (typeof states)[number], slice(pooled, 0, i, i + 1), notes);
      });
    });
  }

  #states(texts: readonly EncodedText[], kind: PromptKind, image: ImageTokens | undefined) {
    const template = promptTemplates[kind];
    if (kind !== "imageToVideo") return textStates(this.llama, this.llmTokenizer, texts, template);
    checkImageTokens(image, this.llama);
    return texts.map((text) => scope(() => imageTextStates(this.llama, this.llmTokenizer, text, template, image)));
  }

  /** Gives the memory of both encoders back; embeddings stay. */
  dispose(): void {
    this.llama.dispose();
    this.clip.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function notesOf(prompt: string, kind: PromptKind, text: EncodedText, pooled: EncodedText): PromptNotes {
  const lost = (who: string, { tokens, length }: EncodedText) =>
    `${who} did not see the last ${tokens - length} tokens`;
  const cuts = [
    ...(text.truncated ? [lost("the language model", text)] : []),
    ...(pooled.truncated ? [lost("CLIP", pooled)] : []),
  ];
  const warning = cuts.length === 0 ? undefined : `the prompt is too long: ${cuts.join(", ")}`;
  return { prompt, kind, truncated: text.truncated, pooledTruncated: pooled.truncated, warning };
}
