/** A trained autoencoder as a folder that loads like the released one. */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileError } from "../../io/failure.js";
import { vaeConfigJson } from "../../models/convert.js";
import type { CausalVae } from "../../models/vae/model.js";
import { vaeSpec } from "../../models/vae/spec.js";
import { saveParams } from "../../nn/save.js";
import type { FloatDType } from "../../tensor/dtype.js";

/**
 * Writes diffusion_pytorch_model.safetensors and diffusers' config.json.
 *
 * @returns the files
 * @throws FILE_ERROR
 * @example await saveVae(vae, "models/demo/vae", { dtype: "bf16" });
 */
export async function saveVae(
  { config, params }: CausalVae,
  folder: string,
  {
    dtype,
    metadata,
  }: {
    readonly dtype?: FloatDType | undefined;
    /** Free text for the weights' file, such as their licence. */
    readonly metadata?: Readonly<Record<string, string>> | undefined;
  } = {},
): Promise<readonly string[]> {
  const target = resolve(folder);
  const json = join(target, "config.json");
  try {
    await mkdir(target, { recursive: true });
    const weights = join(target, "diffusion_pytorch_model.safetensors");
    const files = await saveParams(params, vaeSpec(config), weights, { metadata, dtype: () => dtype });
    await writeFile(json, `${JSON.stringify(vaeConfigJson(config, "diffusers"), null, 2)}\n`);
    return [...files, json];
  } catch (error) {
    throw fileError("saveVae", target, error);
  }
}
