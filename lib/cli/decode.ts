/** `hunyuan decode`: the video of latents that `generate` left, or that `encode` made. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { readNotes } from "../pipelines/latents-file.js";
import { type Options, onCall, type Session } from "./command.js";
import { checkFiles, UsageError } from "./errors.js";
import { showEvent } from "./events.js";
import { addModelOptions, defined, loadModel, modelName, modelOptionsOf, modelShape } from "./model-options.js";
import { numberOf } from "./values.js";
import { addWritingOptions, checkOutput, describeWritten, writeVideo, writingShape } from "./writing.js";

export const tilingNames = ["auto", "off", "hunyuan", "diffusers", "diffusersFramewise"] as const;

const shape = { ...modelShape, ...writingShape, fps: z.number(), tiling: z.enum(tilingNames) } as const;

const examples = `
Examples:
  hunyuan decode latents.safetensors --model ./HunyuanVideo -o cat.mp4
  hunyuan decode latents.safetensors -m ./HunyuanVideo --memory-limit 8GiB --vae-dtype f16 -o cat.mp4

When generate is stopped while it decodes, it says where the finished latents are.`;

export function addDecode(command: Command): void {
  command.argument("<latents>", "safetensors file with latents [1, 16, T, H, W]");
  addModelOptions(command);
  addWritingOptions(command);
  command
    .optionsGroup("Video:")
    .option("--fps <number>", "frames per second (default: what the file says, else the model's own)", numberOf)
    .addOption(new Option("--tiling <name>", "how decoding is cut into tiles (default: auto)").choices(tilingNames))
    .addHelpText("after", examples);
  onCall(command, shape, decode);
}

async function decode(
  session: Session,
  options: Options<typeof shape>,
  [latents = ""]: readonly (string | undefined)[],
) {
  const { out, signal } = session;
  await checkFiles([latents]);
  if (options.model === undefined) await checkOfDemo(latents);
  const output = await checkOutput(options, "the video");
  // The transformer has nothing to do: with its blocks left in their files it takes little room.
  await using model = await loadModel(session, { offload: "blocks", ...modelOptionsOf(options) });
  const { fps, tiling } = options;
  const onProgress = (event: Parameters<typeof showEvent>[1]) => showEvent(out, event);
  const video = await model.decodeLatents(latents, { ...defined({ fps, tiling }), signal, onProgress });
  const written = await writeVideo(session, video, output, options);
  out.result({ files: [written] }, [describeWritten(written)]);
}

/** Any autoencoder makes something of any latents: where no model is named, the file must say that it is the demo model's. */
async function checkOfDemo(latents: string): Promise<void> {
  const { model } = (await readNotes(latents)).settings;
  if (model === modelName(undefined)) return;
  const whose = typeof model === "string" ? `is of the model ${model}` : "does not say which model made it";
  throw new UsageError(`${latents} ${whose}: name it with --model`);
}
