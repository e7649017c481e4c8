/** `hunyuan convert`: a checkpoint with other names, in another type, as safetensors. */
import { stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import { z } from "zod";
import { convertModel } from "../models/convert.js";
import { openDevice } from "../runtime/device.js";
import { type Options, onCall, type Session } from "./command.js";
import { UsageError } from "./errors.js";
import { showBytes } from "./format.js";
import { defined } from "./model-options.js";
import { bytesOf } from "./values.js";

const layouts = ["tencent", "diffusers", "comfyui"] as const;
const dtypes = ["f32", "bf16", "f16"] as const;
const shape = {
  output: z.string(),
  layout: z.enum(layouts),
  dtype: z.enum(dtypes),
  scaleMap: z.string(),
  shardBytes: z.union([z.number(), z.string().transform((value) => bytesOf(value))]),
} as const;

const examples = `
Examples:
  hunyuan convert mp_rank_00_model_states.pt --layout diffusers -o ./transformer
  hunyuan convert hunyuan_video_720_cfgdistill_bf16.safetensors --layout tencent --dtype f32 -o model.safetensors`;

export function addConvert(command: Command): void {
  command
    .argument("<from>", "a checkpoint's file, index or folder")
    .option("-o, --output <path>", "a file that ends in .safetensors, or a folder")
    .addOption(new Option("--layout <name>", "whose names are written (default: diffusers)").choices(layouts))
    .addOption(new Option("--dtype <type>", "of all weights (default: each as it is)").choices(dtypes))
    .option("--scale-map <file>", "scales of a published fp8 checkpoint, where they are not beside it")
    .addOption(new Option("--shard-bytes <bytes>", "split files above this (default: 5 GB)").argParser(bytesOf))
    .addHelpText("after", examples);
  onCall(command, shape, convert);
}

async function convert(
  { out, signal }: Session,
  options: Options<typeof shape>,
  [from = ""]: readonly (string | undefined)[],
) {
  const { output, layout = "diffusers", dtype, scaleMap, shardBytes } = options;
  if (output === undefined) throw new UsageError("where to write is not given: -o model.safetensors, or -o FOLDER");
  await using device = openDevice("cpu");
  const written = await convertModel(device, from, output, {
    layout,
    ...defined({ dtype, scaleMap, shardBytes }),
    signal,
    onProgress: ({ writtenBytes: done, totalBytes: total }) =>
      out.progress({ stage: "write", done, total, unit: "bytes" }),
  });
  const files = await Promise.all(written.map(async (path) => ({ path, bytes: (await stat(path)).size })));
  out.result(
    { files },
    files.map(({ path, bytes }) => `${path}: ${showBytes(bytes)}`),
  );
}
