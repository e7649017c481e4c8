// The emulator's own tests (native/simt/test): small kernels that must be right under every schedule and in every mode,
// and the same kernels with one bug planted, which the mode named here must report.
//
//   plain     deadlocks, misuse, NaN where nothing has arrived yet, wrong values
//   races     ThreadSanitizer: unordered accesses of two threads, or of a thread and the async proxy
//   bounds    AddressSanitizer: shared and global memory, by line
//
//   node scripts/test-simt.mjs [plain] [races] [bounds]     default: all three
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const MODES = ["plain", "races", "bounds"];
const KERNELS = ["rows", "tile", "causal", "pipeline", "tensor_maps", "products"];
const SEEDS = 8;

/** The numbers are those of enum Bug in native/simt/test/suite.h. */
const BUGS = [
  { number: 1, kernel: "rows", mode: "races", what: "no __syncthreads after a shared write" },
  { number: 2, kernel: "rows", mode: "races", what: "no __syncthreads before a shared write" },
  { number: 3, kernel: "rows", mode: "races", what: "no __syncwarp" },
  { number: 4, kernel: "rows", mode: "bounds", what: "static shared memory out of bounds" },
  { number: 5, kernel: "tile", mode: "plain", what: "no wait for cp.async" },
  { number: 6, kernel: "tile", mode: "races", what: "no __syncthreads after the wait for cp.async" },
  { number: 7, kernel: "tile", mode: "races", what: "no trailing sync (write after read)" },
  { number: 8, kernel: "tile", mode: "bounds", what: "dynamic shared memory out of bounds" },
  { number: 9, kernel: "causal", mode: "plain", what: "wrong causal mask" },
  { number: 10, kernel: "pipeline", mode: "plain", what: "wrong mbarrier parity" },
  { number: 11, kernel: "pipeline", mode: "plain", what: "wrong expect_tx" },
  { number: 12, kernel: "pipeline", mode: "plain", what: "wrong arrival count" },
  { number: 13, kernel: "pipeline", mode: "plain", what: "no wait for full" },
  { number: 13, kernel: "pipeline", mode: "races", what: "no wait for full" },
  { number: 14, kernel: "pipeline", mode: "plain", what: "no wait for empty" },
  { number: 14, kernel: "pipeline", mode: "races", what: "no wait for empty" },
  { number: 15, kernel: "pipeline", mode: "races", what: "arrive before the wgmma wait" },
  { number: 16, kernel: "pipeline", mode: "plain", what: "no wgmma wait" },
  { number: 17, kernel: "pipeline", mode: "races", what: "generic write, then wgmma, without a proxy fence" },
  { number: 18, kernel: "pipeline", mode: "plain", what: "wrong descriptor stride" },
];

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28, ...options });
}

function build(mode) {
  const folder = join(root, "build", "simt-test", mode);
  mkdirSync(folder, { recursive: true });
  const steps = [
    ["-S", join(root, "native", "simt", "test"), "-B", folder, `-DHN_SIMT_MODE=${mode}`],
    ["--build", folder, "--parallel", "2"],
  ];
  for (const args of steps) {
    const { status, stdout, stderr, error } = run("cmake", args);
    if (status !== 0) throw new Error(`cmake ${args.join(" ")}\n${stdout ?? ""}${stderr ?? error}`);
  }
  return join(folder, "simt_test");
}

function execute(program, args) {
  const env = { ...process.env, TSAN_OPTIONS: "halt_on_error=1:exitcode=66", ASAN_OPTIONS: "detect_leaks=0" };
  const result = run(program, args, { env, timeout: 120_000 });
  // Kernels that randomise addresses more than this compiler's ThreadSanitizer can follow.
  if (!/unexpected memory mapping/.test(result.stderr)) return result;
  return run("setarch", ["--addr-no-randomize", program, ...args], { env, timeout: 120_000 });
}

/** "" when all was well, else how it was reported, in one line. */
function reportOf({ status, signal, stdout, stderr }) {
  if (status === 0) return "";
  const race = /WARNING: ThreadSanitizer: ([^(]*)/.exec(stderr);
  const bounds = /ERROR: AddressSanitizer: (\S+)/.exec(stderr);
  const place = /#\d+ .*\/test\/((?!main)\w+\.cc:\d+)/.exec(stderr)?.[1];
  if (race) return `ThreadSanitizer: ${race[1].trim()}${place ? ` at ${place}` : ""}`;
  if (bounds) return `AddressSanitizer: ${bounds[1]}${place ? ` at ${place}` : ""}`;
  return stdout.trim() || `ended with ${signal ?? status}: ${stderr.slice(-200)}`;
}

/** Whether the mode itself has spoken, and not some other part of the machinery. */
function caughtBy(mode, report) {
  if (mode === "races") return report.startsWith("ThreadSanitizer: data race");
  if (mode === "bounds") return report.startsWith("AddressSanitizer: use-after-poison");
  return /^(error|value), seed/.test(report);
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : MODES;
for (const mode of wanted)
  if (!MODES.includes(mode)) throw new Error(`unknown mode ${mode}; known: ${MODES.join(", ")}`);

let passed = 0;
let failed = 0;
function note(good, line) {
  console.log(`${good ? "ok   " : "FAIL "} ${line}`);
  if (good) passed += 1;
  else failed += 1;
}

for (const mode of wanted) {
  const program = build(mode);
  for (const kernel of KERNELS) {
    const report = reportOf(execute(program, [kernel, "0", String(SEEDS)]));
    note(report === "", `${kernel} without a bug → ${mode} → ${report || `right under ${SEEDS} seeds`}`);
  }
  for (const bug of BUGS.filter((b) => b.mode === mode)) {
    const report = reportOf(execute(program, [bug.kernel, String(bug.number), String(SEEDS)]));
    note(caughtBy(mode, report), `${bug.what} → ${mode} → ${report || "not reported"}`);
  }
}
const skipped =
  MODES.filter((mode) => !wanted.includes(mode)).length * KERNELS.length +
  BUGS.filter((b) => !wanted.includes(b.mode)).length;
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
if (failed > 0) process.exitCode = 1;
