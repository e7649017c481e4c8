/** `hunyuan eval`: videos for a list of prompts, measured, and the measuring itself measured. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { frameSource } from "../io/media/frames.js";
import type { HunyuanVideo } from "../pipelines/hunyuan-video.js";
import { colours, type DemoColour, extraColours } from "../train/demo/vocabulary.js";
import type { RgbClip } from "../train/eval/clip.js";
import { type EvalReport, evaluate, type GenerateClip, type ReconstructClip } from "../train/eval/evaluate.js";
import { evalPage, type PageClip } from "../train/eval/page.js";
import { demoPrompts, type EvalPrompt, evalPrompt } from "../train/eval/prompts.js";
import { criteria, type Rate, type Scores } from "../train/eval/score.js";
import { contactSheet, stripAddress } from "../train/eval/sheet.js";
import { writeWhole } from "../train/metrics.js";
import { type Options, onCall, type Session } from "./command.js";
import { checkFiles, UsageError } from "./errors.js";
import { showDuration, table } from "./format.js";
import { addModelOptions, defined, loadModel, modelOptionsOf, modelShape } from "./model-options.js";
import { numberOf, wholeOf } from "./values.js";
import { addLoraOption, videoShape } from "./video-options.js";

const colourNames = Object.keys({ ...colours, ...extraColours }) as [DemoColour, ...DemoColour[]];
const shape = {
  ...modelShape,
  ...videoShape,
  output: z.string(),
  prompts: z.string(),
  count: z.number().int().min(1),
  colour: z.enum(colourNames),
  seed: z.number().int().min(0),
  yardsticks: z.number().int().min(1),
} as const;

type EvalOptions = Options<typeof shape>;

const examples = `
Examples:
  hunyuan eval -o eval
  hunyuan eval --model ./my-model --count 128 --guidance 6 -o eval
  hunyuan eval --colour brown --count 20 --lora brown.safetensors -o brown
  hunyuan eval --prompts mine.txt -o mine

Colour, shape and direction of motion are told from the pixels alone and compared with the prompt. The folder gets eval.json,
eval.html and contact-sheet.png. Prompts are those of the demo model: "a red circle moves left on a black background".`;

export function addEval(command: Command): void {
  addLoraOption(addModelOptions(command));
  command
    .optionsGroup("Evaluation:")
    .option("-o, --output <folder>", "where the report goes (default: eval)")
    .option("--prompts <file>", "a prompt a line (default: drawn, half of them combinations that training never saw)")
    .option("--count <number>", "prompts that are drawn (default: 64)", wholeOf)
    .option("--colour <name>", "draw prompts of this colour only")
    .option("--seed <number>", "of prompts and videos (default: 0)", wholeOf)
    .option("--yardsticks <number>", "rendered clips that the measuring is measured with (default: 64)", wholeOf)
    .optionsGroup("Videos:")
    .option("--width <pixels>", "(default: 64)", wholeOf)
    .option("--height <pixels>", "(default: 64)", wholeOf)
    .option("--frames <count>", "(default: 17)", wholeOf)
    .option("--fps <number>", "(default: 24)", numberOf)
    .option("--steps <count>", "sampling steps (default: 20)", wholeOf)
    .option("--guidance <number>", "how closely the prompt is followed (default: the model's own)", numberOf)
    .option("--true-cfg <number>", "true guidance against the empty prompt (default: 1, none)", numberOf)
    .option("--shift <number>", "moves steps towards noise (default: the model's own)", numberOf)
    .addHelpText("after", examples);
  onCall(command, shape, run);
}

async function run(session: Session, options: EvalOptions): Promise<void> {
  const { out, signal } = session;
  const { output = "eval", seed = 0, yardsticks, lora: loras = [] } = options;
  await checkFiles([options.prompts, ...loras.map(({ path }) => path)]);
  const prompts = await promptsOf(options);
  await mkdir(output, { recursive: true });
  const started = performance.now();
  await using model = await loadModel(session, modelOptionsOf(options), { keepTextEncoders: true });
  for (const { path, strength } of loras) await model.loadLora(path, { strength, signal });
  const clips: RgbClip[] = [];
  const shown: PageClip[] = [];
  const report = await evaluate({
    ...{ prompts, seed, yardsticks, signal, generate: generating(model, options), reconstruct: reconstructing(model) },
    onProgress: ({ stage, done, total }) => out.progress({ stage, done, total }),
    onClip: async (clip, result) => {
      clips.push(clip);
      shown.push({ picture: await stripAddress(clip), result });
    },
  });
  const notes = notesOf(options, performance.now() - started);
  const [json, html, sheet] = ["eval.json", "eval.html", "contact-sheet.png"].map((name) => join(output, name));
  await writeWhole(json as string, `${JSON.stringify({ notes, ...report }, null, 2)}\n`);
  await writeWhole(
    html as string,
    evalPage(report, shown, { title: `Evaluation of ${options.model ?? "the demo model"}`, notes }),
  );
  await writeWhole(sheet as string, await contactSheet(clips));
  out.result({ files: [json, html, sheet], ...summary(report) }, [...linesOf(report), `${html}, ${json}, ${sheet}`]);
}

async function promptsOf({ prompts, count, seed, colour }: EvalOptions): Promise<readonly EvalPrompt[]> {
  if (prompts === undefined) return demoPrompts(defined({ count, seed, colour }));
  const lines = (await readFile(prompts, "utf8")).split("\n").map((line) => line.trim());
  const found = lines.filter((line) => line !== "" && !line.startsWith("#")).map(evalPrompt);
  if (found.length > 0) return found;
  throw new UsageError(`--prompts: ${prompts} holds no prompt; one a line is expected`);
}

/** The seed of a prompt's video is that of the call and the prompt's place. */
function generating(model: HunyuanVideo, options: EvalOptions): GenerateClip {
  const { width = 64, height = 64, frames = 17, fps = 24, steps = 20, seed = 0, trueCfg } = options;
  const settings = defined({
    ...{ width, height, fps, numFrames: frames, numInferenceSteps: steps },
    guidanceScale: options.guidance,
    flowShift: options.shift,
    trueCfgScale: trueCfg,
    // What a model was trained without captions for: the released negative prompt means nothing to another one.
    negativePrompt: trueCfg !== undefined && trueCfg > 1 ? "" : undefined,
  });
  return (prompt, index, signal) => model.generate({ ...settings, prompt, seed: seed * 100_000 + index }, { signal });
}

