/** Which file of a folder is the checkpoint: the names under which models are published. */
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileError, invalidCheckpoint } from "./failure.js";

/** In order of preference: an index says more than its shards, safetensors is safer than a pickle. */
const patterns: readonly RegExp[] = [
  /^(diffusion_pytorch_model|model)\.safetensors\.index\.json$/,
  /\.safetensors\.index\.json$/,
  /^(diffusion_pytorch_model|model)\.safetensors$/,
  /-\d{5}-of-\d{5}\.safetensors$/,
  /\.safetensors$/,
  /^mp_rank_00_model_states\.pt$/,
  /^pytorch_model\.(pt|bin)$/,
  /^pytorch_model_module\.pt$/,
  /\.(bin|pt|pth)\.index\.json$/,
  /\.(pt|pth|bin|ckpt)$/,
];
const shardName = /^(.*)-(\d{5})-of-(\d{5})(\.safetensors)$/;

/**
 * The checkpoint's file, or all its shards where there is no index.
 *
 * @throws CHECKPOINT_INVALID when there is none, more than one of the same rank, or a shard is missing
 */
export async function chooseFile(folder: string): Promise<readonly string[]> {
  let names: readonly string[];
  try {
    names = (await readdir(folder)).sort();
  } catch (error) {
    throw fileError("openCheckpoint", folder, error);
  }
  for (const pattern of patterns) {
    const found = names.filter((name) => pattern.test(name));
    const [first] = found;
    if (first === undefined) continue;
    if (shardName.test(first)) return completeShards(folder, first, found).map((name) => join(folder, name));
    if (found.length === 1) return [join(folder, first)];
    throw invalidCheckpoint(
      folder,
      `holds ${found.length} checkpoints (${found.slice(0, 8).join(", ")}); name one of them`,
      first,
    );
  }
  throw invalidCheckpoint(
    folder,
    `the folder holds no checkpoint; looked for *.safetensors, *.safetensors.index.json, mp_rank_00_model_states.pt, pytorch_model.pt`,
  );
}

function completeShards(folder: string, first: string, found: readonly string[]): readonly string[] {
  const [, stem = "", , total = ""] = shardName.exec(first) ?? [];
  const count = Number(total);
  const other = found.find((name) => !(name.startsWith(`${stem}-`) && name.endsWith(`-of-${total}.safetensors`)));
  if (other !== undefined) {
    throw invalidCheckpoint(
      folder,
      `holds shards of several checkpoints (${first}, ${other}); name an index or a file`,
      other,
    );
  }
  const has = new Set(found);
  for (let i = 1; i <= count; i++) {
    const name = `${stem}-${String(i).padStart(5, "0")}-of-${total}.safetensors`;
    if (!has.has(name))
      throw invalidCheckpoint(
        join(folder, basename(name)),
        `is missing; the folder holds ${found.length} of ${count} shards`,
        name,
      );
  }
  return found;
}
