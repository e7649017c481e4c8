/** `hunyuan estimate`: what a request will take, stage by stage, before anything is loaded. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { modelDefaults } from "../models/defaults.js";
import { ditPresets } from "../models/dit/config.js";
import { openDit } from "../models/dit/open.js";
import { findModelParts, requireParts } from "../models/model-folder.js";
import { openVae } from "../models/vae/open.js";
import { type Estimate, type EstimatedModel, type EstimateRequest, estimateRequest } from "../pipelines/estimate.js";
import { resolveSource } from "../pipelines/source.js";
import { releasedText, textConfigs } from "../pipelines/text-files.js";
import { type Options, onCall, type Session } from "./command.js";
import { tilingNames } from "./decode.js";
import { UsageError } from "./errors.js";
import { showBytes, showFlops, table } from "./format.js";
import { defined } from "./model-options.js";
import { bytesOf, numberOf, wholeOf } from "./values.js";

const dtypes = ["f32", "bf16", "f16"] as const;
const variants = Object.keys(ditPresets) as (keyof typeof ditPresets)[];
const shape = {
  model: z.string(),
  variant: z.enum(variants),
  width: z.number(),
  height: z.number(),
  frames: z.number(),
  steps: z.number(),
  trueCfg: z.number(),
  videos: z.number(),
  dtype: z.enum(dtypes),
  vaeDtype: z.enum(dtypes),
  textDtype: z.enum(dtypes),
  offload: z.enum(["none", "blocks"]),
  memoryLimit: z.union([z.number(), z.string().transform((value) => bytesOf(value))]),
  tiling: z.enum(tilingNames),
} as const;

const examples = `
Examples:
  hunyuan estimate --width 960 --height 544 --frames 129
  hunyuan estimate --model ./HunyuanVideo --frames 33 --offload blocks --memory-limit 12GiB`;

export function addEstimate(command: Command): void {
  command
    .option("-m, --model <folder>", "a model's folder (default: the released model)")
    .addOption(new Option("--variant <name>", "which released model, without --model (default: t2v)").choices(variants))
    .option("--width <pixels>", "(default: the model's own; 1280 for the released one)", wholeOf)
    .option("--height <pixels>", "(default: the model's own; 720)", wholeOf)
    .option("--frames <count>", "(default: the model's own; 129)", wholeOf)
    .option("--steps <count>", "(default: the model's own; 50)", wholeOf)
    .option("--true-cfg <number>", "(default: 1, none)", numberOf)
    .option("--videos <count>", "(default: 1)", wholeOf)
    .addOption(new Option("--dtype <type>", "(default: bf16)").choices(dtypes))
    .addOption(new Option("--vae-dtype <type>", "of the autoencoder (default: as --dtype)").choices(dtypes))
    .addOption(new Option("--text-dtype <type>", "of the text encoders (default: as --dtype)").choices(dtypes))
    .addOption(new Option("--offload <what>", "(default: none)").choices(["none", "blocks"]))
    .addOption(
      new Option("--memory-limit <bytes>", 'decoding is cut into tiles that fit, such as "12GiB"').argParser(bytesOf),
    )
    .addOption(new Option("--tiling <name>", "(default: auto)").choices(tilingNames))
    .addHelpText("after", examples);
  onCall(command, shape, estimate);
}

async function estimate({ out }: Session, options: Options<typeof shape>): Promise<void> {
  const { model, variant, width, height, dtype, vaeDtype, textDtype, offload, memoryLimit, tiling } = options;
  if (model !== undefined && variant !== undefined)
    throw new UsageError("--variant is for released models, without --model");
  const request: EstimateRequest = defined({
    ...{ variant, width, height, dtype, vaeDtype, textDtype, offload, memoryLimit, tiling },
    numFrames: options.frames,
    numInferenceSteps: options.steps,
    trueCfgScale: options.trueCfg,
    numVideos: options.videos,
  });
  const found = estimateRequest(request, model === undefined ? undefined : await modelOf(model));
  const released = variant ?? "t2v";
  out.result({ ...found, model: model ?? released }, [
    ...linesOf(found),
    ...(model === undefined ? [`for the released model ${released}; another: --variant NAME, --model FOLDER`] : []),
  ]);
}

/** What a folder holds, from the headers of its files. */
async function modelOf(source: string): Promise<EstimatedModel> {
  const where = await resolveSource(source);
  if (where.kind === "hub") {
    throw new UsageError(`--model ${source}: there is no such folder; for a model on the hub use --variant`);
  }
  const parts = await findModelParts(where.path);
  requireParts(parts, ["transformer", "vae"]);
  const { config: dit } = await openDit(parts.transformer as string);
  const { config: vae } = await openVae(parts.vae as string);
  const text = (await textConfigs(parts)) ?? releasedText;
  return { dit, vae, text, defaults: await modelDefaults(parts.root, dit) };
}

function linesOf({ stages, peakBytes, flops, tiles }: Estimate): string[] {
  const rows = stages.map(({ stage, peakBytes: peak, parameterBytes, flops: work }) => [
    stage,
    showBytes(peak),
    showBytes(parameterBytes),
    showFlops(work),
  ]);
  return [
    ...table([
      ["stage", "memory", "of it weights", "work"],
      ...rows,
      ["in all", showBytes(peakBytes), "", showFlops(flops)],
    ]),
    tiles > 1 ? `decoded in ${tiles} tiles` : "decoded in one piece",
  ];
}
