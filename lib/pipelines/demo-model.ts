/** The small model that comes with the package. */
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { packageRoot } from "../runtime/binding.js";
import { HunyuanError } from "../runtime/errors.js";

/** Where it lies: HUNYUAN_DEMO_MODEL, for who ships it apart from the package, or models/demo of the package. */
export function demoModelFolder(): string {
  return resolve(process.env.HUNYUAN_DEMO_MODEL || join(packageRoot, "models", "demo"));
}

/**
 * The same, where there is something.
 *
 * @throws FILE_ERROR saying where it should be and what else to do
 */
export async function findDemoModel(): Promise<string> {
  const folder = demoModelFolder();
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory()) return folder;
  const op = "HunyuanVideo.load";
  const message =
    `${op}: no model is named, and the demo model is not at ${folder}. The published package has it; a checkout of the ` +
    'sources has it once it is trained (npm run train:demo). Or name a model: a folder, or "owner/name" on the hub';
  throw new HunyuanError("FILE_ERROR", message, { op, file: folder });
}
