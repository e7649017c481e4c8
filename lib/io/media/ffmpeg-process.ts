/** The ffmpeg program as a child: what it says, how it ends, and how it is ended. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

const maxSaid = 64 * 1024;

/** `HUNYUAN_FFMPEG`, or what the PATH has. */
export function ffmpegProgram(): string {
  return process.env.HUNYUAN_FFMPEG || "ffmpeg";
}

export interface Run {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Its code, and what it wrote to stderr (the last 64 KB). Rejects when it could not be started. */
  readonly ended: Promise<{ readonly code: number; readonly said: string }>;
  kill(): void;
}

export function runFfmpeg(args: readonly string[]): Run {
  const child = spawn(ffmpegProgram(), ["-nostdin", "-hide_banner", ...args], { stdio: ["pipe", "pipe", "pipe"] });
  // A program that ends early closes its input; how it ended is told by `ended`.
  child.stdin.on("error", () => undefined);
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    ended: ending(child, child.stderr),
    kill: () => child.kill("SIGKILL"),
  };
}

function ending(child: ChildProcess, stderr: Readable): Promise<{ code: number; said: string }> {
  let said = "";
  stderr.setEncoding("utf8");
  stderr.on("data", (text: string) => {
    said = (said + text).slice(-maxSaid);
  });
  const ended = new Promise<{ code: number; said: string }>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, said }));
  });
  // Whoever gives up on a run before its end does not wait for it.
  ended.catch(() => undefined);
  return ended;
}

/** All that a run writes to stdout as text, up to a limit. */
export async function textOf(run: Run, maxBytes: number): Promise<{ code: number; said: string; text: string }> {
  const parts: Buffer[] = [];
  let length = 0;
  // The error of a program that could not be started comes from `ended`.
  run.stdout.on("error", () => undefined);
  run.stdout.on("data", (part: Buffer) => {
    length += part.length;
    if (length > maxBytes) run.kill();
    else parts.push(part);
  });
  run.stdin.end();
  const { code, said } = await run.ended;
  return { code, said, text: Buffer.concat(parts).toString("utf8") };
}

/** The line of ffmpeg's messages that says most: the last that is not about what follows from it. */
export function lastWords(said: string): string {
  const lines = said
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^(Conversion failed|Error (while )?(opening|closing)|frame=|video:)/.test(line));
  return (lines.at(-1) ?? "it gave no reason").slice(0, 300);
}
