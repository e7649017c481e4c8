// The emulator's own tests (native/simt/test): small kernels that must be right under every schedule and in every mode,
// and the same kernels with one bug planted, which the mode named here must report.
//
//   plain     deadlocks, misuse, NaN where nothing has arrived yet, wrong values
//   races     ThreadSanitizer: unordered accesses of two threads, or of a thread and the async proxy
//   bounds    AddressSanitizer: shared and global memory, by line
//
//   node scripts/test-simt.mjs [plain] [races] [bounds]     default: all three
//   node scripts/test-simt.mjs --kernels[=FAMILY]           the library's kernels instead (scripts/simt/kernels.mjs), all
//                                                           or the op families with this in their names
//   --only plain|races|bounds                               as the mode's name alone
import { checkKernels } from "./simt/kernels.mjs";
import { build, execute, MODES } from "./simt/programs.mjs";

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
  {
    number: 19,
    kernel: "rows",
    mode: "bounds",
    what: "global memory out of bounds",
    says: "AddressSanitizer: heap-buffer-overflow",
  },
  { number: 20, kernel: "rows", mode: "bounds", what: "misaligned access of 16 bytes", says: "misaligned" },
];

const OPTIONS = {
  env: {
    TSAN_OPTIONS: "halt_on_error=1:exitcode=66",
    ASAN_OPTIONS: "halt_on_error=1:detect_leaks=0",
    UBSAN_OPTIONS: "halt_on_error=1",
  },
  timeout: 120_000,
};

/** "" when all was well, else how it was reported, in one line. */
function reportOf({ status, signal, stdout, stderr }) {
  if (status === 0) return "";
  const race = /WARNING: ThreadSanitizer: ([^(]*)/.exec(stderr);
  const bounds = /ERROR: AddressSanitizer: (\S+)/.exec(stderr);
  const misaligned = /(\w+\.cc:\d+):\d+: runtime error: .*?(misaligned address)/.exec(stderr);
  const place = /#\d+ .*\/test\/((?!main)\w+\.cc:\d+)/.exec(stderr)?.[1];
  if (race) return `ThreadSanitizer: ${race[1].trim()}${place ? ` at ${place}` : ""}`;
  if (bounds) return `AddressSanitizer: ${bounds[1]}${place ? ` at ${place}` : ""}`;
  if (misaligned) return `${misaligned[2]} at ${misaligned[1]}`;
  return stdout.trim() || `ended with ${signal ?? status}: ${stderr.slice(-200)}`;
}

/** Whether the mode itself has spoken, and not some other part of the machinery. */
function caughtBy({ mode, says = "AddressSanitizer: use-after-poison" }, report) {
  if (mode === "races") return report.startsWith("ThreadSanitizer: data race");
  if (mode === "bounds") return report.startsWith(says);
  return /^(error|value), seed/.test(report);
}

/** Every right kernel, and every bug in the modes that should report it. Answers how many passed, failed, were skipped. */
async function checkEmulator(wanted) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const note = (good, line) => {
    console.log(`${good ? "ok   " : "FAIL "} ${line}`);
    total[good ? "passed" : "failed"] += 1;
  };
  for (const mode of MODES) {
    const bugs = BUGS.filter((bug) => bug.mode === mode);
    if (!wanted.includes(mode)) {
      total.skipped += KERNELS.length + bugs.length;
      continue;
    }
    const program = await build(mode, "simt_test");
    for (const kernel of KERNELS) {
      const report = reportOf(await execute(program, [kernel, "0", String(SEEDS)], OPTIONS));
      note(report === "", `${kernel} without a bug → ${mode} → ${report || `right under ${SEEDS} seeds`}`);
    }
    for (const bug of bugs) {
      const report = reportOf(await execute(program, [bug.kernel, String(bug.number), String(SEEDS)], OPTIONS));
      note(caughtBy(bug, report), `${bug.what} → ${mode} → ${report || "not reported"}`);
    }
  }
  return total;
}

function argumentsOf(args) {
  const modes = [];
  let kernels;
  for (let i = 0; i < args.length; i++) {
    const name = args[i] === "--only" ? (args[++i] ?? "nothing") : args[i];
    if (MODES.includes(name)) modes.push(name);
    else if (/^--kernels(=|$)/.test(name)) kernels = name.slice("--kernels=".length);
    else
      throw new Error(`unknown argument ${name}; known: ${MODES.join(", ")}, --kernels, --kernels=FAMILY, --only MODE`);
  }
  return { kernels, modes: modes.length > 0 ? modes : MODES };
}

const { kernels, modes } = argumentsOf(process.argv.slice(2));
const { passed, failed, skipped } =
  kernels === undefined ? await checkEmulator(modes) : await checkKernels(kernels, modes);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
if (failed > 0) process.exitCode = 1;
