/** Where the time of a case goes, op by op. */
import type { Device } from "../lib/tensor.js";
import type { Work } from "./case.js";
import { watchOps } from "./cost.js";
import { now } from "./measure.js";
import type { OpTime } from "./report.js";

/**
 * Runs the work once, each op alone: the one before has ended when the next is queued. Times are of the processor, summed
 * over threads, and hold the host's share of each call.
 */
export function profileOf(device: Device, work: Pick<Work, "run">): OpTime[] {
  const totals = new Map<string, { calls: number; us: number; flops: number }>();
  const pause = new Int32Array(new SharedArrayBuffer(4));
  let since = now("processor");
  let last: { us: number } | undefined;
  const settle = () => {
    while (device.memory().pending > 0) Atomics.wait(pause, 0, 0, 0.1);
    const at = now("processor");
    if (last !== undefined) last.us += at - since;
    since = at;
  };
  watchOps(work.run, (op, inputs, attrs) => {
    settle();
    const words = Object.values(attrs).filter((value) => typeof value === "string");
    const name = [op.name, ...words].join(" ");
    const total = totals.get(name) ?? { calls: 0, us: 0, flops: 0 };
    totals.set(name, total);
    total.calls++;
    total.flops += op.cost?.(inputs, attrs)?.flops ?? 0;
    last = total;
  });
  settle();
  return [...totals]
    .map(([op, { calls, us, flops }]) => ({ op, calls, us, gflops: flops === 0 ? null : flops / us / 1000 }))
    .sort((a, b) => b.us - a.us);
}
