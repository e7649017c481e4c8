// The small model that ships, from nothing to a folder that loads.
//
//   npm run train:demo -- [--only STAGE] [--from teacher|student] [--recipe folder] [--out models/demo] [--clips 14000]
//
//   data      renders the clips (npm run demo:data), and a quarter as many in any colour
//   model     random weights, tokenizers, and an autoencoder that starts as a blur codec
//   vae       trains the autoencoder                          = hunyuan train --config scripts/demo-recipe/vae.json
//   colours   its decoder on clips in any colour, so that it carries more than the eight of the captions   colours.json
//   dit       trains transformer and text encoders together   = hunyuan train --config scripts/demo-recipe/dit.json
//   distil    teaches a student guidance as an input          = hunyuan train --config scripts/demo-recipe/distil.json
//   assemble  writes the model's folder, in bf16; from the student, or from the teacher without it
//
// A stage whose result is there and newer than what it is made of is passed over. Ctrl-C saves and ends with 130; the same
// command goes on. A run that has been to its end goes nowhere from there: to train it anew, remove its folder.
// Paths are those of the recipes, relative to where it is called.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { main } from "../lib/cli/program.js";
import { describeIssues, type TrainingConfig, trainingSchema } from "../lib/pipelines/training/config.js";
import { writeInitialModel } from "../lib/pipelines/training/initial-model.js";
import { writeModel } from "../lib/pipelines/training/write-model.js";
import { demoClip, demoDit, demoLlama, demoVae } from "../lib/train/demo/model.js";
import { demoWords } from "../lib/train/demo/words.js";
import { demoCard, demoDefaults } from "./demo-card.js";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    only: { type: "string" },
    from: { type: "string", default: "student" },
    recipe: { type: "string", default: join(here, "demo-recipe") },
    out: { type: "string", default: join("models", "demo") },
    clips: { type: "string" },
    validation: { type: "string" },
  },
});

interface Stage {
  /** The file that is written last. */
  readonly result: string;
  readonly inputs: readonly string[];
  readonly run: () => Promise<void>;
}

const recipeFile = (kind: string) => join(values.recipe, `${kind}.json`);

function misuse(message: string): never {
  console.error(message);
  process.exit(2);
}

function recipeOf<K extends TrainingConfig["kind"]>(file: string, kind: K): Extract<TrainingConfig, { kind: K }> {
  const path = recipeFile(file);
  if (!existsSync(path)) misuse(`there is no file ${path}`);
  const { success, data: config, error } = trainingSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
  if (!success) misuse(`${path}: ${describeIssues(error).join("; ")}`);
  if (config.kind !== kind) misuse(`${path}: its kind is ${config.kind}, expected ${kind}`);
  return config as Extract<TrainingConfig, { kind: K }>;
}

const recipes = {
  vae: recipeOf("vae", "vae"),
  colours: recipeOf("colours", "vae"),
  dit: recipeOf("dit", "full"),
  distil: recipeOf("distil", "distil"),
};
const start = recipes.vae.model;
const dataFolder = dirname(recipes.vae.stages[0]?.data.source ?? "");
const trained = {
  firstVae: join(recipes.vae.folder, "vae"),
  vae: join(recipes.colours.folder, "vae"),
  teacher: join(recipes.dit.folder, "transformer"),
  llama: join(recipes.dit.folder, "text_encoder"),
  clip: join(recipes.dit.folder, "text_encoder_2"),
  student: join(recipes.distil.folder, "transformer"),
} as const;
const config = (folder: string) => join(folder, "config.json");
const data = join(dataFolder, "held-out.json");
const teacher = [config(trained.teacher), config(trained.clip), config(trained.vae)];

function renderData(): void {
  const part = `${dataFolder}.part`;
  if (existsSync(dataFolder)) throw new Error(`${dataFolder} is there: remove it to render the clips anew`);
  rmSync(part, { recursive: true, force: true });
  const { clips = "14000", validation = "256" } = values;
  render("--out", part, "--clips", clips, "--validation", validation);
  const quarter = String(Math.ceil(Number(clips) / 4));
  render("--out", join(part, "colours"), "--colour", "any", "--clips", quarter, "--validation", "0");
  renameSync(part, dataFolder);
}

