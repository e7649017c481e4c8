/** The index of a checkpoint in several files: `*.safetensors.index.json` (or `*.bin.index.json`), as Hugging Face writes it. */
import { invalidCheckpoint, shown } from "./failure.js";
import type { FileReader } from "./file-reader.js";
import { isJsonObject, parseStrictJson } from "./strict-json.js";

const maxIndexBytes = 16 * 2 ** 20;
const maxShards = 512;

/**
 * File names by key. Shards lie beside the index: a name with a path in it is refused, since an index from elsewhere
 * must not point at files of this machine.
 *
 * @throws CHECKPOINT_INVALID naming the file and the key
 */
export async function readShardIndex(reader: FileReader): Promise<ReadonlyMap<string, string>> {
  const { path, size } = reader;
  if (size > maxIndexBytes)
    throw invalidCheckpoint(path, `an index of ${size} bytes, at most ${maxIndexBytes} are read`);
  const index = parseStrictJson(path, "the index", await reader.read(0, size, "the index"));
  const map = index.weight_map;
  if (!isJsonObject(map)) throw invalidCheckpoint(path, "is JSON, but no index of shards: it has no weight_map");
  const shards = new Map<string, string>();
  for (const [key, name] of Object.entries(map)) {
    if (typeof name !== "string" || !isPlainName(name)) {
      const what = typeof name === "string" ? shown(name) : "no text";
      throw invalidCheckpoint(path, `its shard is ${what}, expected the name of a file beside the index`, key);
    }
    shards.set(key, name);
  }
  const count = new Set(shards.values()).size;
  if (count === 0 || count > maxShards)
    throw invalidCheckpoint(path, `names ${count} shards, expected 1 … ${maxShards}`);
  return shards;
}

function isPlainName(name: string): boolean {
  // No separators of any system, no control characters, and nothing that means a folder.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return name.length > 0 && name.length <= 255 && !/[/\\:\x00-\x1f]/.test(name) && !name.startsWith(".");
}
