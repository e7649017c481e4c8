// Puts together what the other steps of run.sh have left:
//
//   node bench/gpu/report.mjs RESULTS FOLDER DEVICE
//
// reads bench.jsonl, peers.jsonl, conformance-*.jsonl and steps.tsv in RESULTS, writes DEVICE-DATE.json and .md in FOLDER.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

const [results, folder, device] = process.argv.slice(2);
if (device === undefined) {
  console.error("usage: node bench/gpu/report.mjs RESULTS FOLDER DEVICE");
  process.exit(2);
}

function textOf(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return "";
    throw error;
  }
}
const linesOf = (file) =>
  textOf(join(results, file))
    .split("\n")
    .filter((line) => line !== "");
const objectsOf = (file) =>
  linesOf(file)
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));

/** First line of what a program says, or "–" where it is not. */
function says(program, ...args) {
  const { status, stdout } = spawnSync(program, args, { encoding: "utf8" });
  return status === 0 ? stdout.trim().split("\n").at(-1) : "–";
}

function commitOf() {
  const head = says("git", "rev-parse", "HEAD");
  if (head === "–") return textOf("build/gpu/pack/commit").trim() || "–";
  return spawnSync("git", ["status", "--porcelain"], { encoding: "utf8" }).stdout === ""
    ? head
    : `${head}, with changes`;
}

const gpu = says("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader").split(", ");
const about = {
  date: new Date().toISOString(),
  commit: commitOf(),
  device,
  gpu: gpu[0],
  driver: gpu[1] ?? "–",
  memory: gpu[2] ?? "–",
  nvcc: says("nvcc", "--version"),
  cpu: cpus()[0]?.model ?? "–",
  node: process.version,
};
/** The newest end of each step. */
const steps = Object.values(
  Object.fromEntries(
    linesOf("steps.tsv").map((line) => {
      const [step, status, seconds] = line.split("\t");
      return [step, { step, status: Number(status), seconds: Number(seconds) }];
    }),
  ),
).filter(({ step }) => step !== "report");
const conformance = ["f32", "bf16"].map((dtype) => {
  const cases = objectsOf(`conformance-${dtype}.jsonl`);
  return { dtype, cases: cases.length, failed: cases.filter(({ pass }) => !pass).map((one) => one.case) };
});
const bench = objectsOf("bench.jsonl");
const peers = objectsOf("peers.jsonl");
if (bench.length + peers.length + steps.length === 0) {
  console.error(`report: ${results} holds nothing yet: run the other steps first`);
  process.exit(1);
}

const dash = (value, show) => (value === null || value === undefined ? "–" : show(value));
const ms = (us) => (us >= 1000 ? `${(us / 1000).toPrecision(4)} ms` : `${us.toPrecision(4)} µs`);
const percent = (value) => `${value.toFixed(1)} %`;
const rate = ({ rate: value, unit }) =>
  dash(value, (v) => (unit === "GFLOP/s" ? `${(v / 1000).toFixed(1)} TFLOP/s` : `${v.toFixed(0)} ${unit}`));
const table = (titles, rows) =>
  [titles, titles.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const parts = [
  `# ${about.gpu === "–" ? device : about.gpu}, ${about.date.slice(0, 10)}`,
  table(
    ["what", "value"],
    Object.entries(about).map(([name, value]) => [name, value]),
  ),
];
if (steps.length > 0) {
  const verdict = (status) => (status === 0 ? "passed" : status === 124 ? "stopped: too long" : `failed (${status})`);
  parts.push("## Steps");
  parts.push(
    table(
      ["step", "end", "seconds"],
      steps.map((s) => [s.step, verdict(s.status), s.seconds]),
    ),
  );
}
if (conformance.some(({ cases }) => cases > 0)) {
  parts.push("## Conformance");
  const row = ({ dtype, cases, failed }) => [dtype, cases - failed.length, failed.join(", ") || "–"];
  parts.push(table(["type", "cases that pass", "cases that do not"], conformance.map(row)));
}
if (peers.length > 0) {
  parts.push(
    "## Beside PyTorch",
    `${peers[0].peer}, rounds in turns; ratio = their time / ours, above 1 ours is faster.`,
  );
  const row = (r) => [
    ...[r.op, r.shape, r.dtype, ms(r.medianUs), percent(r.spreadPct), rate(r), dash(r.percentOfLimit, percent)],
    ...[ms(r.peerMedianUs), percent(r.peerSpreadPct), r.peerNote || "–", r.ratio.toFixed(3)],
  ];
  const titles = ["op", "shape", "dtype", "ours", "spread", "rate", "of limit", "PyTorch", "spread", "by", "ratio"];
  parts.push(table(titles, peers.map(row)));
}
if (bench.length > 0) {
  parts.push("## Alone", "Limits are the rows without a time; see bench/README.md.");
  const row = (r) => [
    ...[r.op, r.shape, r.dtype, dash(r.medianUs, ms), dash(r.spreadPct, percent), rate(r)],
    dash(r.percentOfLimit, percent),
  ];
  parts.push(table(["op", "shape", "dtype", "time", "spread", "rate", "of limit"], bench.map(row)));
}

mkdirSync(folder, { recursive: true });
const file = join(folder, `${device}-${about.date.slice(0, 10)}`);
writeFileSync(`${file}.json`, `${JSON.stringify({ ...about, steps, conformance, peers, bench }, undefined, 1)}\n`);
writeFileSync(`${file}.md`, `${parts.join("\n\n")}\n`);
console.log(`report: ${file}.json, ${file}.md`);
