/** How much memory work takes: on the CPU what the process holds, as the system counts it, on others what is live on the device. */
import { readFileSync, writeFileSync } from "node:fs";
import type { Device } from "../lib/tensor.js";
import type { Work } from "./case.js";

/** A field of /proc/self/status in bytes; null where there is no such file. */
function statusBytes(field: "VmRSS" | "VmHWM"): number | null {
  try {
    const found = new RegExp(`^${field}:\\s*(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"));
    return found === null ? null : Number(found[1]) * 1024;
  } catch {
    return null;
  }
}

/** Resident bytes now. */
export const residentBytes = (): number | null => statusBytes("VmRSS");

/** The most bytes during one call, inputs and weights included; on the CPU above what was resident before the case was opened. */
export async function peakDuring(device: Device, work: Work, before: number | null): Promise<number | null> {
  if (!device.name.startsWith("cpu")) {
    device.resetPeak();
    work.run();
    await device.sync();
    return device.memory().peak;
  }
  try {
    // Starts the system's own high-water mark anew.
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    return null;
  }
  work.run();
  await device.sync();
  const peak = statusBytes("VmHWM");
  return peak === null || before === null ? null : peak - before;
}
