// docs/ptxas.md: one line a kernel and architecture. A template with many instances gets one line for all of them.

import type { Kernel } from "./names.js";

const MOST_INSTANCES = 4;

function span(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? `${low}` : `${low}–${high}`;
}

/** `name` stands for all of `kernels`, which differ in their template arguments only. */
function row(name: string, arch: string, kernels: readonly Kernel[]): string {
  const cell = (key: "registers" | "shared" | "stack" | "spillStores" | "spillLoads") =>
    span(kernels.map((kernel) => kernel[key]));
  const [stores, loads] = [cell("spillStores"), cell("spillLoads")];
  const spills = stores === "0" && loads === "0" ? "0" : `${stores} / ${loads}`;
  return `| \`${name}\` | ${arch} | ${cell("registers")} | ${cell("shared")} | ${cell("stack")} | ${spills} |`;
}

/** In the order of the keys. */
function groupBy(kernels: readonly Kernel[], keyOf: (kernel: Kernel) => string): [string, Kernel[]][] {
  const groups = new Map<string, Kernel[]>();
  for (const kernel of kernels) {
    const key = keyOf(kernel);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [kernel]);
    else group.push(kernel);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function rowsOf(kernels: readonly Kernel[]): string[] {
  return groupBy(kernels, (kernel) => kernel.template).flatMap(([template, instances]) => {
    const byName = groupBy(instances, (kernel) => kernel.name);
    const many = byName.length > MOST_INSTANCES;
    const groups: [string, Kernel[]][] = many ? [[`${template}<…> × ${byName.length}`, instances]] : byName;
    return groups.flatMap(([name, members]) =>
      groupBy(members, (kernel) => kernel.arch).map(([arch, ofArch]) => row(name, arch, ofArch)),
    );
  });
}

/** The page, with figures that `compiler` (its name and version) gave. */
export function ptxasTable(kernels: readonly Kernel[], compiler: string): string {
  const sections = groupBy(kernels, (kernel) => kernel.file).map(
    ([file, members]) => `## ${file}

| kernel | for | registers | shared | stack | spills |
| --- | --- | ---: | ---: | ---: | ---: |
${rowsOf(members).join("\n")}`,
  );
  return `<!-- Written by \`npm run ptxas\`; do not edit. -->
# What the CUDA kernels take

As ${compiler} compiles them: registers a thread; bytes of shared memory that the kernel declares (a launch may add more);
bytes of stack and of spilled registers (stores / loads) a thread. A kernel that spills or has a stack is an error unless
scripts/ptxas/allowed.json says why it may. From…to where one line stands for several instances of a template.

${sections.join("\n\n")}
`;
}
