// Builds and runs the programs of native/simt/test/CMakeLists.txt, simt_test and simt_replay, in three modes.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { atFixedAddresses } from "../sanitizers.mjs";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const MODES = ["plain", "races", "bounds"];

/** How much is built or run at once. */
export const jobs = Math.max(1, Number(process.env.HUNYUAN_NUM_THREADS) || availableParallelism());

/** Ends with all that the program wrote. */
export function run(command, args, { env = {}, timeout = 0 } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout,
      killSignal: "SIGKILL",
    });
    const result = { status: null, signal: null, stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text) => {
        result[name] += text;
      });
    }
    child.on("error", (error) => resolve({ ...result, stderr: error.message }));
    child.on("close", (status, signal) => resolve({ ...result, status, signal }));
  });
}

/** The program's path, built. */
export async function build(mode, program) {
  const folder = join(root, "build", "simt-test", mode);
  mkdirSync(folder, { recursive: true });
  const steps = [
    ["-S", join(root, "native", "simt", "test"), "-B", folder, `-DHN_SIMT_MODE=${mode}`],
    ["--build", folder, "--target", program, "--parallel", String(jobs)],
  ];
  for (const args of steps) {
    const { status, stdout, stderr } = await run("cmake", args);
    if (status !== 0) throw new Error(`cmake ${args.join(" ")}\n${stdout}${stderr}`);
  }
  return join(folder, program);
}

export async function execute(program, args, options) {
  const result = await run(program, args, options);
  const again = atFixedAddresses(result.stderr, program, args);
  return again ? run(...again, options) : result;
}
