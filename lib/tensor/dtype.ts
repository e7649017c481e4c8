/** Element types. The order is that of native/core/dtype.h: the code of a type is its position here. */
import { checkOneOf, invalid } from "../runtime/check.js";

interface DTypeInfo {
  /** Elements in a block; sizes are computed only through blocks, so that quantised types fit later. */
  readonly blockElements: number;
  readonly blockBytes: number;
  readonly kind: "float" | "int" | "bool";
}

export const dtypes = {
  f32: { blockElements: 1, blockBytes: 4, kind: "float" },
  f64: { blockElements: 1, blockBytes: 8, kind: "float" },
  f16: { blockElements: 1, blockBytes: 2, kind: "float" },
  bf16: { blockElements: 1, blockBytes: 2, kind: "float" },
  f8e4m3: { blockElements: 1, blockBytes: 1, kind: "float" },
  i32: { blockElements: 1, blockBytes: 4, kind: "int" },
  i64: { blockElements: 1, blockBytes: 8, kind: "int" },
  u8: { blockElements: 1, blockBytes: 1, kind: "int" },
  bool: { blockElements: 1, blockBytes: 1, kind: "bool" },
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof dtypes;
/** Types that ops compute in (f8e4m3 only stores weights). */
export type FloatDType = "f32" | "f64" | "f16" | "bf16";
export type IntDType = "i32" | "i64" | "u8";
export type IndexDType = "i32" | "i64";
export type NumericDType = FloatDType | IntDType;

export const dtypeNames = Object.keys(dtypes) as readonly DType[];
export const floatDTypes = ["f32", "f64", "f16", "bf16"] as const satisfies readonly FloatDType[];
export const numericDTypes = [
  "f32",
  "f64",
  "f16",
  "bf16",
  "i32",
  "i64",
  "u8",
] as const satisfies readonly NumericDType[];

const codes: { readonly [name: string]: number } = Object.assign(
  Object.create(null),
  Object.fromEntries(dtypeNames.map((name, code) => [name, code])),
);

/** The number by which native code knows the type; -1 for what is no type. */
export function dtypeCode(dtype: string): number {
  // Asked for several times a call: the two most frequent types are compared, not looked up.
  return dtype === "f32" ? 0 : dtype === "bf16" ? 3 : (codes[dtype] ?? -1);
}

export function isDType(name: unknown): name is DType {
  return typeof name === "string" && codes[name] !== undefined;
}

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtypes[dtype].kind === "float" && dtype !== "f8e4m3";
}

/**
 * Bytes that `elements` values of this type take.
 *
 * @throws INVALID_ARGUMENT
 */
export function bytesOf(dtype: DType, elements: number): number {
  if (!(isDType(dtype) && typeof elements === "number" && elements >= 0)) refuse(dtype, elements);
  const { blockElements, blockBytes } = dtypes[dtype];
  return Math.ceil(elements / blockElements) * blockBytes;
}

function refuse(dtype: unknown, elements: unknown): never {
  checkOneOf("bytesOf", "dtype", dtype, dtypeNames);
  throw invalid("bytesOf", "elements", elements, "a number ≥ 0");
}

/** What `read()` gives for each type. f16 and bf16 come widened, since JavaScript has no arrays for them. */
export interface HostArrays {
  f32: Float32Array;
  f64: Float64Array;
  f16: Float32Array;
  bf16: Float32Array;
  f8e4m3: Float32Array;
  i32: Int32Array;
  i64: BigInt64Array;
  u8: Uint8Array;
  bool: Uint8Array;
}
export type HostArray = HostArrays[DType];

/** The type in which values of `dtype` reach JavaScript. */
export function hostDType(dtype: DType): DType {
  return dtype === "f16" || dtype === "bf16" || dtype === "f8e4m3" ? "f32" : dtype;
}

const hostArrays: { readonly [D in DType]: (bytes: ArrayBuffer) => HostArrays[D] } = {
  f32: (bytes) => new Float32Array(bytes),
  f64: (bytes) => new Float64Array(bytes),
  f16: (bytes) => new Float32Array(bytes),
  bf16: (bytes) => new Float32Array(bytes),
  f8e4m3: (bytes) => new Float32Array(bytes),
  i32: (bytes) => new Int32Array(bytes),
  i64: (bytes) => new BigInt64Array(bytes),
  u8: (bytes) => new Uint8Array(bytes),
  bool: (bytes) => new Uint8Array(bytes),
};

/** The type of sums over many values: f64 for f64, else f32, since a narrow type would stop growing. */
export function sumDType({ dtype }: { readonly dtype: DType }): "f32" | "f64" {
  return dtype === "f64" ? "f64" : "f32";
}

/** Bytes that came from a device, as the typed array of their type. */
export function hostArray<D extends DType>(dtype: D, bytes: ArrayBuffer): HostArrays[D] {
  return hostArrays[dtype](bytes);
}
