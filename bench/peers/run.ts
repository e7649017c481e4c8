/**
 * npm run bench:peers -- [--only NAME[,NAME]] [--dtype D] [--json] [--rounds N] [--save] [--clock wall|processor]
 *                        [--device NAME]
 *
 * Our rows beside PyTorch's on the same cores, or the same GPU: one round of ours, one of theirs, and again, so that whatever
 * else the machine does meets both. PYTHON names the interpreter (default python3). Without Python or PyTorch it says so and
 * ends well. --save writes bench/results/<device>-<date>.json. --clock processor times rounds by the processor's time of each program, which
 * other programs on the same cores do not lengthen; it needs HUNYUAN_NUM_THREADS=1, since threads that wait spin.
 */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Device, openDevice } from "../../lib/tensor.js";
import type { BenchCase } from "../case.js";
import { describeLimits, type Limits, limitOf, measureLimits } from "../limits.js";
import { busyWarning, factsOf, processor } from "../machine.js";
import { type Clock, clockOf, median, Stopwatch, summarize } from "../measure.js";
import { peakDuring, residentBytes } from "../memory.js";
import { duration, jsonLine } from "../report.js";
import { failureOf, fits, loadGroups, openCase, rateOf, selectionOf } from "../run.js";
import { Peer } from "./peer.js";

/** PyTorch's threads look for work for a while before they sleep; this long after a round none is left in the way. */
const pauseMs = 30;

interface PeerRow {
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  readonly device: string;
  readonly threads: number;
  readonly isa: string;
  readonly rounds: number;
  readonly clock: Clock;
  readonly medianUs: number;
  readonly spreadPct: number;
  readonly peer: string;
  /** Which of its several ways of doing this was the fastest, and is timed. */
  readonly peerNote: string;
  readonly peerMedianUs: number;
  readonly peerSpreadPct: number;
  /** Their time by ours, the median over rounds: above 1 ours is faster. */
  readonly ratio: number;
  readonly rate: number | null;
  readonly unit: string;
  readonly limit: number | null;
  readonly percentOfLimit: number | null;
  readonly peerPercentOfLimit: number | null;
  readonly peakBytes?: number | null;
  readonly peerPeakBytes?: number | null;
}

/** Which of the peers: one on the GPU for whatever is not the CPU. */
const kindOf = ({ name }: Device) => (name.startsWith("cpu") ? "cpu" : "cuda");

interface Setting {
  readonly device: Device;
  readonly limits: Limits;
  readonly peer: Peer;
  readonly rounds: number;
  readonly clock: Clock;
}

/** One row, or why there is none. */
async function compare(one: BenchCase, setting: Setting): Promise<PeerRow | string> {
  const { device, limits, peer, rounds, clock } = setting;
  const leftOut = (why: string) => `${one.op} ${one.shape} ${one.dtype}: left out, ${why}`;
  if (one.peer === undefined) return leftOut("no peer");
  const { refused, note: peerNote = "" } = await peer.open(one.peer);
  if (refused !== undefined) return leftOut(refused);
  const before = residentBytes();
  const { work, cost } = await openCase(one, device);
  const watch = new Stopwatch(device, work, clock);
  await watch.warmUp();
  await peer.round(watch.calls, clock);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < rounds; i++) {
    await sleep(pauseMs);
    ours.push(await watch.round());
    await sleep(pauseMs);
    theirs.push(await peer.round(watch.calls, clock));
  }
  const memory = one.memory
    ? { peakBytes: await peakDuring(device, work, before), peerPeakBytes: await peer.peak() }
    : {};
  work.close();
  await device.sync();
  device.trim();
  await peer.close();
  const mine = summarize(ours);
  const other = summarize(theirs);
  const limit = limitOf(one, limits);
  const { rate, unit } = rateOf(one.bound, cost, mine.medianUs);
  const percent = limit === null || rate === null ? null : (100 * rate) / limit;
  return {
    ...{ op: one.op, shape: one.shape, dtype: one.dtype, device: device.name },
    ...{ threads: limits.threads, isa: limits.isa, rounds, clock, ...mine },
    ...{ peer: `torch ${peer.version}`, peerNote, peerMedianUs: other.medianUs, peerSpreadPct: other.spreadPct },
    ratio: median(ours.map((us, i) => (theirs[i] as number) / us)),
    ...{ rate, unit, limit, percentOfLimit: percent },
    peerPercentOfLimit: percent === null ? null : (percent * mine.medianUs) / other.medianUs,
    ...memory,
  };
}

