// Brings the objects of native/cuda up to date and finds what ptxas said of each (native/cuda/nvcc.sh keeps it).
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";

/** CMake's targets: the portable kernels, and those of *_sm90.cu, which is there when there are any. */
const TARGET = "hn_cuda_kernels";
const TARGET_SM90 = "hn_cuda_kernels_sm90";
const LOG = ".cu.o.ptxas";

/** A reason why there can be no report, to be printed without a stack. */
export class NoReport extends Error {}

function cmake(root: string, args: readonly string[]): void {
  const { status, signal, error } = spawnSync("cmake", args, {
    cwd: root,
    stdio: ["ignore", process.stderr, process.stderr],
  });
  if (error) throw new NoReport(`cmake could not be started: ${error.message}`);
  if (status !== 0) throw new NoReport(`cmake ${args[0]} failed (${signal ?? `exit code ${status}`}), see above`);
}

const cached = (folder: string, name: string): string | undefined => {
  const cache = join(folder, "CMakeCache.txt");
  if (!existsSync(cache)) return undefined;
  return new RegExp(`^${name}:\\w+=(.*)$`, "m").exec(readFileSync(cache, "utf8"))?.[1];
};

/** Whether the folder was configured for this checkout; one that was copied along from another is of no use. */
function isOf(root: string, folder: string): boolean {
  const home = cached(folder, "CMAKE_HOME_DIRECTORY");
  return home !== undefined && existsSync(home) && realpathSync(home) === realpathSync(root);
}

const hasNvcc = (folder: string) => /nvcc/.test(cached(folder, "CMAKE_CUDA_COMPILER") ?? "");

/** The main build's folder when that build has CUDA, else one of its own, which it configures. */
function cmakeFolder(root: string): string {
  const main = join(root, "build", "cmake");
  if (isOf(root, main) && cached(main, "HUNYUAN_CUDA") === "auto" && hasNvcc(main)) return main;
  const own = join(root, "build", "ptxas");
  if (!isOf(root, own)) rmSync(own, { recursive: true, force: true });
  const ninja = !existsSync(own) && spawnSync("ninja", ["--version"]).status === 0 ? ["-G", "Ninja"] : [];
  cmake(root, [
    ...["-S", root, "-B", own, ...ninja, "-DCMAKE_BUILD_TYPE=Release", "-DHUNYUAN_CUDA=auto"],
    ...[`-DHN_OUTPUT_DIR=${join(own, "Release")}`, `-DHN_NODE=${process.execPath}`],
  ]);
  if (hasNvcc(own)) return own;
  rmSync(own, { recursive: true });
  throw new NoReport("nvcc was not found on PATH: this report needs the CUDA toolkit (12.8 or newer), but no GPU");
}

/** Names of the files that end so, without the ending. */
const list = (folder: string, ending: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((file) => file.endsWith(ending))
        .map((file) => file.slice(0, -ending.length))
    : [];

export interface PtxasLogs {
  /** By source, sorted. */
  readonly logs: readonly (readonly [file: string, text: string])[];
  /** Name and version. */
  readonly compiler: string;
}

/** What ptxas said of each source. Compiles what is out of date, `jobs` files at once. */
export function ptxasLogs(root: string, jobs = availableParallelism()): PtxasLogs {
  const folder = cmakeFolder(root);
  const sources = list(join(root, "native", "cuda"), ".cu").sort();
  const targets = sources.some((name) => name.endsWith("_sm90")) ? [TARGET, TARGET_SM90] : [TARGET];
  const objects = targets.map((target) => join(folder, "CMakeFiles", `${target}.dir`, "native", "cuda"));
  // An object without its log is of a build before nvcc.sh: it is made again.
  for (const where of objects) {
    const logged = new Set(list(where, LOG));
    for (const name of list(where, ".cu.o")) if (!logged.has(name)) rmSync(join(where, `${name}.cu.o`));
  }
  cmake(root, ["--build", folder, "--target", ...targets, "--parallel", String(jobs)]);

  const logs = sources.map((name) => {
    const log = objects.map((where) => join(where, `${name}${LOG}`)).find((file) => existsSync(file));
    if (log === undefined) throw new NoReport(`${name}.cu left no figures: remove ${folder}, and try again`);
    return [`${name}.cu`, readFileSync(log, "utf8")] as const;
  });
  const nvcc = cached(folder, "CMAKE_CUDA_COMPILER") ?? "nvcc";
  const release = /release ([\d.]+)/.exec(spawnSync(nvcc, ["--version"], { encoding: "utf8" }).stdout ?? "")?.[1];
  return { logs, compiler: `${basename(nvcc)}${release ? ` ${release}` : ""}` };
}
