/** Rounds, medians and spreads. */
import type { Device } from "../lib/tensor.js";
import type { Work } from "./case.js";

export interface Timing {
  readonly medianUs: number;
  readonly spreadPct: number;
}

/** The value below which a fraction of the sorted values lies, interpolated. */
function quantile(sorted: readonly number[], fraction: number): number {
  const at = (sorted.length - 1) * fraction;
  const low = sorted[Math.floor(at)] as number;
  const high = sorted[Math.ceil(at)] as number;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}

export function summarize(microseconds: readonly number[]): Timing {
  const sorted = [...microseconds].sort((a, b) => a - b);
  const medianUs = quantile(sorted, 0.5);
  return { medianUs, spreadPct: (100 * (quantile(sorted, 0.9) - quantile(sorted, 0.1))) / medianUs };
}

/** What rounds are timed by: the clock on the wall, or the processor's time of the process's threads. */
export type Clock = "wall" | "processor";

/**
 * The clock of that name.
 *
 * @param threads of the device: several count several times, and spin while they wait
 */
export function clockOf(name: string, threads: number): Clock {
  if (name !== "wall" && name !== "processor") throw new Error("--clock is wall or processor");
  if (name === "processor" && threads > 1) throw new Error("--clock processor needs HUNYUAN_NUM_THREADS=1");
  return name;
}

/** Microseconds. Processor time counts all threads, and other programs on the same cores do not lengthen it. */
export function now(clock: Clock): number {
  if (clock === "wall") return performance.now() * 1000;
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * Runs an op on one device, round by round. A round is as many calls as fill `roundMs`, then one wait: the microseconds
 * that a wait costs disappear in it.
 */
export class Stopwatch {
  readonly #device: Device;
  readonly #work: Pick<Work, "run">;
  readonly #clock: Clock;
  #calls = 1;

  constructor(device: Device, work: Pick<Work, "run">, clock: Clock = "wall") {
    this.#device = device;
    this.#work = work;
    this.#clock = clock;
  }

  /** How many calls a round has. */
  get calls(): number {
    return this.#calls;
  }

  /** Untimed calls: caches, the allocator's blocks, the clock of the processor; then sets the calls of a round. */
  async warmUp(roundMs = 40): Promise<void> {
    await this.round();
    const us = await this.round();
    this.#calls = Math.min(2000, Math.max(1, Math.round((roundMs * 1000) / us)));
    if (this.#calls > 1) await this.round();
  }

  /** Microseconds of one call. */
  async round(): Promise<number> {
    await this.#device.sync();
    const start = now(this.#clock);
    for (let i = 0; i < this.#calls; i++) this.#work.run();
    await this.#device.sync();
    return (now(this.#clock) - start) / this.#calls;
  }
}

/** Beside other work: what that is, its time, and its time by this one's, the median over rounds that alternate. */
export interface Beside {
  readonly against: string;
  readonly againstMedianUs: number;
  readonly ratio: number;
}

export async function timeRounds(
  device: Device,
  work: Work,
  rounds: number,
  clock: Clock = "wall",
): Promise<Timing & Partial<Beside>> {
  const watch = new Stopwatch(device, work, clock);
  await watch.warmUp();
  const { against } = work;
  const other = against && new Stopwatch(device, against, clock);
  await other?.warmUp();
  const times: number[] = [];
  const others: number[] = [];
  for (let i = 0; i < rounds; i++) {
    times.push(await watch.round());
    if (other !== undefined) others.push(await other.round());
  }
  const timing = summarize(times);
  if (against === undefined) return timing;
  const ratio = median(others.map((us, i) => us / (times[i] as number)));
  return { ...timing, against: against.what, againstMedianUs: median(others), ratio };
}