const widths = [28, 46, 12, 10, 8, 12, 8, 8, 9, 9];

function line(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i < 3 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
    .join(" ");
}

const percentOrDash = (value: number | null) => (value === null ? "–" : `${value.toFixed(1)} %`);

function show(row: PeerRow): string {
  return line([
    ...[row.op, row.shape, row.dtype, duration(row.medianUs), `${row.spreadPct.toFixed(1)} %`],
    ...[duration(row.peerMedianUs), `${row.peerSpreadPct.toFixed(1)} %`, `${row.ratio.toFixed(2)}×`],
    ...[percentOrDash(row.percentOfLimit), percentOrDash(row.peerPercentOfLimit)],
  ]).concat(row.peerNote === "" ? "" : `   by ${row.peerNote}`, showMemory(row));
}

function showMemory({ peakBytes, peerPeakBytes }: PeerRow): string {
  if (peakBytes === undefined || peerPeakBytes === undefined) return "";
  const mib = (bytes: number | null) => (bytes === null ? "–" : `${(bytes / 2 ** 20).toFixed(0)} MiB`);
  return `   peak memory ${mib(peakBytes)}, theirs ${mib(peerPeakBytes)}`;
}

const titles = ["op", "shape", "dtype", "ours", "spread", "theirs", "spread", "ratio", "of limit", "theirs"];

function save(rows: readonly PeerRow[], { device, limits, peer }: Setting): string {
  const date = new Date().toISOString().slice(0, 10);
  const kind = kindOf(device);
  const file = join(dirname(dirname(fileURLToPath(import.meta.url))), "results", `${kind}-${date}.json`);
  const { threads, isa, fma, memory, gpu } = limits;
  const of = kind === "cpu" ? { threads, isa } : { gpu: device.describe() };
  const run = { date, cpu: processor(), ...of, node: process.version, peer: `torch ${peer.version}` };
  const limit = kind === "cpu" ? { fma, memory } : { gpu };
  writeFileSync(file, `${JSON.stringify({ ...run, limits: limit, rows }, undefined, 2)}\n`);
  return file;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "9" },
      save: { type: "boolean", default: false },
      dtype: { type: "string" },
      clock: { type: "string", default: "wall" },
      device: { type: "string", default: "cpu" },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 5) throw new Error("--rounds must be a whole number of 5 or more");
  const say = values.json ? console.error : console.log;
  const device = openDevice(values.device);
  const facts = factsOf(device);
  const clock = clockOf(values.clock, facts.threads);
  const peer = await Peer.start(process.env.PYTHON || "python3", kindOf(device), facts.threads);
  if (typeof peer === "string") {
    say(`bench:peers: nothing to compare with: ${peer}. PYTHON names an interpreter that has PyTorch.`);
    await device.dispose();
    return;
  }
  const busy = busyWarning(facts.threads);
  if (busy !== undefined) say(busy);
  const setting: Setting = { device, limits: measureLimits(device.name, facts), peer, rounds, clock };
  say(describeLimits(setting.limits));
  say(`peer: PyTorch ${peer.version}, ${peer.about || `${facts.threads} threads`}; ratio = their time / ours`);
  if (!values.json) console.log(line(titles));
  const selection = selectionOf(values.only);
  const rows: PeerRow[] = [];
  for (const [group, cases] of await loadGroups()) {
    for (const one of cases) {
      if (one.peer === undefined || !fits(one, device) || !selection.wants(group, one.op)) continue;
      if (values.dtype !== undefined && one.dtype !== values.dtype) continue;
      const row = await compare(one, setting).catch((error: unknown) => failureOf(one, error));
      if (typeof row === "string") {
        say(row);
        await peer.close();
        continue;
      }
      rows.push(row);
      console.log(values.json ? jsonLine(row) : show(row));
    }
  }
  if (values.save) say(`saved: ${save(rows, setting)}`);
  await peer.end();
  await device.dispose();
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
