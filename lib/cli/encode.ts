/** `hunyuan encode`: latents of a video or a picture. */
import { stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import { z } from "zod";
import { permute } from "../ops/views.js";
import { writeLatents } from "../pipelines/latents-file.js";
import { scope } from "../tensor/scope.js";
import { type Options, onCall, type Session } from "./command.js";
import { tilingNames } from "./decode.js";
import { checkFiles, UsageError } from "./errors.js";
import { showBytes } from "./format.js";
import { addModelOptions, defined, loadModel, modelName, modelOptionsOf, modelShape } from "./model-options.js";
import { numberOf, wholeOf } from "./values.js";

const shape = {
  ...modelShape,
  output: z.string(),
  width: z.number(),
  height: z.number(),
  fps: z.number(),
  frames: z.number(),
  tiling: z.enum(tilingNames),
} as const;

const examples = `
Examples:
  hunyuan encode cat.mp4 --model ./HunyuanVideo -o cat.safetensors
  hunyuan encode cat.png -m ./HunyuanVideo --width 960 --height 544 -o cat.safetensors`;

export function addEncode(command: Command): void {
  command.argument("<video>", "a video, or a picture");
  addModelOptions(command);
  command
    .optionsGroup("Latents:")
    .option("-o, --output <file>", "safetensors file for the latents [1, 16, T, H, W]")
    .option("--width <pixels>", "a multiple of 16 (default: the video's own, rounded down)", wholeOf)
    .option("--height <pixels>", "a multiple of 16 (default: the video's own, rounded down)", wholeOf)
    .option("--fps <number>", "frames per second to read (default: the model's own; 24 for the released one)", numberOf)
    .option("--frames <count>", "read at most so many; 4 n + 1 are used (default: all)", wholeOf)
    .addOption(new Option("--tiling <name>", "how encoding is cut into tiles (default: auto)").choices(tilingNames))
    .addHelpText("after", examples);
  onCall(command, shape, encode);
}

async function encode(session: Session, options: Options<typeof shape>, [video = ""]: readonly (string | undefined)[]) {
  const { out, signal } = session;
  const { output, width, height, fps, tiling, frames: maxFrames } = options;
  if (output === undefined) throw new UsageError("where to write the latents is not given: -o latents.safetensors");
  await checkFiles([video]);
  await using model = await loadModel(session, { offload: "blocks", ...modelOptionsOf(options) });
  out.progress({ stage: "encode", done: 0, total: 1 });
  const size = defined({ width, height, fps, maxFrames, tiling });
  using latents = await model.encodeVideo(video, { ...size, signal });
  out.progress({ stage: "encode", done: 1, total: 1 });
  using ours = scope(() => permute(latents, [0, 2, 3, 4, 1]));
  const notes = { fps: fps ?? model.defaults.fps, settings: { model: modelName(options.model) } };
  await writeLatents(output, ours, notes, signal);
  const { size: bytes } = await stat(output);
  out.result({ path: output, shape: latents.shape, bytes }, [
    `${output}: latents [${latents.shape.join(", ")}], ${showBytes(bytes)}`,
  ]);
}
