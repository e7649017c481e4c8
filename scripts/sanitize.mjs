// The sanitizers: everything in C++ without Node (native/test), then the addon under AddressSanitizer inside Node.
//
//   address   AddressSanitizer and UndefinedBehaviorSanitizer over the runtime, and over every op call that
//             test/support/record-cases.ts makes, on each instruction set                           hn_driver address
//   thread    ThreadSanitizer over queue, pool and allocator, and over ops on several devices       hn_driver thread
//   node      AddressSanitizer in Node, preloaded (leaks off: Node itself has some)                 test/ops-portable.test.ts
//
//   node scripts/sanitize.mjs [address] [thread] [node]     default: all three
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildNative, root } from "./build-native.mjs";

const OPTIONS = {
  ASAN_OPTIONS: "abort_on_error=0:detect_stack_use_after_return=1",
  UBSAN_OPTIONS: "print_stacktrace=1",
  TSAN_OPTIONS: "second_deadlock_stack=1",
};
const NODE_TEST = "test/ops-portable.test.ts";
const RECORD_CASES = "test/support/record-cases.ts";

function run(program, args, env = {}) {
  return spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...OPTIONS, ...env },
    stdio: ["ignore", "inherit", "pipe"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
}

let recorded;

/** The op calls of all cases, recorded once with the plain build. */
function recordCases() {
  if (recorded) return recorded;
  buildNative();
  const file = join(root, "build", "cases.bin");
  mkdirSync(join(root, "build"), { recursive: true });
  rmSync(file, { force: true });
  const { status, stderr } = run(process.execPath, ["--import", "tsx", RECORD_CASES], { HUNYUAN_RECORD: file });
  if (status !== 0) throw new Error(`${RECORD_CASES} failed:\n${stderr}`);
  recorded = file;
  return file;
}

function driver(kind) {
  const args = ["--cases", recordCases(), kind];
  const { folder } = buildNative({ sanitize: kind });
  const program = join(folder, "hn_driver");
  if (!existsSync(program)) throw new Error("there is no native/test/*.cc, so no hn_driver was built");
  let result = run(program, args);
  // Kernels that randomise addresses more than this compiler's ThreadSanitizer can follow.
  if (/unexpected memory mapping/.test(result.stderr ?? "")) {
    result = run("setarch", ["--addr-no-randomize", program, ...args]);
  }
  return result;
}

/** node-gyp-build takes the addon from the folder that HUNYUAN_NATIVE_PREBUILD names. */
function insideNode() {
  buildNative({ sanitize: "address" });
  const compiler = process.env.CXX?.split(" ")[0] || "c++";
  const runtime = spawnSync(compiler, ["-print-file-name=libasan.so"], { encoding: "utf8" }).stdout?.trim();
  if (!runtime?.startsWith("/")) throw new Error(`${compiler} has no libasan.so`);
  return run(process.execPath, ["--import", "tsx", NODE_TEST], {
    LD_PRELOAD: runtime,
    ASAN_OPTIONS: `${OPTIONS.ASAN_OPTIONS}:detect_leaks=0`,
    HUNYUAN_NATIVE_PREBUILD: join(root, "build", "address"),
  });
}

const runs = { address: () => driver("address"), thread: () => driver("thread"), node: insideNode };
const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(runs);
const outcomes = [];
for (const name of wanted) {
  if (!runs[name]) throw new Error(`unknown run ${name}; known: ${Object.keys(runs).join(", ")}`);
  console.log(`--- ${name}`);
  const started = Date.now();
  let problem = "";
  try {
    const { status, signal, stderr, error } = runs[name]();
    process.stderr.write(stderr ?? "");
    if (error) problem = error.message;
    else if (status !== 0) problem = `ended with ${signal ?? `exit code ${status}`}`;
    else if (/ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:/.test(stderr)) problem = "see above";
  } catch (error) {
    problem = error.message;
  }
  const seconds = `(${((Date.now() - started) / 1000).toFixed(0)} s)`;
  console.log(problem ? `FAIL  ${name}: ${problem} ${seconds}` : `ok    ${name} ${seconds}`);
  outcomes.push(problem === "");
}
const passed = outcomes.filter(Boolean).length;
console.log(`${passed} passed, ${outcomes.length - passed} failed, 0 skipped`);
if (passed < outcomes.length) process.exitCode = 1;
