/** Opens a checkpoint of any kind that the library reads: one file, the shards of an index, or the folder around them. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { HunyuanError } from "../runtime/errors.js";
import { fileError, invalidCheckpoint, shown } from "./failure.js";
import { type FileReader, withFile } from "./file-reader.js";
import { chooseFile } from "./model-folder.js";
import { type FileContents, readSafetensorsHeader } from "./safetensors.js";
import { readShardIndex } from "./shard-index.js";
import type { Checkpoint, CheckpointFormat, TensorEntry } from "./tensor-file.js";
import { readTorchZip, type TorchPart } from "./torch-zip.js";

export interface OpenCheckpointOptions {
  /** Which state dict of a torch file that holds several. Default: module, else ema, else state_dict, else the whole. */
  readonly part?: TorchPart;
}

/** Headers are small, so a few files at once are enough to hide a slow disk. */
const filesAtOnce = 8;

/**
 * Reads what a checkpoint says of its tensors; none of their bytes. What it is, its content decides: a safetensors file,
 * a file of torch.save, a `*.index.json` with its shards, or a folder that holds one of these.
 *
 * @throws FILE_ERROR for what cannot be opened
 * @throws CHECKPOINT_INVALID naming file and key, for what is malformed, cut off, or unsafe to read
 * @example (await openCheckpoint("./HunyuanVideo/transformer")).entries.get("img_in.proj.weight")?.shape
 */
export async function openCheckpoint(path: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint> {
  const source = resolve(path);
  const chosen = (await isFolder(source)) ? await chooseFile(source) : [source];
  const [first] = chosen;
  if (chosen.length > 1) return merge(source, await openAll(chosen, options));
  if (first === undefined) throw invalidCheckpoint(source, "the folder holds no checkpoint");
  const opened = await withFile(first, (reader) => openFile(reader, options));
  if (!("shards" in opened)) return merge(source, [opened]);
  return openShards(source, first, opened, options);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError("openCheckpoint", path, error);
  }
}

interface OpenedFile extends FileContents {
  readonly file: string;
  readonly format: CheckpointFormat;
}

interface ShardIndex {
  /** File names by key. */
  readonly shards: ReadonlyMap<string, string>;
}

async function openFile(reader: FileReader, options: OpenCheckpointOptions): Promise<OpenedFile | ShardIndex> {
  const file = reader.path;
  const kind = await kindOf(reader);
  if (kind === "index") return { shards: await readShardIndex(reader) };
  const contents =
    kind === "safetensors" ? await readSafetensorsHeader(reader) : await readTorchZip(reader, options.part);
  return { file, format: kind, ...contents };
}

/** By content: names lie. */
async function kindOf(reader: FileReader): Promise<CheckpointFormat | "index"> {
  const head = await reader.read(0, Math.min(9, reader.size), "the first bytes");
  const text = head.toString("latin1");
  if (text.startsWith("PK") && (head[2] === 3 || head[2] === 5)) return "torch";
  if (/^\s*\{/.test(text) && !(head.length >= 8 && head.readUInt32LE(4) === 0)) return "index";
  // A length below 2^32 has four zero bytes; a larger one is for the reader of the header to refuse.
  if (head.length >= 8 && (head.readUInt32LE(4) === 0 || text[8] === "{")) return "safetensors";
  const refuse = (what: string) => invalidCheckpoint(reader.path, what);
  if (text.startsWith("GGUF")) {
    throw new HunyuanError("MODEL_UNSUPPORTED", `${reader.path}: GGUF files are not read`, { what: "gguf" });
  }
  if (head[0] === 0x80) {
    throw refuse("is a bare pickle, as torch.save wrote before version 1.6; load it in PyTorch and save it again");
  }
  if (text.startsWith("version ")) {
    throw refuse("is a Git LFS pointer, not the file itself; fetch it with git lfs pull");
  }
  const what = reader.size === 0 ? "empty" : "neither safetensors, nor a file of torch.save, nor an index of shards";
  throw refuse(`is ${what}`);
}

/** The files, in order, a few at once. */
async function openAll(files: readonly string[], options: OpenCheckpointOptions): Promise<OpenedFile[]> {
  const opened: OpenedFile[] = [];
  for (let i = 0; i < files.length; i += filesAtOnce) {
    const some = files.slice(i, i + filesAtOnce).map(async (file) => {
      const one = await withFile(file, (reader) => openFile(reader, options));
      if ("shards" in one) throw invalidCheckpoint(file, "is an index of shards where a shard should be");
      return one;
    });
    // All of them end before one's error is thrown: none stays open behind the caller's back.
    for (const result of await Promise.allSettled(some)) {
      if (result.status === "rejected") throw result.reason;
      opened.push(result.value);
    }
  }
  return opened;
}

async function openShards(
  source: string,
  index: string,
  { shards }: ShardIndex,
  options: OpenCheckpointOptions,
): Promise<Checkpoint> {
  const folder = dirname(index);
  const names = [...new Set(shards.values())];
  const present = new Set(
    await readdir(folder).catch((error) => Promise.reject(fileError("openCheckpoint", folder, error))),
  );
  const missing = names.filter((name) => !present.has(name));
  if (missing.length > 0) {
    const first = missing.slice(0, 8).map(shown).join(", ");
    throw invalidCheckpoint(index, `${missing.length} of its ${names.length} shards are missing: ${first}`, missing[0]);
  }
  const opened = await openAll(
    names.map((name) => join(folder, name)),
    options,
  );
  const found = new Map(
    opened.map((one) => [basename(one.file), new Map(one.entries.map((entry) => [entry.name, entry]))]),
  );
  const entries = new Map<string, TensorEntry>();
  for (const [key, name] of shards) {
    const entry = found.get(name)?.get(key);
    if (entry === undefined)
      throw invalidCheckpoint(join(folder, name), `is not in this shard, though ${index} says so`, key);
    entries.set(key, entry);
  }
  return merge(source, opened, entries);
}

function merge(source: string, opened: readonly OpenedFile[], chosen?: ReadonlyMap<string, TensorEntry>): Checkpoint {
  const metadata = new Map<string, string>();
  const entries = new Map<string, TensorEntry>();
  for (const one of opened) {
    for (const [key, text] of one.metadata) metadata.set(key, text);
    if (chosen !== undefined) continue;
    for (const entry of one.entries) {
      const other = entries.get(entry.name);
      if (other !== undefined) throw invalidCheckpoint(one.file, `stands in ${other.file} too`, entry.name);
      entries.set(entry.name, entry);
    }
  }
  const format = opened[0]?.format ?? "safetensors";
  return { source, format, files: opened.map((one) => one.file), entries: chosen ?? entries, metadata };
}
