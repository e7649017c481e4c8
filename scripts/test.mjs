// Runs the tests: uvu through tsx, each file in a process of its own, so that a crash is seen and named.
//
//   node scripts/test.mjs [--full] [part of a path …]
//
//   *.test.ts        two files at once
//   *.solo.test.ts   after the others, one at a time: for what measures time or memory
//   *.gc.test.ts     (also *.gc.solo.test.ts) with --expose-gc
//   --full           sets HUNYUAN_TEST_FULL=1: the long runs too
//
// The last line is for machines: `N passed, N failed, N skipped`. A file that dies, hangs, or ends without a summary
// counts as one failure.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const AT_ONCE = 2;
const TIME_LIMIT_MS = 20 * 60_000;

const args = process.argv.slice(2);
const full = args.includes("--full") || process.env.HUNYUAN_TEST_FULL === "1";
const filters = args.filter((arg) => !arg.startsWith("-"));
const unknown = args.filter((arg) => arg.startsWith("-") && arg !== "--full");
if (unknown.length > 0) {
  console.error(`unknown argument ${unknown.join(" ")}; known: --full and parts of paths`);
  process.exit(2);
}

const files = readdirSync(join(root, "test"), { recursive: true })
  .map((name) => join("test", name))
  .filter((file) => file.endsWith(".test.ts"))
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .sort();

function runFile(file) {
  return new Promise((resolve) => {
    const flags = /\.gc(\.solo)?\.test\.ts$/.test(file) ? ["--expose-gc"] : [];
    const env = { ...process.env, FORCE_COLOR: "0", ...(full ? { HUNYUAN_TEST_FULL: "1" } : {}) };
    const started = performance.now();
    const child = spawn(
      process.execPath,
      [...flags, "--import", "tsx", "--import", "./scripts/uvu/register.mjs", file],
      {
        cwd: root,
        env,
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let output = "";
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, TIME_LIMIT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        output += text;
      });
    }
    child.on("error", (error) => {
      output += `could not be started: ${error.message}\n`;
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const seconds = (performance.now() - started) / 1000;
      resolve({ file, seconds, output: stripVTControlCharacters(output), ...judge(output, code, signal, timedOut) });
    });
  });
}

/** Reads uvu's summary; whatever else went wrong with the process becomes one more failure with a reason. */
function judge(output, code, signal, timedOut) {
  const plain = stripVTControlCharacters(output);
  const count = (word) => {
    const found = [...plain.matchAll(new RegExp(`^ {2}${word}: +(\\d+)$`, "gm"))].at(-1);
    return found ? Number(found[1]) : undefined;
  };
  const total = count("Total");
  const passed = count("Passed") ?? 0;
  const skipped = count("Skipped") ?? 0;
  let failed = (total ?? 0) - passed;
  let reason = failed > 0 ? "" : undefined;
  if (timedOut) reason = `stopped after ${TIME_LIMIT_MS / 60_000} minutes`;
  else if (signal) reason = `died from ${signal}`;
  else if (total === undefined) reason = `ended with exit code ${code} and without a summary`;
  else if (code !== 0 && failed === 0) reason = `every test passed, then the process ended with exit code ${code}`;
  if (reason) failed += 1;
  return { passed, failed, skipped, reason };
}

function report({ file, seconds, output, passed, failed, skipped, reason }) {
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ""}${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  console.log(`${failed > 0 ? "FAIL" : "ok  "}  ${file}  ${counts} (${seconds.toFixed(1)} s)`);
  if (failed === 0) return;
  if (reason) console.log(`      ${file} ${reason}`);
  console.log(output.replace(/^/gm, "      ").trimEnd());
}

async function runAll(list, atOnce) {
  const waiting = [...list];
  const results = [];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file);
      report(result);
      results.push(result);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}

if (files.length === 0) console.log(`no test file under test/ matches ${filters.join(" ") || "*.test.ts"}`);
const alone = (file) => file.endsWith(".solo.test.ts");
const results = [
  ...(await runAll(
    files.filter((file) => !alone(file)),
    AT_ONCE,
  )),
  ...(await runAll(files.filter(alone), 1)),
];
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
const bad = results.filter((result) => result.failed > 0).map((result) => result.file);
if (bad.length > 0) console.log(`failures in: ${bad.join(", ")}`);
console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
if (bad.length > 0 || sum("passed") === 0) process.exitCode = 1;
