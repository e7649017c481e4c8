// The sanitizers: everything in C++ without Node (native/test), then the addon under AddressSanitizer inside Node.
//
//   address   AddressSanitizer and UndefinedBehaviorSanitizer over the runtime, and over every op call that
//             test/support/record-cases.ts makes, on each instruction set                           hn_driver address
//   thread    ThreadSanitizer over queue, pool and allocator, and over ops on several devices       hn_driver thread
//   node      AddressSanitizer in Node, preloaded (leaks off: Node itself has some), over the tests that reach every
//             corner of native/addon: ops, queue, workers, process ends, bad input
//
//   node scripts/sanitize.mjs [address] [thread] [node]     default: all three
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildNative, root } from "./build-native.mjs";
import { atFixedAddresses, complains } from "./sanitizers.mjs";

const OPTIONS = {
  ASAN_OPTIONS: "abort_on_error=0:detect_stack_use_after_return=1",
  UBSAN_OPTIONS: "print_stacktrace=1",
  TSAN_OPTIONS: "second_deadlock_stack=1",
};
/** More than the machine may have: threads then interrupt each other in more places. */
const THREADS = { HUNYUAN_NUM_THREADS: "4" };
const NODE_TESTS = [
  "test/ops-portable.test.ts",
  "test/runtime/queue.test.ts",
  "test/runtime/workers.test.ts",
  "test/runtime/process-end.test.ts",
  "test/runtime/bad-input.test.ts",
];
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

/** "" when the program ended well and no sanitizer complained. Prints what it said on stderr. */
function problemOf({ status, signal, stderr, error }) {
  // Memory that cannot be had is an answer, not a finding.
  process.stderr.write((stderr ?? "").replace(/^==\d+==WARNING: AddressSanitizer failed to allocate .*\n/gm, ""));
  if (error) return error.message;
  if (status !== 0) return `ended with ${signal ?? `exit code ${status}`}`;
  return complains(stderr) ? "see above" : "";
}

let recorded;

/** The op calls of all cases, recorded once with the plain build. */
function recordCases() {
  if (recorded) return recorded;
  buildNative();
  const file = join(root, "build", "cases.bin");
  mkdirSync(join(root, "build"), { recursive: true });
  rmSync(file, { force: true });
  const problem = problemOf(run(process.execPath, ["--import", "tsx", RECORD_CASES], { HUNYUAN_RECORD: file }));
  if (problem) throw new Error(`${RECORD_CASES} ${problem}`);
  recorded = file;
  return file;
}

function driver(kind) {
  const args = ["--cases", recordCases(), kind];
  const { folder } = buildNative({ sanitize: kind });
  const program = join(folder, "hn_driver");
  if (!existsSync(program)) throw new Error("there is no native/test/*.cc, so no hn_driver was built");
  const result = run(program, args, THREADS);
  const again = atFixedAddresses(result.stderr ?? "", program, args);
  return problemOf(again ? run(...again, THREADS) : result);
}

/** node-gyp-build takes the addon from the folder that HUNYUAN_NATIVE_PREBUILD names. */
function insideNode() {
  buildNative({ sanitize: "address" });
  const compiler = process.env.CXX?.split(" ")[0] || "c++";
  const runtime = spawnSync(compiler, ["-print-file-name=libasan.so"], { encoding: "utf8" }).stdout?.trim();
  if (!runtime?.startsWith("/")) throw new Error(`${compiler} has no libasan.so`);
  const env = {
    LD_PRELOAD: runtime,
    ASAN_OPTIONS: `${OPTIONS.ASAN_OPTIONS}:detect_leaks=0:allocator_may_return_null=1`,
    HUNYUAN_NATIVE_PREBUILD: join(root, "build", "address"),
  };
  for (const file of NODE_TESTS) {
    console.log(file);
    const problem = problemOf(run(process.execPath, ["--import", "tsx", file], env));
    if (problem) return `${file} ${problem}`;
  }
  return "";
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
    problem = runs[name]();
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
