/** What the system says about the processor. */
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import type { Device } from "../lib/tensor.js";

export interface Processor {
  readonly name: string;
  readonly vendor: string;
  readonly family: number;
  readonly model: number;
}

/** Fields of /proc/cpuinfo; empty where there is none. */
export function processor(): Processor {
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // Only names are lost.
  }
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
  return {
    name: field("model name"),
    vendor: field("vendor_id"),
    family: Number(field("cpu family")),
    model: Number(field("model")),
  };
}

/** Vectors of `bits` bits that can be multiplied and added in one cycle. Documented by the makers, not measured. */
export function unitsOf(
  { vendor, family, model }: Processor,
  isa: string,
): { units: number; bits: number; why: string } {
  const bits = isa === "avx512" ? 512 : isa === "avx2" ? 256 : 128;
  if (vendor === "AuthenticAMD") {
    if (family === 23 && model < 0x30) return { units: bits === 256 ? 1 : 2, bits, why: "Zen 1: two of 128 bits" };
    if (family < 26) return { units: bits === 512 ? 1 : 2, bits, why: "Zen 2 to 4: two of 256 bits" };
    return { units: 2, bits, why: "Zen 5: two of 512 bits" };
  }
  if (vendor === "GenuineIntel") {
    if (isa === "portable") return { units: 1, bits, why: "Intel: two ports for a multiplication and an addition" };
    return { units: 2, bits, why: isa === "avx512" ? "two of 512 bits in most Xeons" : "two of 256 bits" };
  }
  return { units: 2, bits, why: "unknown maker; two assumed" };
}

export interface DeviceFacts {
  readonly isa: string;
  readonly threads: number;
}

/** Instruction set and threads of a CPU device, from its description ("avx512, 2 threads"). */
export function factsOf(device: Device): DeviceFacts {
  const { detail } = device.describe();
  const found = /^(\w+), (\d+) thread/.exec(detail);
  return { isa: found?.[1] ?? "–", threads: Number(found?.[2] ?? 1) };
}

/** A warning when other programs are at work, or undefined. */
export function busyWarning(threads: number): string | undefined {
  const [load = 0] = loadavg();
  if (load < 0.5 * threads) return undefined;
  return `note: the machine was busy when this started (load ${load.toFixed(1)} for ${threads} threads): figures are too low`;
}
