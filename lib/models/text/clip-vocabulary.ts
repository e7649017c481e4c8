/**
 * CLIP's tokenizer from `vocab.json` and `merges.txt`: what folders hold that were saved by the tokenizer written in Python
 * (`tokenizer_2` in the diffusers layout), in place of a tokenizer.json.
 */
import { join } from "node:path";
import { invalidCheckpoint } from "../../io/failure.js";
import { findJsonFile, textOfFile } from "../../io/json-file.js";
import type { JsonObject } from "../../io/strict-json.js";

const startOfText = "<|startoftext|>";
const endOfText = "<|endoftext|>";

/** How text is cut into words before merging: facts of CLIP's tokenizer, as its published tokenizer.json has them. */
const words = {
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "NFC" },
      { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
      { type: "Lowercase" },
    ],
  },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      {
        type: "Split",
        pattern: { Regex: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" },
        behavior: "Removed",
        invert: true,
      },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true },
    ],
  },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true },
} as const;

/** The equivalent tokenizer.json, or undefined when the folder has no vocab.json. */
export async function clipTokenizerJson(folder: string): Promise<JsonObject | undefined> {
  const file = join(folder, "vocab.json");
  const vocab = await findJsonFile(file);
  if (vocab === undefined) return undefined;
  const [start, end] = [startOfText, endOfText].map((token) => {
    const id = vocab[token];
    if (typeof id === "number") return id;
    const message = "is missing; only CLIP's tokenizer is made of a vocab.json, others need a tokenizer.json";
    throw invalidCheckpoint(file, message, token);
  });
  const merges = await readMerges(join(folder, "merges.txt"));
  const plain = { single_word: false, lstrip: false, rstrip: false, special: true };
  return {
    version: "1.0",
    ...words,
    added_tokens: [
      { ...plain, id: start, content: startOfText, normalized: true },
      { ...plain, id: end, content: endOfText, normalized: false },
    ],
    post_processor: {
      type: "RobertaProcessing",
      sep: [endOfText, end],
      cls: [startOfText, start],
      trim_offsets: false,
      add_prefix_space: false,
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: endOfText,
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}

/** A merge a line, most frequent first, after a line with the version. */
async function readMerges(file: string): Promise<readonly string[]> {
  const lines = (await textOfFile(file)).split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version"));
  const wrong = lines.findIndex((line) => line.split(" ").length !== 2);
  if (wrong >= 0) throw invalidCheckpoint(file, `merge ${wrong + 1} is not two tokens with a space between`);
  return lines;
}
