// What each CUDA kernel takes, for each architecture: registers, shared memory, stack, spills. Writes docs/ptxas.md, and
// fails (exit code 1) naming each kernel that spills or has a stack and does not stand in scripts/ptxas/allowed.json.
// Needs nvcc, no GPU; compiles only what is out of date.
//
//   npm run ptxas -- [--jobs=N] [--times]
//
//   --jobs=N   compile N files at once; default: one a processor
//   --times    tell also what ptxas took for each file (the compiler before it not counted)
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { NoReport, ptxasLogs } from "./ptxas/build.js";
import { type Allowed, checkKernels } from "./ptxas/check.js";
import { type Kernel, namedKernels } from "./ptxas/names.js";
import { ptxasTable } from "./ptxas/table.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TABLE = "docs/ptxas.md";

function options(args: readonly string[]): { times: boolean; jobs: number | undefined } {
  let times = false;
  let jobs: number | undefined;
  for (const arg of args) {
    const count = /^--jobs=([1-9]\d*)$/.exec(arg)?.[1];
    if (count !== undefined) jobs = Number(count);
    else if (arg === "--times") times = true;
    else throw new NoReport(`unknown argument ${arg}; known: --jobs=N, --times`);
  }
  return { times, jobs };
}

function printTimes(kernels: readonly Kernel[]): void {
  const seconds = new Map<string, number>();
  for (const kernel of kernels) seconds.set(kernel.file, (seconds.get(kernel.file) ?? 0) + kernel.seconds);
  for (const [file, time] of [...seconds].sort(([, a], [, b]) => b - a)) console.log(`${time.toFixed(1)} s  ${file}`);
}

function main(): void {
  const { times, jobs } = options(process.argv.slice(2));
  const { logs, compiler } = ptxasLogs(root, jobs);
  const kernels = namedKernels(logs);
  if (times) printTimes(kernels);
  writeFileSync(join(root, TABLE), ptxasTable(kernels, compiler));
  const allowed = JSON.parse(readFileSync(join(root, "scripts/ptxas/allowed.json"), "utf8")) as Allowed[];
  const problems = checkKernels(kernels, allowed);
  for (const problem of problems) console.error(problem);
  const arches = [...new Set(kernels.map((kernel) => kernel.arch))].sort().join(", ");
  console.log(`${kernels.length} kernels of ${logs.length} files for ${arches}; table in ${TABLE}`);
  if (problems.length > 0) {
    console.error(`${problems.length} of them use local memory without leave: see scripts/ptxas/check.mjs`);
    process.exitCode = 1;
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof NoReport)) throw error;
  console.error(`ptxas: ${error.message}`);
  process.exitCode = 2;
}
