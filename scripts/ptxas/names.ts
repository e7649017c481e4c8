// Kernel names that a person can read: `hn::cuda::(anonymous namespace)::forward_kernel<hn::cuda::bf16, 8>(…)` becomes
// `forward_kernel<bf16, 8>`.
import { spawnSync } from "node:child_process";
import { type KernelFigures, parsePtxas } from "./parse.js";

export interface Kernel extends KernelFigures {
  /** The source's name, such as rms_norm.cu. */
  readonly file: string;
  /** Short, with template arguments. */
  readonly name: string;
  /** The name without them. */
  readonly template: string;
}

/** Demangled with c++filt (binutils, which every g++ brings), in the order given. */
function demangle(symbols: readonly string[]): string[] {
  if (symbols.length === 0) return [];
  const input = `${symbols.join("\n")}\n`;
  const { status, stdout, error } = spawnSync("c++filt", { input, encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`c++filt (binutils) failed: ${error?.message ?? `exit code ${status}`}`);
  return stdout.trimEnd().split("\n");
}

/** Where the name ends and the parameters begin: the first ( outside of template arguments. */
function parametersAt(name: string): number {
  let depth = 0;
  for (let i = 0; i < name.length; i++) {
    if (name[i] === "<") depth++;
    else if (name[i] === ">") depth--;
    else if (name[i] === "(" && depth === 0) return i;
  }
  return name.length;
}

/** Of a demangled name. */
export function shortName(demangled: string): string {
  const plain = demangled
    .replace(/\(anonymous namespace\)::|_GLOBAL__N_\w*::/g, "")
    .replace(/\bhn::cuda::/g, "")
    .replace(/\bhn::/g, "")
    .replace(/^void /, "");
  return plain
    .slice(0, parametersAt(plain))
    .replace(/\(bool\)([01])/g, (_, bit: string) => (bit === "1" ? "true" : "false"))
    .replace(/\((?:unsigned )?(?:int|long|short|char)\)(-?\d+)/g, "$1")
    .replace(/(-?\d+)u?l+\b/g, "$1")
    .replace(/\(\(?([\w:]+)\)(\d+)\)?/g, "$1 $2") // a value of an enumeration
    .replace(/\bunsigned char\b/g, "u8")
    .replace(/\bunsigned short\b/g, "u16")
    .replace(/\bunsigned int\b/g, "u32")
    .replace(/\blong\b/g, "i64")
    .replace(/\bdouble\b/g, "f64")
    .replace(/\bfloat\b/g, "f32")
    .replace(/\bint\b/g, "i32")
    .replace(/ >/g, ">");
}

/** The kernels of [source, what ptxas said of it] in this order. */
export function namedKernels(logs: readonly (readonly [file: string, text: string])[]): Kernel[] {
  const kernels = logs.flatMap(([file, text]) => parsePtxas(text).map((figures) => ({ file, ...figures })));
  const names = demangle(kernels.map((kernel) => kernel.symbol)).map(shortName);
  return kernels.map((kernel, i) => {
    const name = names[i] ?? kernel.symbol;
    return { ...kernel, name, template: name.replace(/<[\s\S]*$/, "") };
  });
}
