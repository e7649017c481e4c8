// The library's own kernels in the emulator's three modes. The calls of all op cases are recorded on the CPU once, a file
// a family (test/support/record-cases.ts), and made again by simt_replay (native/test/simt):
//
//   plain     under eight schedules: all must write the same bytes, and what the CPU's kernels wrote but for roundings
//   races     once under ThreadSanitizer
//   bounds    once under AddressSanitizer, tensors and workspace in heap blocks of their exact size; accesses at
//             addresses that are not aligned to their size count too
//
// A sanitizer tells of each place in the sources once: of several calls that go wrong there the first one fails.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { complains } from "../sanitizers.mjs";
import { build, execute, jobs, root, run } from "./programs.mjs";

const SEEDS = 8;
/** What calls may take in plain mode, in seconds of processor time; a sanitizer makes them many times slower. */
const MOST_SECONDS = { plain: 2, races: 0.5, bounds: 1 };
const TIME_LIMIT_MS = 2 * 3600_000;
const SHOWN_FAILURES = 10;
const SHOWN_REPORT = 4000;
const SANITIZER = {
  TSAN_OPTIONS: "halt_on_error=0",
  ASAN_OPTIONS: "halt_on_error=0:detect_leaks=0",
  UBSAN_OPTIONS: "print_stacktrace=1",
};
const folder = join(root, "build", "simt-test", "calls");
const WITHOUT_CASES = "without-cases";

function families() {
  const names = readdirSync(join(root, "test", "ops")).filter((file) => file.endsWith(".cases.ts"));
  return [...names.map((file) => file.replace(".cases.ts", "")).sort(), WITHOUT_CASES];
}

const timeOf = (file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
function newestIn(place) {
  const files = readdirSync(place, { recursive: true }).map((name) => join(place, name));
  return Math.max(...files.map(timeOf));
}

/** The family's calls; recorded again when a case, an op or the addon is younger than the file. */
async function record(family, changed) {
  const file = join(folder, `${family}.bin`);
  if (timeOf(file) > changed) return file;
  const fresh = `${file}.new`;
  rmSync(fresh, { force: true });
  rmSync(join(folder, `${family}.times`), { force: true });
  const env = { HUNYUAN_RECORD: fresh, HUNYUAN_CASES: family, HUNYUAN_RECORD_FOR: "simt" };
  const { status, stderr } = await run(process.execPath, ["--import", "tsx", "test/support/record-cases.ts"], { env });
  if (status !== 0) throw new Error(`recording the calls of ${family} failed: ${stderr.slice(-SHOWN_REPORT)}`);
  renameSync(fresh, file);
  return file;
}

async function recordAll(names) {
  const addon = join(root, "build", "Release", "hunyuan.node");
  if (!existsSync(addon)) throw new Error("build/Release has no hunyuan.node to record with: npm run build:native");
  mkdirSync(folder, { recursive: true });
  const changed = Math.max(timeOf(addon), newestIn(join(root, "test")), newestIn(join(root, "lib")));
  for (const name of names) await record(name, changed);
}

/** What simt_replay said, as numbers; undefined when it did not come to its end. */
function summaryOf(stdout) {
  const line = /^done (.*)$/m.exec(stdout)?.[1];
  if (line === undefined) return undefined;
  return Object.fromEntries(line.split(" ").map((pair) => [pair.split("=")[0], Number(pair.split("=")[1])]));
}

function failureText({ status, signal, stdout, stderr }) {
  const lines = stdout.split("\n");
  const failures = lines.flatMap((line, i) => (line.startsWith("FAIL ") ? [`${line}\n${lines[i + 1]}`] : []));
  const last = lines.findLast((line) => line.startsWith("@ "));
  const died = summaryOf(stdout) ? [] : [`ended with ${signal ?? `exit code ${status}`} in call ${last ?? "none"}`];
  const more = failures.length > SHOWN_FAILURES ? [`and ${failures.length - SHOWN_FAILURES} more`] : [];
  return [...failures.slice(0, SHOWN_FAILURES), ...more, ...died, stderr.slice(0, SHOWN_REPORT)].join("\n");
}

async function replay(mode, program, family) {
  const times = join(folder, `${family}.times`);
  const args = [join(folder, `${family}.bin`), "--most", String(MOST_SECONDS[mode])];
  if (mode === "plain") args.push("--seeds", String(SEEDS), "--time", `${times}.new`);
  else args.push("--times", times);
  const env = { ...SANITIZER, HUNYUAN_SIMT_THREADS: String(mode === "plain" ? jobs : 1) };
  const result = await execute(program, args, { env, timeout: TIME_LIMIT_MS });
  const counts = summaryOf(result.stdout);
  if (mode === "plain" && counts !== undefined) renameSync(`${times}.new`, times);
  return { result, counts };
}

/** Other modes leave out what plain mode found to be slow: each family's times must be there. */
async function measure(program, names) {
  for (const name of names) {
    const times = join(folder, `${name}.times`);
    if (existsSync(times)) continue;
    const args = [join(folder, `${name}.bin`), "--time", `${times}.new`];
    const result = await execute(program, args, { timeout: TIME_LIMIT_MS });
    if (summaryOf(result.stdout) === undefined) throw new Error(`measuring ${name}: ${failureText(result)}`);
    renameSync(`${times}.new`, times);
  }
}

function lineOf(mode, family, counts) {
  const rest = [
    counts.missing > 0 ? `${counts.missing} without a kernel` : "",
    counts.cut_short > 0 ? `${counts.cut_short} under one schedule only, longer than ${MOST_SECONDS[mode]} s` : "",
    counts.left_out > 0
      ? `${counts.left_out} left out, longer than ${MOST_SECONDS[mode]} s in plain mode (${counts.left_out_seconds} s in all)`
      : "",
  ].filter(Boolean);
  const wrong = counts.wrong > 0 ? `, ${counts.wrong} wrong` : "";
  const also = rest.length > 0 ? ` (${rest.join("; ")})` : "";
  return `${family} → ${mode} → ${counts.right} calls right${wrong}${also}, ${counts.seconds} s of processor time`;
}

/** Answers how many calls passed, failed and were skipped. */
export async function checkKernels(filter, modes) {
  const names = families().filter((name) => name.includes(filter));
  if (names.length === 0)
    throw new Error(`no op family has '${filter}' in its name; there are: ${families().join(", ")}`);
  const total = { passed: 0, failed: 0, skipped: 0 };
  await recordAll(names);
  if (!modes.includes("plain")) await measure(await build("plain", "simt_replay"), names);
  for (const mode of modes) {
    const program = await build(mode, "simt_replay");
    const left = [...names];
    const work = async () => {
      for (let family = left.shift(); family !== undefined; family = left.shift()) {
        const { result, counts } = await replay(mode, program, family);
        const quiet = result.status === 0 && !complains(result.stderr);
        const good = quiet && counts !== undefined && counts.wrong === 0;
        const line =
          counts === undefined ? `${family} → ${mode} → did not come to its end` : lineOf(mode, family, counts);
        console.log(`${good ? "ok   " : "FAIL "} ${line}`);
        if (!good) console.log(failureText(result));
        total.passed += counts?.right ?? 0;
        total.failed += good ? 0 : Math.max(1, counts?.wrong ?? 0);
        total.skipped += (counts?.missing ?? 0) + (counts?.cut_short ?? 0) + (counts?.left_out ?? 0);
      }
    };
    // In plain mode a launch has all processors to itself.
    await Promise.all(Array.from({ length: mode === "plain" ? 1 : jobs }, work));
  }
  return total;
}