function render(...args: string[]): void {
  // Started as this script was: TypeScript is run by whatever runs it here.
  const command = [...process.execArgv, join(here, "demo-data.ts"), ...args];
  const { status, signal } = spawnSync(process.execPath, command, { stdio: "inherit" });
  if (signal === "SIGINT" || signal === "SIGTERM") process.exit(130);
  if (status !== 0) throw new Error("the clips could not be rendered");
}

async function writeStart(): Promise<void> {
  const sizes = { dit: demoDit, llama: demoLlama, clip: demoClip, vae: demoVae };
  await writeInitialModel(start, { ...sizes, words: demoWords(), vaeStart: "blur", vaeConstant: 2, seed: 1 });
}

/** What `hunyuan train` does; Ctrl-C included. */
const trainAs = (kind: string) => main(["node", "hunyuan", "train", "--config", recipeFile(kind)]);

async function assemble(): Promise<void> {
  const from = values.from === "teacher" ? "teacher" : "student";
  const part = `${values.out}.part`;
  rmSync(part, { recursive: true, force: true });
  const { vae, llama, clip, [from]: transformer } = trained;
  await writeModel(part, {
    ...{ model: start, parts: { transformer, vae, llama, clip }, dtype: "bf16", licence: "apache-2.0" },
    ...{ defaults: demoDefaults, card: await demoCard({ from, transformer, vae, llama, clip, recipes }) },
  });
  rmSync(values.out, { recursive: true, force: true });
  renameSync(part, values.out);
}

const stages: { readonly [name: string]: Stage } = {
  data: { result: data, inputs: [], run: async () => renderData() },
  model: { result: join(start, "model_index.json"), inputs: [], run: writeStart },
  vae: {
    result: config(trained.firstVae),
    inputs: [recipeFile("vae"), data, config(join(start, "vae"))],
    run: () => trainAs("vae"),
  },
  colours: {
    result: config(trained.vae),
    inputs: [recipeFile("colours"), data, config(trained.firstVae)],
    run: () => trainAs("colours"),
  },
  dit: {
    result: config(trained.clip),
    inputs: [recipeFile("dit"), data, join(start, "model_index.json"), config(trained.firstVae)],
    run: () => trainAs("dit"),
  },
  distil: {
    result: config(trained.student),
    inputs: [recipeFile("distil"), data, ...teacher],
    run: () => trainAs("distil"),
  },
  assemble: {
    result: join(values.out, "README.md"),
    inputs: values.from === "teacher" ? teacher : [...teacher, config(trained.student)],
    run: assemble,
  },
};

const timeOf = (file: string) => (existsSync(file) ? statSync(file).mtimeMs : Number.NaN);

/** Why a stage is to be run; undefined where its result is there and newer. */
function reasonFor({ result, inputs }: Stage): string | undefined {
  const made = timeOf(result);
  if (Number.isNaN(made)) return `${result} is not there yet`;
  const newer = inputs.find((file) => timeOf(file) > made);
  return newer === undefined ? undefined : `${relative(".", newer)} is newer than ${result}`;
}

/** @returns whether to go on */
async function runStage(name: string, stage: Stage): Promise<boolean> {
  const reason = values.only === undefined ? reasonFor(stage) : "asked for";
  if (reason === undefined) {
    console.log(`${name}: ${stage.result} is there`);
    return true;
  }
  const missing = stage.inputs.find((file) => !existsSync(file));
  if (missing !== undefined) throw new Error(`${missing} is not there: an earlier stage makes it`);
  console.log(`${name}: ${reason}`);
  await stage.run();
  return (process.exitCode ?? 0) === 0;
}

const names = Object.keys(stages).filter((name) => values.only === undefined || name === values.only);
if (names.length === 0) misuse(`--only ${values.only}: expected ${Object.keys(stages).join(", ")}`);
if (!["teacher", "student"].includes(values.from)) misuse(`--from ${values.from}: expected teacher or student`);
try {
  for (const name of names) {
    // Of the teacher alone no student is needed.
    if (name === "distil" && values.only === undefined && values.from === "teacher") continue;
    if (!(await runStage(name, stages[name] as Stage))) break;
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
