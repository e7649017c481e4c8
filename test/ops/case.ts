/** What a family's cases file is made of: inputs by recipe, the op under test, and a plain reference in f64. */
import type { DType } from "../../lib/tensor/dtype.js";
import type { Tensor } from "../../lib/tensor/tensor.js";

/** Host-side values in f64, dense and row-major. */
export interface Host {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** How an input is made. The values are rounded to the dtype first, so that the reference sees what the op sees. */
export interface InputRecipe {
  readonly shape: readonly number[];
  /** Default: the dtype under test. Set it for indices, masks, lengths. */
  readonly dtype?: DType;
  /** Value at flat index i; `random()` is seeded, uniform in [0, 1). Default: uniform in [-2, 2). */
  readonly value?: (i: number, random: () => number) => number;
}

/** A tensor that any op takes: the type says less than the case knows, and the op checks at run time anyway. */
export type AnyTensor = Tensor<never>;

export interface OpCase<N extends string = string> {
  /** Unique within the family; starts with the op's public name. */
  readonly name: string;
  readonly inputs: { readonly [K in N]: InputRecipe };
  /** Calls the public op; one tensor or several. */
  run(t: { readonly [K in N]: AnyTensor }): Tensor | readonly Tensor[];
  /** The same in plain f64 JavaScript. */
  reference(h: { readonly [K in N]: Host }): Host | readonly Host[];
  /** Storage types to run in. Default f32, bf16, f16, f64. */
  readonly dtypes?: readonly DType[];
  /** Inputs whose gradients are compared with finite differences of the reference, in f64. */
  readonly gradients?: readonly NoInfer<N>[];
  /** Inputs that are also passed as strided views (rows with a gap between them, at an odd offset). */
  readonly pitch?: readonly NoInfer<N>[];
  /** Allowed error relative to the largest reference value, as a multiple of the dtype's rounding. Default 4. */
  readonly slack?: number;
  /**
   * Roundings of what backward reads that come out in a gradient, where they are many: derived, not measured. Counts where
   * gradients are compared in the types that models compute in; those in f64 have the same bound in any case.
   */
  readonly gradientRoundings?: number;
  /** Backends that the case runs on; default all. */
  readonly only?: readonly string[];
}

/** Declares a case; the names of its inputs are inferred. */
export function opCase<const N extends string>(c: OpCase<N>): OpCase {
  // Widening the names: the runner passes exactly the inputs that the case declares.
  return c as OpCase<string>;
}

export const hostOf = (shape: readonly number[], data: ArrayLike<number>): Host => ({
  shape,
  data: Float64Array.from(data),
});

/** A host tensor filled by a function of the flat index. */
export function fill(shape: readonly number[], value: (i: number) => number): Host {
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) data[i] = value(i);
  return { shape, data };
}

/** Calls fn with each run along the last axis. */
export function eachRow(host: Host, fn: (row: Float64Array, index: number) => void): void {
  const width = host.shape.at(-1) ?? 1;
  if (width === 0) return;
  for (let r = 0; r * width < host.data.length; r++) fn(host.data.subarray(r * width, (r + 1) * width), r);
}
