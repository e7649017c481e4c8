// No kernel may keep anything in local memory, which is device memory: neither spilled registers nor a stack. What
// cannot be helped stands in allowed.json, one line a kernel:
//
//   { "file": "unary.cu", "kernel": "map_kernel<Waves", "bytes": 32, "reason": "why this is harmless" }
//
// `kernel` is the name, or its beginning up to a template argument; `bytes` the most that stack, spill stores and spill
// loads may each reach.
import type { Kernel } from "./names.js";

export interface Allowed {
  readonly file: string;
  readonly kernel: string;
  readonly bytes: number;
  readonly reason: string;
}

const names = ({ file, kernel }: Allowed, { file: its, name }: Kernel) =>
  file === its && name.startsWith(kernel) && /^($|[<,>])/.test(name.slice(kernel.length));

/** Sentences: one for each kernel that spills or has a stack, and for each line of the list that is wrong or idle. */
export function checkKernels(kernels: readonly Kernel[], allowed: readonly Allowed[]): string[] {
  const problems: string[] = [];
  const needed = new Set<Allowed>();
  for (const kernel of kernels) {
    const { file, name, arch, stack, spillStores, spillLoads } = kernel;
    const worst = Math.max(stack, spillStores, spillLoads);
    if (worst === 0) continue;
    const entry = allowed.find((line) => names(line, kernel));
    if (entry) needed.add(entry);
    if (entry && worst <= entry.bytes) continue;
    problems.push(
      `${file}: ${name} for ${arch}: ${stack} bytes of stack, ${spillStores} of spill stores, ` +
        `${spillLoads} of spill loads${entry ? `, more than the ${entry.bytes} allowed` : ""}`,
    );
  }
  for (const entry of allowed) {
    const where = `allowed.json: ${entry.file}: ${entry.kernel}`;
    if (!entry.reason) problems.push(`${where}: the reason is missing`);
    if (!needed.has(entry)) problems.push(`${where} neither spills nor has a stack: remove the line`);
  }
  return problems;
}
