/** How far a tensor is from the stored one, and how far it may be: the rules of the conformance folder's README. */
import type { FixtureTensor } from "../support/safetensors.js";
import type { ConformanceCase } from "./case-file.js";

export type RunDType = "f32" | "bf16";

export interface Verdict {
  /** max|got − want| / max|want|; absolute where the case says so. null when nothing comparable came out. */
  readonly maxRelErr: number | null;
  readonly tolerance: number;
  readonly pass: boolean;
}

/** What a family knows about comparing one tensor. */
export interface Rule {
  /** In place of max|want|. */
  readonly scale?: number;
  readonly tolerance?: number;
  /** This share of the elements, the worst ones, may be off. Default none. */
  readonly mayBeOff?: number;
  /** Rows (all axes but the last, flattened) that count. Default all. */
  readonly keepsRow?: (row: number) => boolean;
}

export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

const bf16Ulp = 2 ** -8;

/** "max(2e-6, 8 * fp32_vs_fp64 of that tensor)" is the one rule in words that there is. */
function toleranceInWords(rule: string, fp32: number): number {
  const found = /^max\(([\d.e-]+),\s*([\d.]+) \* fp32_vs_fp64 of that tensor\)$/.exec(rule);
  if (found === null) throw new Error(`the tolerance "${rule}" is not understood`);
  return Math.max(Number(found[1]), Number(found[2]) * fp32);
}

/** The tolerance of one tensor of a case: its own, the pattern's ("out.param.*"), or the case's. */
export function toleranceOf(from: ConformanceCase, name: string, dtype: RunDType): number {
  const facts = from.about.tensors[name];
  if (facts?.note === "exact") return 0;
  if (dtype === "bf16" && facts?.bf16_vs_fp64 !== undefined) return 2 * facts.bf16_vs_fp64 + bf16Ulp;
  const { float32 } = from.about.tolerance;
  if (typeof float32 === "number") return float32;
  const pattern = Object.keys(float32).find((key) =>
    key.endsWith("*") ? name.startsWith(key.slice(0, -1)) : key === name,
  );
  const rule = pattern === undefined ? undefined : float32[pattern];
  if (rule === undefined) throw new Error(`${from.name}: no tolerance for ${name}`);
  return typeof rule === "number" ? rule : toleranceInWords(rule, facts?.fp32_vs_fp64 ?? 0);
}

/** Every k-th place along each axis of a dense array. */
function subsampled({ shape, data }: HostTensor, every: readonly number[]): HostTensor {
  const small = shape.map((size, axis) => Math.ceil(size / (every[axis] ?? 1)));
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1) * (every[axis] ?? 1));
  const out = new Float64Array(small.reduce((a, b) => a * b, 1));
  const place = small.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    out[i] = data[place.reduce((sum, at, axis) => sum + at * (strides[axis] as number), 0)] as number;
    for (let axis = small.length - 1; axis >= 0; axis--) {
      place[axis] = (place[axis] as number) + 1;
      if ((place[axis] as number) < (small[axis] as number)) break;
      place[axis] = 0;
    }
  }
  return { shape: small, data: out };
}

const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((n, i) => n === b[i]);

/** The differences and the largest stored magnitude over the rows that count; what is NaN is as far off as can be. */
function differences(got: ArrayLike<number>, want: FixtureTensor, keepsRow: (row: number) => boolean) {
  const width = want.shape.at(-1) ?? 1;
  const off: number[] = [];
  let largest = 0;
  for (let i = 0; i < want.data.length; i++) {
    if (!keepsRow(Math.floor(i / width))) continue;
    const [g, w] = [got[i] as number, want.data[i] as number];
    off.push(Number.isNaN(g - w) ? Number.POSITIVE_INFINITY : Math.abs(g - w));
    largest = Math.max(largest, Math.abs(w));
  }
  return { off: Float64Array.from(off), largest };
}

/** Compares one tensor with what the case holds under that name. */
export function compare(
  from: ConformanceCase,
  name: string,
  got: HostTensor,
  options: { readonly dtype: RunDType; readonly rule?: Rule },
): Verdict {
  const { dtype, rule = {} } = options;
  const want = from.stored.get(name);
  if (want === undefined) throw new Error(`${from.name}: no tensor ${name}`);
  const tolerance = rule.tolerance ?? toleranceOf(from, name, dtype);
  const every = from.about.tensors[name]?.subsample;
  const seen = every === undefined || sameShape(got.shape, want.shape) ? got : subsampled(got, every);
  if (!sameShape(seen.shape, want.shape)) return { maxRelErr: null, tolerance, pass: false };
  const { off, largest } = differences(seen.data, want, rule.keepsRow ?? (() => true));
  // A case of which no row counts says nothing.
  if (off.length === 0) return { maxRelErr: null, tolerance, pass: false };
  const worst = off.sort()[off.length - 1 - Math.floor(off.length * (rule.mayBeOff ?? 0))] as number;
  const absolute = from.about.tolerance.metric.includes("absolute");
  // Where only some entries are stored, the distances of the reference speak of the whole tensor.
  const whole = every === undefined ? largest : Math.max(largest, from.about.tensors[name]?.absmax ?? 0);
  const scale = absolute ? 1 : (rule.scale ?? whole);
  // Where everything stored is zero, only zero agrees.
  const error = worst === 0 ? 0 : worst / scale;
  return { maxRelErr: Number.isFinite(error) ? error : null, tolerance, pass: error <= tolerance };
}
