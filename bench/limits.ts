/**
 * The limits of the machine, measured in the same run as what is compared with them: multiply-adds in registers, and
 * copies between arrays that no cache holds. The programs in bench/native are compiled here, at run time. Those of a GPU are
 * in limits-gpu.ts.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchCase } from "./case.js";
import { describeGpu, type GpuLimits, gpuLimitOf, gpuLimitRows, measureGpu } from "./limits-gpu.js";
import { type DeviceFacts, processor, unitsOf } from "./machine.js";
import type { Row } from "./report.js";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(dirname(here), "build", "bench");

export interface Rates {
  readonly best: number;
  readonly median: number;
}

export interface FmaPeak {
  readonly isa: string;
  readonly chains: number;
  readonly lanesF32: number;
  readonly lanesF64: number;
  /** GFLOP/s of all threads together. */
  readonly f32: Rates;
  readonly f64: Rates;
  readonly clockGHz: Rates;
  /** Clock × lanes × units × 2 × threads. */
  readonly theoryF32: number;
  readonly why: string;
}

export interface Bandwidth {
  readonly arrayBytes: number;
  readonly copyStreaming: number;
  readonly copyPlain: number;
  readonly read: number;
  readonly write: number;
}

export interface Limits extends DeviceFacts {
  readonly fma: FmaPeak | null;
  readonly memory: Bandwidth | null;
  readonly gpu: GpuLimits | null;
  /** Why something is null. */
  readonly missing: string;
}

/** Those of CMakeLists.txt for the kernels. */
const isaFlags: { readonly [isa: string]: readonly string[] } = {
  portable: [],
  avx2: ["-mavx2", "-mfma", "-mf16c"],
  avx512: [
    ...["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"],
    "-mprefer-vector-width=512",
  ],
};

/** The first compiler that answers. */
function compiler(): string | undefined {
  const names = [process.env.CXX, "g++", "c++", "clang++"].filter((name) => name !== undefined && name !== "");
  return names.find((name) => spawnSync(name as string, ["--version"]).status === 0);
}

const modified = (file: string) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Path of the program, compiled if it is older than its source; throws with what the compiler said. */
function build(name: string, isa: string, flags: readonly string[]): string {
  const source = join(here, "native", `${name}.cc`);
  const program = join(output, `${name}-${isa}`);
  if (modified(program) > modified(source)) return program;
  const cxx = compiler();
  if (cxx === undefined) throw new Error("no C++ compiler was found (CXX, g++, c++, clang++)");
  mkdirSync(output, { recursive: true });
  const args = ["-std=c++20", "-O3", "-pthread", ...flags, source, "-o", program];
  const { status, stderr } = spawnSync(cxx, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${cxx} could not compile ${name}.cc: ${stderr.trim()}`);
  return program;
}

function runProgram<T>(program: string, threads: number, rounds: number): T {
  const { status, signal, stdout } = spawnSync(program, [String(threads), String(rounds)], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ended with ${signal ?? status}`);
  return JSON.parse(stdout) as T;
}

/** @throws when there is no compiler, or the processor lacks the instruction set */
export function measureFma(isa: string, threads: number): FmaPeak {
  const flags = isaFlags[isa];
  if (flags === undefined) throw new Error(`no flags are known for ${isa}`);
  type Measured = Omit<FmaPeak, "isa" | "theoryF32" | "why">;
  const measured = runProgram<Measured>(build("fma_peak", isa, flags), threads, 25);
  const { units, why } = unitsOf(processor(), isa);
  const theoryF32 = measured.clockGHz.best * measured.lanesF32 * units * 2 * threads;
  return { ...measured, isa, theoryF32, why: `${units} × ${measured.lanesF32} lanes a cycle (${why})` };
}

export function measureMemory(threads: number): Bandwidth {
  // Without the flag the compiler turns the plain loops into calls of memcpy and memset, which stream.
  const flags = ["-fno-tree-loop-distribute-patterns"];
  return runProgram<Bandwidth>(build("memory_bandwidth", "portable", flags), threads, 15);
}

