/** `hunyuan train`: a training run as a JSON file says it, from its beginning or from where it stopped. */
import { join } from "node:path";
import type { Command } from "commander";
import { describeIssues, type TrainingConfig, trainingSchema } from "../pipelines/training/config.js";
import type { PrepareEvent, RunEvent } from "../pipelines/training/events.js";
import { runTrainingConfig } from "../pipelines/training/run.js";
import { describeStep, short } from "../train/progress.js";
import type { Metrics } from "../train/task.js";
import { onCall, type Session } from "./command.js";
import { readJson } from "./config-file.js";
import { exitCodes, UsageError } from "./errors.js";
import type { Output } from "./output.js";

const examples = `
Examples:
  hunyuan train --config lora.json
  hunyuan train --config lora.json --model ./HunyuanVideo --folder runs/cat --json

A LoRA for the clips in ./clips:
  {
    "kind": "lora", "model": "./HunyuanVideo", "folder": "runs/cat", "dtype": "bf16", "checkpoint": true,
    "lora": { "rank": 16 }, "learner": { "lr": 1e-4, "clipNorm": 1 }, "run": { "seed": 1, "saveEvery": 100 },
    "stages": [{ "name": "all", "steps": 1000, "data": {
      "source": "./clips", "buckets": [{ "width": 320, "height": 192, "numFrames": 33, "batchSize": 1 }] } }]
  }

Kinds are full, lora, distil and vae; docs/training.md lists their settings. Ctrl-C finishes the step, saves and ends with
130; the same command goes on from there. The folder gets report.html, metrics.csv, states, and at the end what was trained.`;

export function addTrain(command: Command): void {
  command
    .option("--config <file>", "JSON with the run's settings")
    .option("-m, --model <folder>", "in place of the file's: the model that training starts from")
    .option("--folder <folder>", "in place of the file's: where the run's files go")
    .option("--device <name>", "in place of the file's: cpu, cuda:0, …")
    .addHelpText("after", examples);
  onCall(command, undefined, train);
}

async function train({ out, signal }: Session, options: Readonly<Record<string, unknown>>): Promise<void> {
  const { config: file, ...overrides } = options;
  if (file === undefined) throw new UsageError("which run is not given: --config run.json");
  const config = checkConfig(String(file), await readJson(String(file)), overrides);
  const result = await runTrainingConfig(config, { signal, onEvent: (event) => show(out, event) });
  const report = join(config.folder, "report.html");
  const { finished, step, files } = result;
  const lines = finished
    ? [`${step} steps are done; ${report}`, ...files]
    : [`stopped after step ${step}, which is saved; the same command goes on from there`];
  out.result({ ...result, report }, lines);
  if (!finished) process.exitCode = exitCodes.interrupted;
}

function checkConfig(file: string, json: unknown, overrides: Readonly<Record<string, unknown>>): TrainingConfig {
  if (typeof json !== "object" || json === null) throw new UsageError(`${file}: expected an object with settings`);
  const { success, data, error } = trainingSchema.safeParse({ ...json, ...overrides });
  if (success) return data;
  const issues = describeIssues(error);
  throw new UsageError(issues.length === 1 ? `${file}: ${issues[0]}` : [`${file}:`, ...issues].join("\n  "));
}

const preparations: { readonly [K in PrepareEvent["what"]]: string } = {
  model: "load model",
  data: "read data",
  latents: "encode clips",
  prompts: "encode captions",
  "preserved videos": "make what is to stay",
};

/** People see a bar and a few lines; with --json every event is a record. */
function show(out: Output, event: RunEvent): void {
  switch (event.kind) {
    case "prepare": {
      const { what, done, total, detail } = event;
      // A record a file would bury the rest.
      if (done % Math.ceil(total / 100) !== 0 && done !== total) return;
      out.progress({ stage: preparations[what], done, total, detail });
      return;
    }
    case "note":
      out.note(event.text);
      return;
    case "notice":
      out.note(`step ${event.step}: ${event.text}`);
      return;
    case "step": {
      const { step: done, steps: total, stage: part, metrics, stepsPerSecond, etaMs } = event;
      const detail = `${part}: ${describeStep(metrics, stepsPerSecond)}`;
      out.progress({ stage: "train", done, total, etaMs, detail }, recordOf(event, { etaMs, stepsPerSecond, metrics }));
      return;
    }
    case "validation":
      tell(out, event, { metrics: event.metrics }, `validation: ${list(event.metrics)}`);
      return;
    case "sample":
      tell(out, event, { files: event.files }, `samples: ${event.files.join(", ")}`);
      return;
    case "saved":
      tell(out, event, { path: event.path }, undefined);
      return;
    case "resumed":
      tell(out, event, { path: event.path }, `going on from ${event.path}`);
  }
}

type Told = Extract<RunEvent, { readonly step: number }>;

/** Progress of the name of the event; `part` is the stage of the curriculum. */
function recordOf({ kind, step, steps, stage }: Told, extra: object) {
  return { stage: kind === "step" ? "train" : kind, done: step, total: steps, part: stage, ...extra };
}

function tell(out: Output, event: Told, extra: object, line: string | undefined): void {
  const { step: done, steps: total } = event;
  if (out.json) out.progress({ stage: event.kind, done, total }, recordOf(event, extra));
  else if (line !== undefined) out.note(`step ${done}: ${line}`);
}

const list = (metrics: Metrics) =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${short(value)}`)
    .join(", ");
