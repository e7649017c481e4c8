/** `hunyuan generate`: words in, a video out. */
import { join, parse } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { releasedDefaults } from "../models/defaults.js";
import { checkRequest, type GenerateRequest } from "../pipelines/generate-request.js";
import type { HunyuanVideo } from "../pipelines/hunyuan-video.js";
import { type Options, onCall, type Session } from "./command.js";
import { tilingNames } from "./decode.js";
import { checkFiles, UsageError } from "./errors.js";
import { showEvent } from "./events.js";
import { showDuration } from "./format.js";
import { addModelOptions, defined, loadModel, modelOptionsOf, modelShape } from "./model-options.js";
import { type LoraChoice, numberOf, wholeOf } from "./values.js";
import { addLoraOption, videoShape } from "./video-options.js";
import { addWritingOptions, checkOutput, describeWritten, type Written, writeVideo, writingShape } from "./writing.js";

const shape = {
  ...modelShape,
  ...videoShape,
  ...writingShape,
  prompt: z.string(),
  negative: z.string(),
  schedule: z.enum(["flow", "linear-quadratic"]),
  seed: z.number(),
  rng: z.enum(["philox", "torch"]),
  videos: z.number(),
  image: z.string(),
  video: z.string(),
  strength: z.number(),
  tiling: z.enum(tilingNames),
  latents: z.string(),
} as const;

const examples = `
Examples:
  hunyuan generate "a red circle moves left on a black background" -o clip.mp4
  hunyuan generate --model ./HunyuanVideo "A cat walks on the grass, realistic style." -o cat.mp4
  hunyuan generate -m hunyuanvideo-community/HunyuanVideo "a red kite" --width 960 --height 544 --frames 65 --seed 7 -o kite.mp4
  hunyuan generate -m ./HunyuanVideo-I2V --image cat.png "the cat turns its head" -o turn.mp4
  hunyuan generate -m ./HunyuanVideo "one picture" --frames 1 -o picture.png
  hunyuan generate --config night.json --seed 8 -o night-8.mp4

What it will take, before it is run: hunyuan estimate --width 960 --height 544 --frames 65`;

export function addGenerate(command: Command): void {
  command.argument("[prompt]", "what is to be seen");
  addLoraOption(addModelOptions(command));
  addWritingOptions(command);
  command
    .optionsGroup("Video:")
    .option("--width <pixels>", "a multiple of 16 (default: the model's own; 1280 for the released one)", wholeOf)
    .option("--height <pixels>", "a multiple of 16 (default: the model's own; 720)", wholeOf)
    .option("--frames <count>", "1, 5, 9, …; 1 is a picture (default: the model's own; 129)", wholeOf)
    .option("--fps <number>", "frames per second (default: the model's own; 24)", numberOf)
    .option("--image <file>", "the first frame, for image-to-video models")
    .option("--video <file>", "a video to change")
    .option("--strength <number>", "how much of the given video goes, 0 … 1 (default: 0.8)", numberOf)
    .option("--videos <count>", "several videos, with seeds one after the other (default: 1)", wholeOf)
    .optionsGroup("Sampling:")
    .option("--steps <count>", "sampling steps (default: the model's own; 50 for the released one)", wholeOf)
    .option("--guidance <number>", "how closely the prompt is followed (default: the model's own; 6)", numberOf)
    .option(
      "--true-cfg <number>",
      "true classifier-free guidance, which takes twice the time (default: 1, none)",
      numberOf,
    )
    .option("--negative <text>", "what is not to be seen; with true guidance only (default: the model's own)")
    .option(
      "--shift <number>",
      "moves steps towards noise; more for fewer steps (default: the model's own; 7)",
      numberOf,
    )
    .addOption(new Option("--schedule <name>", "(default: flow)").choices(["flow", "linear-quadratic"]))
    .option("--seed <number>", "the same seed gives the same video (default: drawn)", wholeOf)
    .addOption(
      new Option("--rng <name>", "torch: noise as PyTorch's CPU generator (default: philox)").choices([
        "philox",
        "torch",
      ]),
    )
    .addOption(new Option("--tiling <name>", "how decoding is cut into tiles (default: auto)").choices(tilingNames))
    .option("--latents <file>", "keep the finished latents in this file, for hunyuan decode")
    .addHelpText("after", examples);
  onCall(command, shape, generate);
}

async function generate(session: Session, options: Options<typeof shape>, [given]: readonly (string | undefined)[]) {
  const { out, signal } = session;
  const prompt = given ?? options.prompt;
  if (prompt === undefined) throw new UsageError('no prompt is given: hunyuan generate "a cat walks on the grass" …');
  const output = await checkOutput(options, "the video");
  const request = { ...requestOf(options), prompt, numVideos: options.videos ?? 1 };
  // What can be refused is, before a model is loaded for minutes. Whose defaults stand for the rest does not matter.
  checkRequest(request, releasedDefaults);
  await checkFiles([options.image, options.video, ...(options.lora ?? []).map(({ path }) => path)]);
  const started = performance.now();
  await using model = await loadModel(session, modelOptionsOf(options));
  await loadLoras(session, model, options.lora ?? []);
  const videos = await model.generate(request, { signal, onProgress: (event) => showEvent(out, event) });
  const files: Written[] = [];
  for (const [i, video] of videos.entries()) {
    files.push(await writeVideo(session, video, numbered(output, i), options));
  }
  const seconds = (performance.now() - started) / 1000;
  out.result({ files, seconds }, [...files.map(describeWritten), `done in ${showDuration(seconds * 1000)}`]);
}

async function loadLoras({ out, signal }: Session, model: HunyuanVideo, loras: readonly LoraChoice[]): Promise<void> {
  for (const { path, strength } of loras) {
    const { style, rank } = await model.loadLora(path, { strength, signal });
    out.note(`${path}: LoRA fused with strength ${strength} (${style}, rank ${rank})`);
  }
}

/** Names of the command line to those of the library. */
function requestOf(options: Options<typeof shape>): Omit<GenerateRequest, "prompt" | "numVideos"> {
  const { width, height, fps, schedule, seed, rng, image, video, strength, tiling } = options;
  return defined({
    ...{ width, height, fps, schedule, seed, rng, image, video, strength, tiling },
    numFrames: options.frames,
    numInferenceSteps: options.steps,
    guidanceScale: options.guidance,
    trueCfgScale: options.trueCfg,
    negativePrompt: options.negative,
    flowShift: options.shift,
    latentsPath: options.latents,
  });
}

/** "a.mp4", "a-1.mp4", … */
function numbered(path: string, index: number): string {
  const { dir, name, ext } = parse(path);
  return index === 0 ? path : join(dir, `${name}-${index}${ext}`);
}
