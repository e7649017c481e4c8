/** A transformer's files, opened and understood: all that loading needs. */
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openCheckpoint } from "../../io/checkpoint.js";
import { findJsonFile } from "../../io/json-file.js";
import type { Checkpoint } from "../../io/tensor-file.js";
import type { ParameterSpec } from "../../nn/spec.js";
import type { DType } from "../../tensor/dtype.js";
import { type DetectedDit, detectDit, examineDit } from "./detect.js";
import { fp8KindOf, planFp8, scaleMapCandidates, withScales } from "./fp8.js";
import type { DitHintOptions } from "./hints.js";
import { layoutOf } from "./layout.js";

export interface OpenDitOptions extends DitHintOptions {
  /** The file with the scales of a published fp8 checkpoint. Default: looked for beside the weights. */
  readonly scaleMap?: string | undefined;
}

export interface OpenedDit extends DetectedDit {
  /** With the scales of fp8 weights among its entries. */
  readonly checkpoint: Checkpoint;
  /** For loadParams: what stays in a type of its own. */
  readonly keep: (spec: ParameterSpec) => DType | undefined;
}

/**
 * Opens a transformer: a file, a sharded index, or a folder with one. Reads headers, a config.json beside them and the
 * names of fp8 scales, no weights.
 *
 * @throws CHECKPOINT_INVALID, FILE_ERROR, MODEL_UNSUPPORTED, as openCheckpoint and detectDit
 * @example
 * const { checkpoint, specs, naming, keep, config } = await openDit(path);
 * const model = new HunyuanDit(config, await loadParams(device, checkpoint, specs, naming, { dtype: "bf16", keep }));
 */
export async function openDit(path: string | Checkpoint, options: OpenDitOptions = {}): Promise<OpenedDit> {
  const { checkpoint, hints } = await openDitFiles(path, options);
  const detected = detectDit(checkpoint, hints);
  const { specs, keep } = planFp8(checkpoint, detected.naming, detected.specs);
  return { ...detected, specs, keep, checkpoint };
}

/**
 * The same for looking only: incomplete and misshapen files are reported, not refused.
 *
 * @throws CHECKPOINT_INVALID, FILE_ERROR, MODEL_UNSUPPORTED
 */
export async function examineDitFiles(path: string | Checkpoint, options: OpenDitOptions = {}): Promise<DetectedDit> {
  const { checkpoint, hints } = await openDitFiles(path, options);
  return examineDit(checkpoint, hints);
}

async function openDitFiles(path: string | Checkpoint, options: OpenDitOptions) {
  const found = typeof path === "string" ? await openCheckpoint(path) : path;
  const { prefix } = layoutOf(found);
  const checkpoint = withScales(found, prefix, await openScaleMap(found, options.scaleMap));
  return { checkpoint, hints: { ...options, configJson: options.configJson ?? (await configBeside(found)) } };
}

async function openScaleMap(checkpoint: Checkpoint, given: string | undefined): Promise<Checkpoint | undefined> {
  if (given !== undefined) return openCheckpoint(given);
  const [file] = checkpoint.files;
  if (file === undefined || fp8KindOf(checkpoint) === "none") return undefined;
  for (const candidate of scaleMapCandidates(file)) if (await isFile(candidate)) return openCheckpoint(candidate);
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ?? false;
}

/** diffusers' config.json of the transformer; other projects' files of that name say nothing that is asked for here. */
async function configBeside({ source, files }: Checkpoint): Promise<unknown> {
  const folders = new Set([source, dirname(files[0] ?? source)]);
  for (const folder of folders) {
    const json = await findJsonFile(join(folder, "config.json"));
    if (typeof json?._class_name === "string" && json._class_name.startsWith("HunyuanVideo")) return json;
  }
  return undefined;
}
