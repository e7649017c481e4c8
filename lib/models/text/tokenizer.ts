/** Text to token ids, through the tokenizer.json that comes with an encoder. */
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { fileError, invalidCheckpoint } from "../../io/failure.js";
import { findJsonFile, readJsonFile } from "../../io/json-file.js";
import { isJsonObject, type JsonObject } from "../../io/strict-json.js";
import { HunyuanError } from "../../runtime/errors.js";
import { checkNumber, invalid } from "../../tensor/check.js";
import { clipTokenizerJson } from "./clip-vocabulary.js";

/** What is used of the library, whose own declarations do not resolve in an ESM project. */
interface Library {
  encode(text: string, options?: { readonly add_special_tokens?: boolean }): { readonly ids: readonly number[] };
  decode(ids: readonly number[], options: { readonly clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
}

export interface EncodeTextOptions {
  /** Tokens at most, special ones included; the end of the text is cut off, special tokens after it stay. */
  readonly maxLength: number;
  /** Fills up to maxLength with padding on the right. Default false. */
  readonly pad?: boolean;
}

export interface EncodedText {
  readonly ids: readonly number[];
  /** Ids that are not padding; they come first. */
  readonly length: number;
  /** How many they would be without the limit. */
  readonly tokens: number;
  /** Whether the end of the text was cut off. */
  readonly truncated: boolean;
}

/**
 * A tokenizer of the text encoders.
 *
 * @example
 * const tokenizer = await TextTokenizer.load("./HunyuanVideo/tokenizer");
 * const { ids, truncated } = tokenizer.encode("a cat", { maxLength: 77 });
 */
export class TextTokenizer {
  /** What it was made from, for messages. */
  readonly source: string;
  /** Id that right padding is made of. */
  readonly padId: number;
  readonly #tokenizer: Library;

  /**
   * @param json the contents of tokenizer.json
   * @param config those of tokenizer_config.json, where there is one
   * @throws CHECKPOINT_INVALID when the library cannot make a tokenizer of it
   */
  constructor(json: JsonObject, config: JsonObject = {}, source = "tokenizer.json") {
    this.source = source;
    try {
      this.#tokenizer = new Tokenizer(json, config);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new HunyuanError(
        "CHECKPOINT_INVALID",
        `${source}: no tokenizer can be made of it: ${reason}`,
        { file: source },
        { cause },
      );
    }
    const pad = [config.pad_token, config.eos_token].map(contentOf).find((token) => token !== undefined);
    this.padId = (pad === undefined ? undefined : this.idOf(pad)) ?? 0;
  }

  /**
   * From a folder with tokenizer.json (and tokenizer_config.json), or with CLIP's vocab.json and merges.txt; or from a
   * tokenizer.json itself.
   *
   * @throws FILE_ERROR when neither is there
   * @throws CHECKPOINT_INVALID for files that are no tokenizer
   */
  static async load(path: string): Promise<TextTokenizer> {
    const isFile = await isFileAt(path);
    const folder = isFile ? dirname(path) : path;
    const file = isFile ? path : join(folder, "tokenizer.json");
    const json = isFile ? await readJsonFile(file) : ((await findJsonFile(file)) ?? (await clipTokenizerJson(folder)));
    if (json === undefined) {
      const message =
        `${folder}: no tokenizer.json here (nor CLIP's vocab.json and merges.txt). Copy it from the encoder's own ` +
        "repository (xtuner/llava-llama-3-8b-v1_1-transformers, openai/clip-vit-large-patch14), or name the folder that has it";
      throw new HunyuanError("FILE_ERROR", message, { op: "TextTokenizer", file });
    }
    return new TextTokenizer(json, await findJsonFile(join(folder, "tokenizer_config.json")), file);
  }

  /** Id of a token by its spelling; undefined when the vocabulary has none such. */
  idOf(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token);
  }

  /** The text of some ids, special tokens included. */
  decode(ids: readonly number[]): string {
    return ids.length === 0 ? "" : this.#tokenizer.decode(ids, { clean_up_tokenization_spaces: false });
  }

  /**
   * Ids of a text with the special tokens that its encoder expects around it.
   *
   * @throws INVALID_ARGUMENT for what is no string, or a maxLength that leaves no room for text
   * @throws CHECKPOINT_INVALID when the vocabulary lacks a part of the text and has no token for the unknown
   */
  encode(text: string, options: EncodeTextOptions): EncodedText {
    if (typeof text !== "string") throw invalid("encode", "text", text, "a string");
    const { maxLength, pad = false } = options;
    checkNumber("encode", "maxLength", maxLength, { whole: true, min: 1 });
    const whole = this.#ids(text, this.#tokenizer.encode(text));
    const truncated = whole.length > maxLength;
    const ids = truncated ? this.#truncate(text, whole, maxLength) : whole;
    const padding = pad ? Array.from({ length: maxLength - ids.length }, () => this.padId) : [];
    return { ids: [...ids, ...padding], length: ids.length, tokens: whole.length, truncated };
  }

  #ids(text: string, { ids }: ReturnType<Library["encode"]>): readonly number[] {
    const unknown = ids.findIndex((id) => !Number.isInteger(id));
    if (unknown < 0) return ids;
    const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
    throw invalidCheckpoint(this.source, `its vocabulary does not cover ${shown} (token ${unknown + 1})`);
  }

  /** Special tokens before and after the text stay; the text loses its end. */
  #truncate(text: string, whole: readonly number[], maxLength: number): readonly number[] {
    const bare = this.#ids(text, this.#tokenizer.encode(text, { add_special_tokens: false }));
    const added = whole.length - bare.length;
    if (added >= maxLength) throw invalid("encode", "maxLength", maxLength, `more than the ${added} special tokens`);
    let before = 0;
    while (before < added && bare.some((id, i) => whole[before + i] !== id)) before++;
    const after = whole.slice(before + bare.length);
    return [...whole.slice(0, before), ...bare.slice(0, maxLength - added), ...after];
  }
}

/** A special token of tokenizer_config.json: its spelling, or an object around that. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return isJsonObject(token) && typeof token.content === "string" ? token.content : undefined;
}

async function isFileAt(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    throw fileError("TextTokenizer", path, error);
  }
}
