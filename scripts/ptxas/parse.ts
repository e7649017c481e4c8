// Reads what `ptxas -v` prints. For each kernel and architecture:
//
//   ptxas info    : Compiling entry function '_Z…' for 'sm_90'
//   ptxas info    : Function properties for _Z…
//       16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
//   ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size, 1024 bytes smem
//   ptxas info    : Compile time = 12.3 ms
//
// and then the properties, alone, of each function that was not inlined into a kernel.

/** Bytes are those of a thread, but for `shared`, a block's. */
export interface KernelFigures {
  readonly symbol: string;
  readonly arch: string;
  registers: number;
  /** What the kernel declares; what a launch adds is not known here. */
  shared: number;
  /** That of functions that were not inlined included. */
  stack: number;
  spillStores: number;
  spillLoads: number;
  /** What ptxas took. */
  seconds: number;
}

const ENTRY = /^ptxas info\s*: Compiling entry function '([^']+)' for '(\w+)'/;
const FRAME = /^\s*(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/;
const USED = /^ptxas info\s*: Used (\d+) registers/;
const TIME = /^ptxas info\s*: Compile time = ([\d.]+) ms/;

const bytes = (line: string, what: string) => Number(new RegExp(`(\\d+) bytes ${what}`).exec(line)?.[1] ?? 0);

/** One record a kernel and architecture, in the order printed. Throws where figures are missing. */
export function parsePtxas(text: string): KernelFigures[] {
  const kernels: KernelFigures[] = [];
  for (const line of text.split("\n")) {
    const [, symbol, arch] = ENTRY.exec(line) ?? [];
    if (symbol !== undefined && arch !== undefined) {
      const none = { registers: 0, shared: 0, stack: 0, spillStores: 0, spillLoads: 0, seconds: 0 };
      kernels.push({ symbol, arch, ...none });
      continue;
    }
    const [frame, used, time] = [FRAME.exec(line), USED.exec(line), TIME.exec(line)];
    if (!frame && !used && !time) continue;
    const kernel = kernels.at(-1);
    if (kernel === undefined) throw new Error(`ptxas output: figures of no kernel: ${line.trim()}`);
    if (frame) {
      kernel.stack = Math.max(kernel.stack, Number(frame[1]));
      kernel.spillStores += Number(frame[2]);
      kernel.spillLoads += Number(frame[3]);
    } else if (used) {
      kernel.registers = Number(used[1]);
      kernel.shared = bytes(line, "smem");
      kernel.stack = Math.max(kernel.stack, bytes(line, "cumulative stack size"));
    } else if (time) {
      kernel.seconds = Number(time[1]) / 1000;
    }
  }
  const unfinished = kernels.find((kernel) => kernel.registers === 0);
  if (unfinished) throw new Error(`ptxas output: no registers told for ${unfinished.symbol}, ${unfinished.arch}`);
  return kernels;
}
