/** Options of every command that loads a model. */

import { basename, resolve } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { hubCacheFolder } from "../io/hub.js";
import { demoModelFolder, findDemoModel } from "../pipelines/demo-model.js";
import { HunyuanVideo } from "../pipelines/hunyuan-video.js";
import type { LoadEvent, LoadOptions } from "../pipelines/load-options.js";
import type { Session } from "./command.js";
import { showBytes } from "./format.js";
import type { Output } from "./output.js";
import { bytesOf } from "./values.js";

const dtypes = ["f32", "bf16", "f16"] as const;
const text = z.string();
const bytes = z.union([z.number(), z.string().transform((value) => bytesOf(value))]);

export const modelShape = {
  model: text,
  revision: text,
  transformer: text,
  vae: text,
  llama: text,
  clip: text,
  llamaTokenizer: text,
  clipTokenizer: text,
  scaleMap: text,
  device: text,
  dtype: z.enum(dtypes),
  vaeDtype: z.enum(dtypes),
  textDtype: z.enum(dtypes),
  offload: z.enum(["none", "blocks"]),
  memoryLimit: bytes,
} as const;

export type ModelOptions = {
  readonly [K in keyof typeof modelShape]?: z.output<(typeof modelShape)[K]> | undefined;
};

export function addModelOptions(command: Command): Command {
  return command
    .optionsGroup("Model:")
    .option(
      "-m, --model <source>",
      "folder of a model, or owner/name[@revision] on the Hugging Face hub (default: the demo model of the package)",
    )
    .option("--revision <name>", "branch, tag or commit on the hub (default: main)")
    .option("--transformer <path>", "in place of the model's own")
    .option("--vae <path>", "in place of the model's own")
    .option("--llama <path>", "in place of the model's own")
    .option("--clip <path>", "in place of the model's own")
    .option("--llama-tokenizer <path>", "in place of the model's own")
    .option("--clip-tokenizer <path>", "in place of the model's own")
    .option("--scale-map <file>", "scales of a published fp8 checkpoint, where they are not beside it")
    .option("--device <name>", "cpu, or cuda:0 where there is one (default: cpu)")
    .addOption(new Option("--dtype <type>", "what is computed in (default: bf16)").choices(dtypes))
    .addOption(new Option("--vae-dtype <type>", "the same for the autoencoder").choices(dtypes))
    .addOption(new Option("--text-dtype <type>", "the same for the text encoders").choices(dtypes))
    .addOption(
      new Option("--offload <what>", "blocks: read the transformer's blocks as needed").choices(["none", "blocks"]),
    )
    .addOption(new Option("--memory-limit <bytes>", 'what the device may hold, such as "12GiB"').argParser(bytesOf));
}

/** The options of a model among those of a command. */
export function modelOptionsOf(options: ModelOptions): ModelOptions {
  const own = Object.entries(options).filter(([key]) => key in modelShape);
  return Object.fromEntries(own) as ModelOptions;
}

/** The name under which files know a model. */
export function modelName(model: string | undefined): string {
  return basename(resolve(model ?? demoModelFolder()));
}

/** Says which model it is when none was named, and how to name one. @throws FILE_ERROR where the package lacks it */
async function demoModel(out: Output): Promise<string> {
  const folder = await findDemoModel();
  out.note(
    'the demo model of the package, for small clips such as "a red circle moves left on a black background"; another: ' +
      "--model FOLDER, or --model hunyuanvideo-community/HunyuanVideo to download the released one (about 40 GB)",
  );
  return folder;
}

/** Loads the model, or the demo model where none is named, telling of it. */
export async function loadModel(
  { out, signal }: Session,
  { model, ...options }: ModelOptions,
  extra: LoadOptions = {},
): Promise<HunyuanVideo> {
  const source = model ?? (await demoModel(out));
  let announced = false;
  const onProgress = ({ stage, loadedBytes: done, totalBytes: total, file }: LoadEvent) => {
    const record = { stage: stage === "download" ? stage : "load", part: stage, done, total, unit: "bytes", file };
    if (stage === "download" && !announced) {
      announced = true;
      out.note(`${source}: ${showBytes(total)} in all, ${showBytes(total - done)} to download to ${hubCacheFolder()}`);
    }
    const named = stage === "download" ? stage : `load ${stage}`;
    out.progress({ stage: named, done, total, unit: "bytes", detail: file }, record);
  };
  return await HunyuanVideo.load(source, { ...defined(options), ...extra, signal, onProgress });
}

/** The options without those that are undefined, which an options object of the library does not take. */
export function defined<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
