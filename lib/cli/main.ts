#!/usr/bin/env node
/** The command line: `hunyuan build`, `hunyuan doctor`. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../runtime/binding.js";
import { doctor } from "./doctor.js";

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string };
  return version;
}

/** Builds the native libraries from the shipped sources; what the compiler says goes straight to the terminal. */
function build(options: { cuda: boolean }): void {
  const env = options.cuda ? process.env : { ...process.env, HUNYUAN_CUDA: "off" };
  const script = join(packageRoot, "scripts", "build-native.mjs");
  const { status } = spawnSync(process.execPath, [script], { stdio: "inherit", env });
  process.exitCode = status ?? 1;
}

/** Runs one command line, as in `main(process.argv)`; a failure sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command("hunyuan")
    .description("HunyuanVideo inside Node: build and check what it stands on")
    .version(packageVersion())
    .showHelpAfterError();
  program
    .command("build")
    .description("build the native libraries from source (needs g++ and CMake)")
    .option("--no-cuda", "leave the CUDA backend out (as HUNYUAN_CUDA=off does)")
    .action(build);
  program
    .command("doctor")
    .description("say what this machine can run, and what to do about what it cannot")
    .action(() => {
      const { lines, healthy } = doctor();
      process.stdout.write(`${lines.join("\n")}\n`);
      if (!healthy) process.exitCode = 1;
    });
  await program.parseAsync([...argv]);
}

await main(process.argv);
