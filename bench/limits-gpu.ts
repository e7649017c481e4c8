/** The limits of a GPU: native/gpu_limits.cu, compiled by nvcc at run time, measured on device 0 while nothing else runs. */
import { spawnSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bound } from "./case.js";
import type { Row } from "./report.js";

const here = dirname(fileURLToPath(import.meta.url));

/** GFLOP/s and GB/s, the best of several rounds. */
export interface GpuLimits {
  /** Bytes read plus bytes written, by cudaMemcpy and by a plain kernel. */
  readonly copyMemcpy: number;
  readonly copyKernel: number;
  readonly read: number;
  /** Multiply-adds in registers: of f32, and of the tensor cores in bf16 by mma.sync and (Hopper) by wgmma. */
  readonly f32: number;
  readonly mma: number;
  readonly wgmma: number | null;
}

const modified = (file: string) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function build(): string {
  const source = join(here, "native", "gpu_limits.cu");
  const program = join(dirname(here), "build", "bench", "gpu_limits");
  if (modified(program) > modified(source)) return program;
  mkdirSync(dirname(program), { recursive: true });
  const flags = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", `-I${join(dirname(here), "native")}`];
  const targets = ["-gencode=arch=compute_80,code=[sm_80,compute_80]", "-gencode=arch=compute_90a,code=sm_90a"];
  const { status, stderr, error } = spawnSync("nvcc", [...flags, ...targets, source, "-o", program], {
    encoding: "utf8",
  });
  if (error) throw new Error(`nvcc could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`nvcc could not compile gpu_limits.cu: ${stderr.trim()}`);
  return program;
}

/** @throws when there is no nvcc or no GPU */
export function measureGpu(): GpuLimits {
  const { status, signal, stdout, stderr } = spawnSync(build(), { encoding: "utf8" });
  if (status !== 0) throw new Error(`gpu_limits ended with ${signal ?? status}: ${stderr.trim()}`);
  return JSON.parse(stdout) as GpuLimits;
}

const copyOf = (gpu: GpuLimits) => Math.max(gpu.copyMemcpy, gpu.copyKernel);
const tensorOf = (gpu: GpuLimits) => Math.max(gpu.mma, gpu.wgmma ?? 0);

/** Products of 16-bit activations meet the tensor cores, those of f32 the plain multiply-adds. */
export function gpuLimitOf(bound: Bound, dtype: string, gpu: GpuLimits): number {
  if (bound === "fma") return dtype.startsWith("f32") ? gpu.f32 : tensorOf(gpu);
  return bound === "copy" ? copyOf(gpu) : gpu.read;
}

export function describeGpu(gpu: GpuLimits): string {
  const tera = (rate: number) => (rate / 1000).toFixed(1);
  const wgmma = gpu.wgmma === null ? "" : `, ${tera(gpu.wgmma)} by wgmma`;
  return [
    `limits: ${tera(gpu.f32)} TFLOP/s f32, bf16 ${tera(gpu.mma)} by mma.sync${wgmma}`,
    `        copy ${copyOf(gpu).toFixed(0)} GB/s (read + written; cudaMemcpy ${gpu.copyMemcpy.toFixed(0)}, a kernel ${gpu.copyKernel.toFixed(0)}), read ${gpu.read.toFixed(0)}`,
  ].join("\n");
}

export function gpuLimitRows(device: string, gpu: GpuLimits): Row[] {
  const rows: [op: string, shape: string, dtype: string, rate: number | null, unit: "GFLOP/s" | "GB/s"][] = [
    ["fma_peak", "chains in registers", "f32", gpu.f32, "GFLOP/s"],
    ["mma_peak", "m16n8k16, chains in registers", "bf16", gpu.mma, "GFLOP/s"],
    ["wgmma_peak", "m64n256k16 from shared memory", "bf16", gpu.wgmma, "GFLOP/s"],
    ["memory_copy", "cudaMemcpy, 1 GiB", "bytes", gpu.copyMemcpy, "GB/s"],
    ["memory_copy_kernel", "16 bytes a thread, 1 GiB", "bytes", gpu.copyKernel, "GB/s"],
    ["memory_read", "16 bytes a thread, 1 GiB", "bytes", gpu.read, "GB/s"],
  ];
  return rows
    .filter(([, , , rate]) => rate !== null)
    .map(([op, shape, dtype, rate, unit]) => ({
      ...{ op, shape, dtype, device, threads: 1, isa: "–", medianUs: null, spreadPct: null },
      ...{ rate, unit, limit: null, percentOfLimit: null },
    }));
}
