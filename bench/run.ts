/**
 * npm run bench -- [--only NAME[,NAME]] [--dtype D] [--json] [--rounds N] [--device NAME] [--clock wall|processor]
 *                  [--profile]
 *
 * Names are groups (the files of bench/ops, `limits`, `dispatch`) or ops. With --json: one object a line, nothing else.
 * --clock as in bench/peers. --profile says of each case where its time goes, op by op, in place of timing it.
 */
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { type Device, openDevice } from "../lib/tensor.js";
import type { BenchCase, Bound, Work } from "./case.js";
import { type Cost, costOf } from "./cost.js";
import { describeLimits, type Limits, limitOf, limitRows, measureLimits } from "./limits.js";
import { busyWarning, factsOf } from "./machine.js";
import { type Beside, type Clock, clockOf, type Timing, timeRounds } from "./measure.js";
import { peakDuring, residentBytes } from "./memory.js";
import { profileOf } from "./profile.js";
import { Reporter, type Row } from "./report.js";

const casesFolder = join(dirname(fileURLToPath(import.meta.url)), "ops");

export interface Selection {
  readonly names: readonly string[];
  wants(group: string, op?: string): boolean;
}

export function selectionOf(only: string | undefined): Selection {
  const names = (only ?? "").split(",").filter((name) => name !== "");
  return { names, wants: (...given) => names.length === 0 || given.some((name) => name && names.includes(name)) };
}

/** The cases of bench/ops by group, the group being the name of the file. */
export async function loadGroups(): Promise<Map<string, readonly BenchCase[]>> {
  const groups = new Map<string, readonly BenchCase[]>();
  for (const file of readdirSync(casesFolder).sort()) {
    if (!file.endsWith(".ts")) continue;
    const loaded: { readonly cases: readonly BenchCase[] } = await import(pathToFileURL(join(casesFolder, file)).href);
    groups.set(file.slice(0, -".ts".length), loaded.cases);
  }
  return groups;
}

/** Work done in a time, by what bounds it. */
export function rateOf(bound: Bound, { flops, bytes }: Cost, us: number): Pick<Row, "rate" | "unit"> {
  return bound === "fma" ? { rate: flops / us / 1000, unit: "GFLOP/s" } : { rate: bytes / us / 1000, unit: "GB/s" };
}

/** Whether the case is of a size for the device. */
export function fits({ only }: BenchCase, device: Device): boolean {
  return only === undefined || only.some((kind) => device.name.split(":")[0] === kind);
}

/** Opens a case and finds what it costs; one call has run after that. */
export async function openCase(one: BenchCase, device: Device): Promise<{ work: Work; cost: Cost }> {
  const work = await one.open(device);
  const before = device.insertedCopies;
  const cost = costOf(() => work.run());
  await device.sync();
  if (device.insertedCopies > before) throw new Error(`${one.op} ${one.shape}: the library inserted copies`);
  return { work, cost: { ...cost, flops: cost.flops * (one.flopsShare ?? 1) } };
}

async function closeCase(work: Work, device: Device): Promise<void> {
  work.close();
  await device.sync();
  device.trim();
}

function rowOf(one: BenchCase, device: Device, limits: Limits, cost: Cost, timing: Timing & Partial<Beside>): Row {
  const { rate, unit } = rateOf(one.bound, cost, timing.medianUs);
  const limit = limitOf(one, limits);
  const percentOfLimit = limit === null || rate === null ? null : (100 * rate) / limit;
  const { isa, threads } = limits;
  return {
    ...{ op: one.op, shape: one.shape, dtype: one.dtype, device: device.name, threads, isa, ...timing },
    ...{ rate, unit, limit, percentOfLimit },
  };
}

/** One row that cannot run must not end the others: what to say of it, and the program ends with 1. */
export function failureOf({ op, shape, dtype }: BenchCase, error: unknown): string {
  process.exitCode = 1;
  return `${op} ${shape} ${dtype}: failed, ${error instanceof Error ? error.message : error}`;
}

interface TimingOptions {
  readonly rounds: number;
  readonly clock: Clock;
}

async function measure(one: BenchCase, device: Device, limits: Limits, timing: TimingOptions): Promise<Row> {
  const before = residentBytes();
  const { work, cost } = await openCase(one, device);
  const timed = await timeRounds(device, work, timing.rounds, timing.clock);
  const memory = one.memory ? { peakBytes: await peakDuring(device, work, before) } : {};
  await closeCase(work, device);
  return { ...rowOf(one, device, limits, cost, timed), ...memory, clock: timing.clock };
}

async function profileAll(cases: readonly BenchCase[], device: Device, reporter: Reporter): Promise<void> {
  for (const one of cases) {
    const { work } = await openCase(one, device);
    reporter.addProfile(one, profileOf(device, work));
    await closeCase(work, device);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "9" },
      device: { type: "string", default: "cpu" },
      dtype: { type: "string" },
      clock: { type: "string", default: "wall" },
      profile: { type: "boolean", default: false },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 5) throw new Error("--rounds must be a whole number of 5 or more");
  const selection = selectionOf(values.only);
  const reporter = new Reporter({ json: values.json });
  const groups = await loadGroups();
  const known = new Set(["limits", "dispatch", ...groups.keys(), ...[...groups.values()].flat().map(({ op }) => op)]);
  const unknown = selection.names.filter((name) => !known.has(name));
  if (unknown.length > 0)
    throw new Error(`nothing is called ${unknown.join(", ")}; there are: ${[...known].join(", ")}`);

  const device = openDevice(values.device);
  const facts = factsOf(device);
  const clock = clockOf(values.clock, facts.threads);
  const busy = busyWarning(facts.threads);
  if (busy !== undefined) reporter.note(busy);
  const wanted = [...groups].flatMap(([group, cases]) =>
    cases.filter(
      (one) => fits(one, device) && selection.wants(group, one.op) && (values.dtype ?? one.dtype) === one.dtype,
    ),
  );
  if (values.profile) await profileAll(wanted, device, reporter);
  // The host's cost per call meets no limit of the device.
  else if (selection.names.join() !== "dispatch") {
    const limits = measureLimits(values.device, facts);
    reporter.note(describeLimits(limits));
    if (selection.wants("limits")) for (const row of limitRows(device.name, limits)) reporter.add(row);
    for (const one of wanted) {
      try {
        reporter.add(await measure(one, device, limits, { rounds, clock }));
      } catch (error) {
        reporter.note(failureOf(one, error));
      }
    }
  }
  await device.dispose();
  // The null device tells nothing of this one, and the package that times it may be missing on a GPU machine.
  const ofHost = values.device === "cpu" || selection.names.includes("dispatch");
  if (ofHost && selection.wants("dispatch") && !values.profile) {
    await (await import("./dispatch.bench.js")).runDispatch(reporter);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
