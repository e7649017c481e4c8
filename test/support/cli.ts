/** Calls the command line in a process of its own, from the sources. */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { main } from "../../lib/cli/program.js";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Sees each whole line of standard output as it comes. */
  readonly onLine?: (line: string, child: ChildProcess) => void;
}

export interface CliResult {
  /** null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `hunyuan …args`. */
export function hunyuan(args: readonly string[], { env = {}, onLine }: CliOptions = {}): Promise<CliResult> {
  const child = spawn(process.execPath, ["--import", "tsx", join(root, "lib", "cli", "main.ts"), ...args], {
    cwd: root,
    env: { ...process.env, FORCE_COLOR: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr, seen] = ["", "", 0];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    for (let end = stdout.indexOf("\n", seen); end >= 0; end = stdout.indexOf("\n", seen)) {
      const line = stdout.slice(seen, end);
      seen = end + 1;
      onLine?.(line, child);
    }
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

/** The same in this process, for calls that do not get far: a process takes a second to start. */
export async function hunyuanHere(args: readonly string[]): Promise<CliResult> {
  const told = { stdout: "", stderr: "" };
  const streams = ["stdout", "stderr"] as const;
  const writes = streams.map((name) => process[name].write);
  for (const name of streams) {
    process[name].write = (text: string | Uint8Array) => {
      told[name] += String(text);
      return true;
    };
  }
  try {
    await main(["node", "hunyuan", ...args]);
    return { status: Number(process.exitCode ?? 0), ...told };
  } finally {
    process.exitCode = 0;
    for (const [i, name] of streams.entries()) process[name].write = writes[i] as typeof process.stdout.write;
  }
}

export interface CliRecord {
  readonly event: string;
  readonly stage?: string;
  readonly code?: string;
  readonly message?: string;
  readonly [key: string]: unknown;
}

/** The JSON lines of --json. */
export function records(stdout: string): CliRecord[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as CliRecord);
}
