/** `hunyuan build`: the native libraries from the shipped sources. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { Command } from "commander";
import { packageRoot } from "../runtime/binding.js";

export function addBuild(command: Command): void {
  command.option("--no-cuda", "leave the CUDA backend out (as HUNYUAN_CUDA=off does)").action(build);
}

/** What the compiler says goes straight to the terminal. */
function build(options: { cuda: boolean }): void {
  const env = options.cuda ? process.env : { ...process.env, HUNYUAN_CUDA: "off" };
  const script = join(packageRoot, "scripts", "build-native.mjs");
  const { status } = spawnSync(process.execPath, [script], { stdio: "inherit", env });
  process.exitCode = status ?? 1;
}