function reconstructing(model: HunyuanVideo): ReconstructClip {
  return async ({ data, width, height, numFrames }, signal) => {
    const size = width * height * 3;
    const frames = Array.from({ length: numFrames }, (_, n) => data.subarray(n * size, (n + 1) * size));
    using latents = await model.encodeVideo(frameSource(frames, { width, height, fps: 24 }), { signal });
    return await model.decodeLatents(latents, { signal });
  };
}

/** What was asked for, for the report. */
function notesOf(options: EvalOptions, ms: number): Record<string, string> {
  const { output: _output, ...given } = options;
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  const words = said.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
  return { ...Object.fromEntries(words), "took in all": showDuration(ms) };
}

const partsOf = ({ generated, yardsticks }: EvalReport): readonly (readonly [string, Scores | undefined])[] => [
  ["generated", generated?.scores],
  ["  seen combinations", generated?.seen],
  ["  held out", generated?.heldOut],
  ["  captions shuffled", generated?.shuffled],
  ["rendered clips", yardsticks.rendered],
  ["  captions shuffled", yardsticks.renderedShuffled],
  ["  reconstructions", yardsticks.reconstructed],
];

function linesOf(report: EvalReport): string[] {
  const cell = ({ rate, total }: Rate) => (total === 0 ? "–" : `${(100 * rate).toFixed(1)} % of ${total}`);
  const heads = [...criteria, "all"] as const;
  const rows = partsOf(report).flatMap(([name, scores]) =>
    scores === undefined ? [] : [[name, ...heads.map((head) => cell(scores[head]))]],
  );
  const psnr = report.yardsticks.reconstructed?.psnr;
  const quality = `PSNR of the autoencoder: mean ${psnr?.mean.toFixed(1)} dB, worst ${psnr?.worst.toFixed(1)} dB`;
  return [...table([["", ...heads], ...rows]), ...(psnr === undefined ? [] : [quality])];
}

/** The report without its clips, which are in the file. */
function summary({ generated, yardsticks }: EvalReport) {
  if (generated === undefined) return { yardsticks };
  const { clips: _clips, ...scores } = generated;
  return { generated: scores, yardsticks };
}
