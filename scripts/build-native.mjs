// Builds the native libraries with CMake into build/Release. Plain JavaScript with no dependency but Node: it also
// runs from the published package (`npx hunyuan build`).
//
//   node scripts/build-native.mjs [--debug] [--sanitize=address|thread]
//   HUNYUAN_CUDA=auto|off   auto (default) builds the CUDA backend when nvcc is found
//   CXX=…                   the C++ compiler
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));
const ADDON = "hunyuan.node";
const BACKENDS = ["hunyuan_null.so", "hunyuan_simt.so", "hunyuan_cuda.so"];

/** A build that cannot go on, with what to do about it; anything else is a bug of this script. */
export class BuildError extends Error {}

function onPath(...names) {
  for (const name of names) {
    if (name.includes("/")) {
      if (existsSync(name)) return name;
      continue;
    }
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      const file = join(folder, name);
      if (folder && statSync(file, { throwIfNoEntry: false })?.isFile()) return file;
    }
  }
  return undefined;
}

function checkTools() {
  if (process.platform !== "linux") {
    throw new BuildError(
      `hunyuan-native builds on Linux only for now, and this is ${process.platform}. ` +
        "Use a Linux machine or container (on Windows: WSL 2).",
    );
  }
  const install = "Debian and Ubuntu: apt-get install cmake g++ make. Fedora: dnf install cmake gcc-c++ make.";
  if (!onPath("cmake")) throw new BuildError(`cmake (3.22 or newer) was not found on PATH. ${install}`);
  const compiler = process.env.CXX?.split(" ")[0];
  if (compiler && !onPath(compiler)) throw new BuildError(`The compiler CXX=${compiler} was not found. ${install}`);
  if (!compiler && !onPath("c++", "g++", "clang++")) {
    throw new BuildError(`No C++ compiler (g++ 12 or newer) was found on PATH. ${install}`);
  }
  if (!onPath("ninja", "make", "gmake")) throw new BuildError(`Neither ninja nor make was found on PATH. ${install}`);
}

function cmake(args) {
  const env = { ...process.env };
  // Set when node-gyp's make runs us: its job server is not ours.
  delete env.MAKEFLAGS;
  delete env.MFLAGS;
  const { status, signal, error } = spawnSync("cmake", args, { cwd: root, env, stdio: "inherit" });
  if (error) throw new BuildError(`cmake could not be started: ${error.message}`);
  if (status !== 0) throw new BuildError(`cmake ${args[0]} failed (${signal ?? `exit code ${status}`}), see above.`);
}

/** The generator may be chosen once per CMake folder; a folder made for another checkout is of no use. */
function chooseGenerator(folder) {
  const cache = join(folder, "CMakeCache.txt");
  if (existsSync(cache)) {
    const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
    if (home && existsSync(home) && realpathSync(home) === root) return [];
    rmSync(folder, { recursive: true });
  }
  return ["-G", onPath("ninja") ? "Ninja" : "Unix Makefiles"];
}

/**
 * Configures and builds. Answers the folders and the libraries built.
 * A sanitizer's build stands apart in build/<sanitizer>, so that it never replaces the plain one.
 */
export function buildNative({ sanitize = "", buildType = sanitize ? "RelWithDebInfo" : "Release" } = {}) {
  checkTools();
  const cuda = process.env.HUNYUAN_CUDA || "auto";
  if (cuda !== "auto" && cuda !== "off") throw new BuildError(`HUNYUAN_CUDA is '${cuda}', expected auto or off.`);

  const base = sanitize ? join(root, "build", sanitize) : root;
  const folder = sanitize ? join(base, "cmake") : join(root, "build", "cmake");
  const output = join(base, "build", "Release");
  mkdirSync(output, { recursive: true });

  const started = Date.now();
  cmake([
    "-S",
    root,
    "-B",
    folder,
    ...chooseGenerator(folder),
    `-DCMAKE_BUILD_TYPE=${buildType}`,
    `-DHUNYUAN_CUDA=${cuda}`,
    `-DHN_SANITIZE=${sanitize}`,
    `-DHN_OUTPUT_DIR=${output}`,
    `-DHN_NODE=${process.execPath}`,
  ]);
  cmake(["--build", folder, "--parallel", String(availableParallelism())]);

  const built = readdirSync(output).filter((file) => file === ADDON || BACKENDS.includes(file));
  if (!built.includes(ADDON)) throw new BuildError(`The build ended without ${relative(root, join(output, ADDON))}.`);
  return { folder, output, built, seconds: (Date.now() - started) / 1000 };
}

function main(args) {
  const options = {};
  for (const arg of args) {
    if (arg === "--debug") options.buildType = "Debug";
    else if (/^--sanitize=(address|thread)$/.test(arg)) options.sanitize = arg.slice("--sanitize=".length);
    else throw new BuildError(`unknown argument ${arg}; known: --debug, --sanitize=address, --sanitize=thread`);
  }
  const { output, built, seconds } = buildNative(options);
  for (const file of built) {
    const mib = statSync(join(output, file)).size / 2 ** 20;
    console.log(`built ${relative(root, join(output, file))} (${mib.toFixed(1)} MiB)`);
  }
  console.log(`native build done in ${seconds.toFixed(1)} s`);
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(`hunyuan-native: ${error.message}`);
    process.exitCode = 1;
  }
}
