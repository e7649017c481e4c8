/** Runs one case on one device in one type and says how far each of its tensors is off. */
import { Tensor } from "../../lib/tensor.js";
import type { ConformanceCase } from "./case-file.js";
import { compare, toleranceOf, type Verdict } from "./compare.js";
import { type Family, type Outputs, type RunOptions, toHost } from "./families/family.js";
import { families } from "./families/index.js";

export interface CaseResult {
  readonly case: string;
  readonly device: string;
  readonly dtype: string;
  readonly outputs: { readonly [name: string]: Verdict };
  readonly pass: boolean;
  /** Why nothing could be compared. */
  readonly error?: string;
}

function disposeAll(outputs: Outputs): void {
  for (const value of Object.values(outputs)) if (value instanceof Tensor) value.dispose();
}

async function judge(family: Family, from: ConformanceCase, options: RunOptions) {
  const made = await family.outputs(from, options);
  const verdicts: { [name: string]: Verdict } = {};
  try {
    for (const name of from.expected) {
      const value = made[name];
      const rule = family.rule?.(from, name, options);
      verdicts[name] =
        value === undefined
          ? { maxRelErr: null, tolerance: toleranceOf(from, name, options.dtype), pass: false }
          : compare(from, name, await toHost(value), {
              dtype: options.dtype,
              ...(rule === undefined ? {} : { rule }),
            });
    }
  } finally {
    disposeAll(made);
  }
  return { ...verdicts, ...(await family.extra?.(from, options)) };
}

/** Runs the case with the family it belongs to; what goes wrong is part of the result. */
export async function runCase(from: ConformanceCase, options: RunOptions): Promise<CaseResult> {
  const about = { case: from.name, device: options.device.name, dtype: options.dtype };
  const family = families.find((candidate) => candidate.fits(from));
  if (family === undefined) {
    return { ...about, outputs: {}, pass: false, error: "no family of cases fits its config and tensor names" };
  }
  try {
    const outputs = await judge(family, from, family.f32Only ? { ...options, dtype: "f32" } : options);
    const all = Object.values(outputs);
    return { ...about, outputs, pass: all.length > 0 && all.every(({ pass }) => pass) };
  } catch (error) {
    return { ...about, outputs: {}, pass: false, error: error instanceof Error ? error.message : String(error) };
  }
}
