/** Exit codes and what is said of errors. 0: done. 1: failed. 2: the call makes no sense. 130: interrupted. */
import { stat } from "node:fs/promises";
import { CommanderError } from "commander";
import { type HunyuanError, isHunyuanError } from "../runtime/errors.js";

export const exitCodes = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A call that makes no sense. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** @throws UsageError naming the first of these files that is not there */
export async function checkFiles(paths: readonly (string | undefined)[]): Promise<void> {
  for (const path of paths) {
    if (path !== undefined && (await stat(path).catch(() => undefined)) === undefined) {
      throw new UsageError(`there is no file ${path}`);
    }
  }
}

/** Options whose names on the command line are not those of the library's requests. */
const flags: { readonly [argument: string]: string } = {
  numFrames: "--frames",
  numInferenceSteps: "--steps",
  guidanceScale: "--guidance",
  trueCfgScale: "--true-cfg",
  flowShift: "--shift",
  negativePrompt: "--negative",
  numVideos: "--videos",
  source: "--model",
  path: "-o",
  latentsPath: "--latents",
};
/** The library's own names in its advice. */
const advice: readonly (readonly [RegExp, string])[] = [
  [/\{ offload: "none" \}/g, "--offload none"],
  [/\{ vaeDtype: "bf16" \} or "f32"/g, "--vae-dtype bf16 or f32"],
  [/\{ latentsFolder \}/g, "--latents FILE"],
  [/set trueCfgScale above 1/g, "set --true-cfg above 1"],
  [
    /name a model: a folder, or "owner\/name" on the hub/g,
    "name a model: --model FOLDER, or --model OWNER/NAME on the hub",
  ],
];

function flagOf(error: HunyuanError): string {
  const argument = "argument" in error.details ? error.details.argument : undefined;
  if (error.code !== "INVALID_ARGUMENT" || argument === undefined) return "";
  const flag = flags[argument] ?? `--${argument.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  return ` (${flag})`;
}

/** The message for somebody who has called no function: without the name of the one that threw it. */
export function messageOf(error: HunyuanError): string {
  const op = "op" in error.details ? error.details.op : undefined;
  const own =
    op !== undefined && error.message.startsWith(`${op}: `) ? error.message.slice(op.length + 2) : error.message;
  return advice.reduce((text, [pattern, words]) => text.replace(pattern, words), own) + flagOf(error);
}

export interface Failure {
  readonly exitCode: number;
  readonly record: { readonly [key: string]: unknown };
  readonly lines: readonly string[];
}

/** What to say of an error, and the process's exit code. */
export function failureOf(error: unknown, interrupted: boolean): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (isHunyuanError(error)) {
    const said = messageOf(error);
    const { code, details } = error;
    if (code === "ABORTED" && interrupted) {
      return { exitCode: exitCodes.interrupted, record: { code, message: said }, lines: [`interrupted: ${said}`] };
    }
    const exitCode = code === "INVALID_ARGUMENT" ? exitCodes.usage : exitCodes.failed;
    return { exitCode, record: { code, message: said, details }, lines: [`error (${code}): ${said}`] };
  }
  if (error instanceof UsageError || error instanceof CommanderError) {
    const said = message.replace(/^error: /, "");
    return { exitCode: exitCodes.usage, record: { code: "USAGE", message: said }, lines: [`error: ${said}`] };
  }
  // Nothing else should come here: whoever reports it needs the place.
  const lines = [error instanceof Error ? (error.stack ?? message) : message];
  return { exitCode: exitCodes.failed, record: { code: "UNEXPECTED", message }, lines };
}
