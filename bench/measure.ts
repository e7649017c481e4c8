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

/**
 * Runs an op on one device, round by round. A round is as many calls as fill `roundMs`, then one wait: the microseconds
 * that a wait costs disappear in it.
 */
export class Stopwatch {
  readonly #device: Device;
  readonly #work: Work;
  #calls = 1;

  constructor(device: Device, work: Work) {
    this.#device = device;
    this.#work = work;
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
    const start = performance.now();
    for (let i = 0; i < this.#calls; i++) this.#work.run();
    await this.#device.sync();
    return ((performance.now() - start) * 1000) / this.#calls;
  }
}

export async function timeRounds(device: Device, work: Work, rounds: number): Promise<Timing> {
  const watch = new Stopwatch(device, work);
  await watch.warmUp();
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) times.push(await watch.round());
  return summarize(times);
}
