/**
 * Tokenizers for small text encoders: a token for each word that the model knows, letters (UTF-8 bytes) for all others. Case
 * and the space before a word make no difference, so that a word is one thing to learn wherever it stands.
 */
import type { JsonObject } from "../../io/strict-json.js";
import { promptTemplates } from "./templates.js";

/** What a tokenizer's folder holds. */
export interface WordTokenizer {
  /** tokenizer.json */
  readonly json: JsonObject;
  /** tokenizer_config.json */
  readonly config: JsonObject;
  /** Rows of the encoder's embedding table. */
  readonly vocabSize: number;
}

/**
 * Words, single digits, runs of signs and of line ends. Spaces between them are dropped, but for the one before a digit: it
 * is a token for the released tokenizer, and the templates' heads are cut by the number of tokens.
 */
const pieces = /\p{L}+| (?=\p{N})|\p{N}|[^\s\p{L}\p{N}]+|\n+/gu;
const signs = [..."0123456789.,:;!?'\"()-", "\n", "\n\n"];

const kinds = {
  llama: {
    special: [
      "<|begin_of_text|>",
      "<|end_of_text|>",
      "<|start_header_id|>",
      "<|end_header_id|>",
      "<|eot_id|>",
      "<image>",
      "<pad>",
    ],
    roles: { bos_token: "<|begin_of_text|>", eos_token: "<|end_of_text|>", pad_token: "<pad>" },
    around: ["<|begin_of_text|>"],
    // What every prompt is put into.
    words: Object.values(promptTemplates).flatMap(({ head, tail }) => wordsIn((head + tail).replace(/<[^>]*>/g, " "))),
  },
  clip: {
    special: ["<|startoftext|>", "<|endoftext|>"],
    roles: { bos_token: "<|startoftext|>", eos_token: "<|endoftext|>", pad_token: "<|endoftext|>" },
    around: ["<|startoftext|>", "<|endoftext|>"],
    words: [],
  },
} as const satisfies { readonly [kind: string]: object };

/** The different pieces of a text that can be tokens, in the order in which they come. */
export function wordsIn(text: string): string[] {
  const found = text.normalize("NFC").toLowerCase().match(pieces) ?? [];
  return [...new Set(found)].filter((piece) => piece !== " ");
}

/**
 * A tokenizer whose words are one token each. The language model's makes of the templates' heads as many tokens as the
 * released one does; the end of text is the last id of CLIP's.
 *
 * @param kind whose special tokens it has
 * @param words the same words in the same order give the same ids
 * @example const { json, vocabSize } = wordTokenizer("llama", wordsIn("a red circle moves left"));
 */
export function wordTokenizer(kind: keyof typeof kinds, words: readonly string[]): WordTokenizer {
  const { special, roles, around, words: own } = kinds[kind];
  const bytes = byteSpellings();
  const spelled = [...signs, ...own, ...words.flatMap(wordsIn)].map((word) =>
    [...new TextEncoder().encode(` ${word}`)].map((byte) => bytes[byte]).join(""),
  );
  const vocab = Object.fromEntries([...new Set([...bytes, ...spelled])].map((token, id) => [token, id]));
  const first = Object.keys(vocab).length;
  const ids = new Map<string, number>(special.map((token, i) => [token, first + i]));
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...ids].map(([content, id]) => ({
      ...{ id, content, special: true, normalized: false, single_word: false, lstrip: false, rstrip: false },
    })),
    normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Lowercase" }] },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: pieces.source }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: processorOf(around, ids),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      // A word of the vocabulary is taken as it stands; what is none falls to its bytes, since nothing is merged.
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: true },
      vocab,
      merges: [],
    },
  };
  const config = { tokenizer_class: "PreTrainedTokenizerFast", clean_up_tokenization_spaces: false, ...roles };
  return { json, config, vocabSize: first + special.length };
}

/** Puts one special token before the text and, where there are two, the other behind it. */
function processorOf([before, after]: readonly string[], ids: ReadonlyMap<string, number>): JsonObject {
  const special = (id: string | undefined, type_id: number) =>
    id === undefined ? [] : [{ SpecialToken: { id, type_id } }];
  const text = (id: string, type_id: number) => [
    ...special(before, type_id),
    { Sequence: { id, type_id } },
    ...special(after, type_id),
  ];
  const tokens = [before, after].flatMap((id) =>
    id === undefined ? [] : [[id, { id, ids: [ids.get(id)], tokens: [id] }]],
  );
  return {
    type: "TemplateProcessing",
    single: text("A", 0),
    pair: [...text("A", 0), ...text("B", 1)],
    special_tokens: Object.fromEntries(tokens),
  };
}

/** How byte-level tokenizers write each byte: printable ones as themselves, the others as letters from U+0100 on. */
function byteSpellings(): string[] {
  const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}
