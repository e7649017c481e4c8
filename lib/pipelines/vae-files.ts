/** An autoencoder's files, opened and understood: all that loading needs. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openCheckpoint } from "../io/checkpoint.js";
import type { Checkpoint } from "../io/tensor-file.js";
import { describeFamily } from "../models/families.js";
import { type VaeConfig, vaePresets } from "../models/vae/config.js";
import { vaeConfigOfReference } from "../models/vae/reference-config.js";
import { vaeSpec } from "../models/vae/spec.js";
import type { Naming, ParameterSpec } from "../nn/spec.js";
import { HunyuanError } from "../runtime/errors.js";

export interface OpenedVae {
  readonly checkpoint: Checkpoint;
  readonly config: VaeConfig;
  readonly specs: readonly ParameterSpec[];
  readonly naming: Naming;
}

/** In every naming of the autoencoder, after whatever prefix. */
const anchor = "decoder.conv_in.conv.weight";

/**
 * Opens an autoencoder: a file, or a folder with one and its config.json; without that it is taken for the released one.
 *
 * @throws CHECKPOINT_INVALID, FILE_ERROR, MODEL_UNSUPPORTED
 */
export async function openVae(path: string): Promise<OpenedVae> {
  const checkpoint = await openCheckpoint(path);
  const { source, files, entries } = checkpoint;
  const key = [...entries.keys()].find((name) => name === anchor || name.endsWith(`.${anchor}`));
  if (key === undefined) {
    const message = `${source}: this is no HunyuanVideo autoencoder; ${describeFamily(entries.keys())}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key: anchor });
  }
  const prefix = key.slice(0, -anchor.length);
  const json = await configBeside(dirname(files[0] ?? source));
  const config = json === undefined ? vaePresets["884-16c-hy"] : vaeConfigOfReference(json);
  const naming: Naming = ({ name, shape }) => [{ key: prefix + name, rows: shape[0] ?? 1 }];
  return { checkpoint, config, specs: vaeSpec(config), naming };
}

async function configBeside(folder: string): Promise<unknown> {
  const file = join(folder, "config.json");
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `${file}: is no JSON: ${String(cause)}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file }, { cause });
  }
}
