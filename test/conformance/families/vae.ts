/**
 * Encoding and decoding, whole or in tiles. What is done with an input its name says: `video`, `image`, `spatial_video`
 * are encoded, `latent`, `both_latent` decoded, and the results have the same beginning.
 */

import type { CausalVae } from "../../../lib/models/vae/model.js";
import { type ReferenceTiling, type Tiling, tilingOfReference } from "../../../lib/models/vae/tiling.js";
import { concat, permute, scope, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { channelsFirst, type Family, type Outputs, type RunOptions } from "./family.js";
import { type Collector, collect } from "./probe.js";
import { caseVae, clipInput, hasVae } from "./vae-model.js";

const inputName = /^in\.((?:(\w+)_)?(video|latent)|image)$/;

interface Job {
  readonly input: string;
  readonly encodes: boolean;
  /** What its results begin with: "", "image_", "spatial_", … */
  readonly prefix: string;
}

function jobsOf(from: ConformanceCase): Job[] {
  return [...from.stored.keys()].flatMap((name) => {
    const [, input, beginning, kind] = inputName.exec(name) ?? [];
    if (input === undefined) return [];
    const prefix = input === "image" ? "image_" : beginning === undefined ? "" : `${beginning}_`;
    return [{ input, encodes: kind !== "latent", prefix }];
  });
}

/** The original's settings, for the axes that the input's name speaks of; undefined in cases without tiles. */
function tilingFor(from: ConformanceCase, vae: CausalVae, prefix: string): Tiling | "off" {
  const { config } = from.about;
  if (config.tile_latent_min_size === undefined) return "off";
  const { frames, height, width } = tilingOfReference(vae.config, config as unknown as ReferenceTiling);
  if (prefix === "spatial_") return { height, width };
  if (prefix === "temporal_") return { frames };
  return { frames, height, width };
}

function run(from: ConformanceCase, vae: CausalVae, job: Job, options: RunOptions, probe: Collector["probe"]): Outputs {
  const { input, encodes, prefix } = job;
  // Intermediates are those of the main inputs, which have no prefix.
  const look = prefix === "" ? { probe } : {};
  const tiling = tilingFor(from, vae, prefix);
  return scope(() => {
    const x = clipInput(from, input, options);
    if (!encodes) return { [`out.${prefix}decoded`]: channelsFirst(vae.decode(x, { tiling, ...look })) };
    const { mean, logvar } = vae.encode(x, { tiling, ...look });
    return {
      [`out.${prefix}mean`]: channelsFirst(mean),
      [`out.${prefix}logvar`]: channelsFirst(logvar),
      [`out.${prefix}moments`]: channelsFirst(concat([mean, logvar], -1)),
    };
  });
}

/** [B, T, H, W, C] as [B, C, T, H, W]; tokens as they are. */
const asStored = (value: Tensor) => (value.rank === 5 ? permute(value, [0, 4, 1, 2, 3]) : value);

async function outputs(from: ConformanceCase, options: RunOptions): Promise<Outputs> {
  const { vae } = caseVae(from, options);
  const { probe, all } = collect(from, undefined, asStored);
  const made: { [name: string]: Outputs[string] } = {};
  try {
    for (const job of jobsOf(from)) Object.assign(made, run(from, vae, job, options, probe));
    Object.assign(made, await all());
  } finally {
    vae.dispose();
  }
  return made;
}

export const vae: Family = {
  name: "vae",
  fits: (from) => hasVae(from) && jobsOf(from).length > 0,
  outputs,
};
