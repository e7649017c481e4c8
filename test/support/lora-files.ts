/** One LoRA in each of the five spellings. */
import { ditNaming } from "../../lib/models/dit/naming.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import type { LoraStyle } from "../../lib/models/lora/styles.js";
import type { ParameterSpec } from "../../lib/nn/spec.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import type { FileTensor } from "./checkpoint-files.js";
import { f32Bytes, randomNumbers, tinyDit } from "./dit-files.js";

export const loraStyles: readonly LoraStyle[] = ["original", "kohya", "diffusers", "comfyui", "onetrainer"];
export const loraRank = 4;

/** The factors of a weight's change, under its released name. */
export interface LoraPair {
  readonly spec: ParameterSpec;
  readonly up: Float32Array;
  readonly down: Float32Array;
  readonly alpha: number;
}

/** Random pairs for these weights. */
export function loraPairs(
  specs: readonly ParameterSpec[],
  { alpha = loraRank, seed = 0 }: { readonly alpha?: number; readonly seed?: number } = {},
): LoraPair[] {
  return specs.map((spec, i) => ({
    spec,
    up: randomNumbers((spec.shape[0] ?? 0) * loraRank, seed + 1000 + i).map((v) => v / 4),
    down: randomNumbers(loraRank * sizeOf(spec.shape.slice(1)), seed + 2000 + i).map((v) => v / 4),
    alpha,
  }));
}

/** Weights that have matrices: all linear layers, and the patch embedding. */
export const loraTargets = ditSpec(tinyDit).filter(({ shape }) => shape.length >= 2);

interface Spelling {
  readonly layout: "tencent" | "diffusers" | "comfyui";
  readonly prefix: string;
  readonly flat: boolean;
  readonly down: string;
  readonly up: string;
  readonly alpha: boolean;
}

const spellings: { readonly [S in LoraStyle]: Spelling } = {
  original: { layout: "tencent", prefix: "diffusion_model.", flat: false, down: "lora_A", up: "lora_B", alpha: false },
  kohya: { layout: "tencent", prefix: "lora_unet_", flat: true, down: "lora_down", up: "lora_up", alpha: true },
  diffusers: { layout: "diffusers", prefix: "transformer.", flat: false, down: "lora_A", up: "lora_B", alpha: false },
  comfyui: {
    layout: "comfyui",
    prefix: "diffusion_model.",
    flat: false,
    down: "lora_down",
    up: "lora_up",
    alpha: true,
  },
  onetrainer: {
    layout: "diffusers",
    prefix: "lora_transformer_",
    flat: true,
    down: "lora_down",
    up: "lora_up",
    alpha: true,
  },
};

/** Styles without alpha have it in `up`. */
export function loraTensors(style: LoraStyle, pairs: readonly LoraPair[]): FileTensor[] {
  const { layout, prefix, flat, down, up, alpha } = spellings[style];
  const naming = ditNaming(layout, tinyDit);
  return pairs.flatMap((pair) => {
    const modules = new Map<string, { rows: number; parts: [number, Float32Array][] }>();
    const factor = alpha ? 1 : pair.alpha / loraRank;
    let at = 0;
    for (const { key, rows, start = 0 } of naming(pair.spec)) {
      const name = key.replace(/\.(weight|scale)$/, "");
      const module = modules.get(name) ?? { rows: 0, parts: [] };
      const values = pair.up.slice(at * loraRank, (at + rows) * loraRank).map((v) => v * factor);
      module.parts.push([start * loraRank, values]);
      module.rows = Math.max(module.rows, start + rows);
      modules.set(name, module);
      at += rows;
    }
    return [...modules].flatMap(([name, { rows, parts }]) => {
      const values = new Float32Array(rows * loraRank);
      for (const [to, part] of parts) values.set(part, to);
      const module = prefix + (flat ? name.replaceAll(".", "_") : name);
      return moduleTensors(module, { down, up, alpha }, pair, rows, values);
    });
  });
}

function moduleTensors(
  module: string,
  names: Pick<Spelling, "down" | "up" | "alpha">,
  { spec, down, alpha }: LoraPair,
  rows: number,
  up: Float32Array,
): FileTensor[] {
  const [, ...rest] = spec.shape;
  const ones = rest.slice(1).map(() => 1);
  return [
    { name: `${module}.${names.down}.weight`, dtype: "f32", shape: [loraRank, ...rest], data: f32Bytes(down) },
    { name: `${module}.${names.up}.weight`, dtype: "f32", shape: [rows, loraRank, ...ones], data: f32Bytes(up) },
    ...(names.alpha
      ? [{ name: `${module}.alpha`, dtype: "f32", shape: [], data: f32Bytes(Float32Array.of(alpha)) } as const]
      : []),
  ];
}
