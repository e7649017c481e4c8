/** An autoencoder's files, opened and understood: all that loading needs. */
import { dirname, join } from "node:path";
import { openCheckpoint } from "../../io/checkpoint.js";
import { findJsonFile } from "../../io/json-file.js";
import type { Checkpoint } from "../../io/tensor-file.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import { HunyuanError } from "../../runtime/errors.js";
import { describeFamily } from "../families.js";
import { compareKeys, type KeyReport } from "../key-report.js";
import { type VaeConfig, vaePresets } from "./config.js";
import { vaeConfigOfReference } from "./reference-config.js";
import { vaeSpec } from "./spec.js";

export interface OpenedVae {
  readonly checkpoint: Checkpoint;
  readonly config: VaeConfig;
  readonly specs: readonly ParameterSpec[];
  readonly naming: Naming;
  /** What is wrong with the keys; loading refuses what is missing or misshapen. */
  readonly report: KeyReport;
}

/** In every file of one, after whatever prefix ("vae."). */
const anchor = "decoder.conv_in.conv.weight";

/**
 * Opens an autoencoder: a file, or a folder with one. What it is says the config.json beside it; without that it is taken
 * for the released one. Reads headers only.
 *
 * @throws CHECKPOINT_INVALID when it is none, saying what it looks like; FILE_ERROR, MODEL_UNSUPPORTED
 * @example const { checkpoint, specs, naming, config } = await openVae("./HunyuanVideo/vae");
 */
export async function openVae(path: string | Checkpoint): Promise<OpenedVae> {
  const checkpoint = typeof path === "string" ? await openCheckpoint(path) : path;
  const { source, files, entries } = checkpoint;
  const key = [...entries.keys()].find((name) => name === anchor || name.endsWith(`.${anchor}`));
  if (key === undefined) {
    const message = `${source}: this is no HunyuanVideo autoencoder; ${describeFamily(entries.keys())}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key: anchor });
  }
  const prefix = key.slice(0, -anchor.length);
  const json = await findJsonFile(join(dirname(files[0] ?? source), "config.json"));
  const config = json === undefined ? vaePresets["884-16c-hy"] : vaeConfigOfReference(json);
  const naming: Naming = ({ name, shape }) => [{ key: prefix + name, rows: shape[0] ?? 1 }];
  const specs = vaeSpec(config);
  const isOurs = (name: string) =>
    name.startsWith(prefix) && (prefix !== "" || /^(en|de)coder\.|quant_conv\./.test(name));
  return { checkpoint, config, specs, naming, report: compareKeys(entries, naming, specs, isOurs) };
}
