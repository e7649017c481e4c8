/** `hunyuan inspect`: what a checkpoint or a model's folder is, from its headers. */
import type { Command } from "commander";
import { type FoundMetadata, readMetadata } from "../io/media/index.js";
import type { ModelDefaults } from "../models/defaults.js";
import { type CheckpointReport, inspectPath, type ModelReport } from "../models/inspect.js";
import { findDemoModel } from "../pipelines/demo-model.js";
import { onCall, type Session } from "./command.js";
import { exitCodes } from "./errors.js";
import { showBytes, showCount, table } from "./format.js";

const examples = `
Examples:
  hunyuan inspect ./HunyuanVideo
  hunyuan inspect hunyuan_video_t2v_720p_bf16.safetensors --tensors
  hunyuan inspect style-lora.safetensors --json
  hunyuan inspect cat.mp4

Ends with 1 when something is missing or wrong.`;

const mediaFile = /\.(mp4|webm|gif|webp|png|jpe?g)$/i;
/** Keys of a list that are shown. */
const shownKeys = 8;

export function addInspect(command: Command): void {
  command
    .argument(
      "[path]",
      "a model's folder (default: the demo model of the package), a checkpoint's file, index or folder, a LoRA, or a video " +
        "that was made here",
    )
    .option("--tensors", "list every tensor with its type and shape")
    .addHelpText("after", examples);
  onCall(command, undefined, inspect);
}

async function inspect({ out }: Session, options: object, [given]: readonly (string | undefined)[]): Promise<void> {
  const tensors = "tensors" in options && options.tensors === true;
  const path = given ?? (await findDemoModel());
  if (mediaFile.test(path)) {
    const metadata = await readMetadata(path);
    out.result({ metadata: metadata ?? null }, [`${path}:`, ...indented(metadataLines(metadata))]);
    return;
  }
  const report = await inspectPath(path);
  const isModel = "parts" in report;
  const lines = isModel ? modelLines(report, tensors) : checkpointLines(report, tensors);
  out.result({ report: tensors ? report : withoutTensors(report) }, lines);
  const healthy = report.problems.length === 0 && !(isModel && report.missing.length > 0);
  if (!healthy) process.exitCode = exitCodes.failed;
}

function metadataLines(found: FoundMetadata | undefined): string[] {
  if (found === undefined) return ["says nothing of how it was made"];
  const { generated, settings, ...rest } = found;
  const rows = Object.entries({
    generated: generated ? "yes, it says so itself" : "it does not say so",
    ...rest,
    ...settings,
  });
  return table(
    rows.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
    false,
  );
}

/** A real model has a thousand tensors, which machines ask for with --tensors too. */
function withoutTensors(report: CheckpointReport | ModelReport): object {
  if (!("parts" in report)) return { ...report, tensors: undefined };
  const parts = Object.entries(report.parts).map(([name, part]) => [name, { ...part, tensors: undefined }]);
  return { ...report, parts: Object.fromEntries(parts) };
}

function modelLines(report: ModelReport, tensors: boolean): string[] {
  const { root, layout, parts, others, defaults, missing, problems } = report;
  return [
    `${root}: ${layout} layout`,
    ...Object.entries(parts).flatMap(([name, part]) =>
      part === undefined ? [] : ["", `${name}:`, ...indented(checkpointLines(part, tensors, false))],
    ),
    "",
    ...Object.entries(others).map(([name, path]) => `${name}: ${path}`),
    ...(defaults === undefined ? [] : [`defaults: ${showDefaults(defaults)}`]),
    ...(missing.length > 0 ? [`missing: ${missing.join(", ")}`] : []),
    ...problemLines(problems),
  ];
}

function checkpointLines(report: CheckpointReport, tensors: boolean, withProblems = true): string[] {
  const { path, what, variant, layout, fp8, lora, format, files, parameters, bytes, dtypes, licence } = report;
  const types = dtypes.map(({ dtype, tensors: count }) => `${count} ${dtype}`).join(", ");
  const names = layout === undefined ? "" : `, ${layout} names`;
  const rows: [string, string][] = [
    ["path", path],
    ["what", variant === undefined ? what : `${what}: ${variant}`],
    ["format", `${format}, ${files.length === 1 ? "1 file" : `${files.length} files`}${names}`],
    ["size", `${showCount(parameters)} parameters, ${showBytes(bytes)}`],
    ["tensors", types],
  ];
  if (fp8 !== undefined && fp8 !== "none") rows.push(["fp8", fp8]);
  if (lora !== undefined) {
    rows.push(["LoRA", `${lora.style}, ${lora.modules} modules, rank ${lora.ranks.join(", ") || "unknown"}`]);
  }
  if (report.config !== undefined) rows.push(["config", showConfig(report.config)]);
  if (licence !== undefined) rows.push(["licence", licence]);
  return [
    ...table(rows, false),
    ...keyLines("missing", report.missing),
    ...keyLines("unknown", report.unexpected),
    ...keyLines(
      "wrong shape",
      report.misshapen.map(({ key, expected, seen }) => `${key} [${seen}], expected [${expected}]`),
    ),
    ...(tensors ? report.tensors.map(({ name, dtype, shape }) => `  ${name}  ${dtype} [${shape.join(", ")}]`) : []),
    ...(withProblems ? problemLines(report.problems) : []),
  ];
}

function keyLines(what: string, keys: readonly string[]): string[] {
  if (keys.length === 0) return [];
  const more = keys.length > shownKeys ? [`  and ${keys.length - shownKeys} more`] : [];
  return [`${what}:`, ...keys.slice(0, shownKeys).map((key) => `  ${key}`), ...more];
}

function showDefaults({ width, height, numFrames, fps, ...sampling }: ModelDefaults): string {
  const { numInferenceSteps: steps, flowShift, guidanceScale } = sampling;
  const clip = `${width}×${height}, ${numFrames} frames at ${fps} fps`;
  return `${clip}, ${steps} steps, shift ${flowShift}, guidance ${guidanceScale}`;
}

const problemLines = (problems: readonly string[]) => problems.map((problem) => `problem: ${problem}`);
const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}`);

/** Plain data on one line: "hiddenSize 3072, ropeAxes 16 56 56". */
function showConfig(config: object): string {
  return Object.entries(config)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} ${Array.isArray(value) ? value.join(" ") : value}`)
    .join(", ");
}
