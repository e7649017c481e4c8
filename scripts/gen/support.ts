/**
 * Which types each backend has kernels for, as the backends themselves answer (`supports` of native/core/backend.h). The
 * launchers under native/cuda say it for the GPU, and hunyuan_simt.so is made of the same sources: it is asked in place
 * of hunyuan_cuda.so, which opens no device on a machine without a GPU.
 */
import { binding } from "../../lib/runtime/binding.js";
import { openDevice } from "../../lib/runtime/device.js";
import { isHunyuanError } from "../../lib/runtime/errors.js";
import { type DType, dtypeNames } from "../../lib/tensor/dtype.js";
import type { AttrInput, AttrSpec, Op } from "../../lib/tensor/op.js";

/** The column's title, and the device that is asked for it. */
const columns = [
  ["cpu", "cpu"],
  ["cuda", "simt"],
] as const;

/** Any value that an attribute may have. */
function sample(spec: AttrSpec): AttrInput {
  if (typeof spec !== "string") return spec[0] ?? "";
  return { f64: 1, i64: 1, bool: false, "i64[]": [1] }[spec];
}

/** Types that an op's first tensor may have by its declaration: its first input's, or what it makes when it has none. */
function firstTypes(op: Op): readonly DType[] {
  const first = op.inputSpecs[0];
  if (first !== undefined) return first.dtypes;
  const { dtype } = op.attrs;
  if (Array.isArray(dtype)) return dtypeNames.filter((name) => dtype.includes(name));
  const attrs = Object.fromEntries(op.attrNames.map((name) => [name, sample(op.attrs[name] as AttrSpec)]));
  const made = op.shape({}, attrs as Parameters<Op["shape"]>[1]);
  return Object.values(made)
    .flatMap((output) => (output === undefined ? [] : [output.dtype]))
    .slice(0, 1);
}

/** A line an op; `reason` instead where a backend is not built, not built from these ops, or cannot run here. */
export async function supportRows(
  ops: readonly Op[],
  opsHash: string,
): Promise<{ rows: string[] } | { reason: string }> {
  const cells = ops.map((): string[] => []);
  try {
    if (binding().opsHash !== opsHash) return { reason: "the native binary was built from other op declarations" };
    for (const [, name] of columns) {
      await using device = openDevice(name);
      ops.forEach((op, id) => {
        const types = firstTypes(op).filter((type) => binding().supports(device.id, id, dtypeNames.indexOf(type)));
        cells[id]?.push(types.join(" ") || "—");
      });
    }
  } catch (error) {
    if (isHunyuanError(error)) return { reason: error.message };
    throw error;
  }
  return { rows: ops.map((op, id) => `| \`${op.name}\` | ${cells[id]?.join(" | ")} |`) };
}

export const supportHeading = "## Types by backend";

export function supportSection(rows: readonly string[]): string {
  return `${supportHeading}

The types of an op's first tensor for which a backend has a kernel; the tables above say what the other tensors may be.
\`cpu\` is the reference and complete. At other types an op rejects with KERNEL_MISSING, and never runs elsewhere instead.

| op | ${columns.map(([title]) => title).join(" | ")} |
| --- |${" --- |".repeat(columns.length)}
${rows.join("\n")}
`;
}