/** Limits of a processor or a GPU; other devices have none worth measuring. */
export function measureLimits(device: string, facts: DeviceFacts): Limits {
  const none = { ...facts, fma: null, memory: null, gpu: null, missing: "" };
  try {
    if (device.startsWith("cuda")) return { ...none, gpu: measureGpu() };
    if (!device.startsWith("cpu")) return { ...none, missing: `${device} is a device for tests` };
    return { ...none, fma: measureFma(facts.isa, facts.threads), memory: measureMemory(facts.threads) };
  } catch (error) {
    return { ...none, missing: error instanceof Error ? error.message : String(error) };
  }
}

/** What the case's rate is compared with. */
export function limitOf({ bound, dtype }: Pick<BenchCase, "bound" | "dtype">, limits: Limits): number | null {
  if (limits.gpu !== null) return gpuLimitOf(bound, dtype, limits.gpu);
  if (bound === "fma") return limits.fma?.f32.best ?? null;
  return bound === "copy" ? copyLimit(limits) : (limits.memory?.read ?? null);
}

/** Bytes that copies move, by the faster of the two ways. */
function copyLimit({ memory }: Limits): number | null {
  return memory === null ? null : Math.max(memory.copyStreaming, memory.copyPlain);
}

export function describeLimits(limits: Limits): string {
  const { fma, memory, gpu } = limits;
  if (gpu !== null) return describeGpu(gpu);
  if (fma === null || memory === null) return `limits: not measured, since ${limits.missing}`;
  return [
    `limits: ${fma.f32.best.toFixed(1)} GFLOP/s f32, ${fma.f64.best.toFixed(1)} f64 (${fma.isa}, ${limits.threads} threads); ` +
      `in theory ${fma.theoryF32.toFixed(1)} f32 = ${fma.clockGHz.best.toFixed(2)} GHz (measured) × ${fma.why} × 2 × ${limits.threads} threads`,
    `        copy ${copyLimit(limits)?.toFixed(1)} GB/s (read + written), read ${memory.read.toFixed(1)}, write ${memory.write.toFixed(1)}`,
  ].join("\n");
}

/** The rows of group `limits`: every instruction set that this processor has, then memory. */
export function limitRows(device: string, limits: Limits): Row[] {
  const { threads, fma, memory, gpu } = limits;
  if (gpu !== null) return gpuLimitRows(device, gpu);
  if (fma === null || memory === null) return [];
  const rows: Row[] = [];
  for (const isa of Object.keys(isaFlags)) {
    let peak: FmaPeak;
    try {
      peak = isa === fma.isa ? fma : measureFma(isa, threads);
    } catch {
      continue; // this processor cannot run it
    }
    const base = { device, threads, isa, medianUs: null };
    const percent = (100 * peak.f32.best) / peak.theoryF32;
    const spread = ({ best, median }: Rates) => (100 * (best - median)) / median;
    const chains = (lanes: number) => `${peak.chains} chains of ${lanes} lanes`;
    rows.push(
      {
        ...{ ...base, op: "fma_peak", shape: chains(peak.lanesF32), dtype: "f32", spreadPct: spread(peak.f32) },
        ...{ rate: peak.f32.best, unit: "GFLOP/s", limit: peak.theoryF32, percentOfLimit: percent },
      },
      {
        ...{ ...base, op: "fma_peak", shape: chains(peak.lanesF64), dtype: "f64", spreadPct: spread(peak.f64) },
        ...{ rate: peak.f64.best, unit: "GFLOP/s", limit: peak.theoryF32 / 2 },
        percentOfLimit: (200 * peak.f64.best) / peak.theoryF32,
      },
      {
        ...{
          ...base,
          op: "clock",
          shape: "dependent integer operations",
          dtype: "–",
          spreadPct: spread(peak.clockGHz),
        },
        ...{ rate: peak.clockGHz.best, unit: "GHz", limit: null, percentOfLimit: null },
      },
    );
  }
  const mebibytes = `arrays of ${Math.round(memory.arrayBytes / 2 ** 20)} MiB`;
  for (const [op, rate] of [
    ["copy_streaming", memory.copyStreaming],
    ["copy_plain", memory.copyPlain],
    ["read", memory.read],
    ["write", memory.write],
  ] as const) {
    rows.push({
      ...{ op: `memory_${op}`, shape: mebibytes, dtype: "bytes", device, threads, isa: "–", medianUs: null },
      ...{ spreadPct: null, rate, unit: "GB/s", limit: null, percentOfLimit: null },
    });
  }
  return rows;
}
