/** What commands that make videos have in common: sizes, sampling, LoRAs. */
import type { Command } from "commander";
import { z } from "zod";
import { gathered, loraOf } from "./values.js";

const lora = z.union([
  z.string().transform((value) => loraOf(value)),
  z.strictObject({ path: z.string(), strength: z.number().default(1) }),
]);

/** Their options, when they come from a file. */
export const videoShape = {
  width: z.number(),
  height: z.number(),
  frames: z.number(),
  fps: z.number(),
  steps: z.number(),
  guidance: z.number(),
  trueCfg: z.number(),
  shift: z.number(),
  lora: z.array(lora),
} as const;

export function addLoraOption(command: Command): Command {
  const what = "a LoRA to fuse, again for more of them";
  return command.option("--lora <file[:strength]>", what, gathered(loraOf));
}
