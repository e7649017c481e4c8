/** Tensors made from numbers. */
import { type Device, defaultDevice } from "../runtime/device.js";
import { runOp } from "../tensor/apply.js";
import { checkDTypeName, checkNumber, checkOptions, checkTensor, invalid } from "../tensor/check.js";
import { bytesOf, type DType, dtypeNames } from "../tensor/dtype.js";
import { checkShape, type Shape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp } from "./define.js";

const fillOp = defineOp({
  name: "fill",
  doc: "y = value everywhere",
  inputs: {},
  attrs: { value: "f64", dtype: dtypeNames, shape: "i64[]" },
  outputs: ["y"],
  shape: (_, { dtype, shape }) => ({ y: { dtype, shape } }),
  cost: (_, { dtype, shape }) => ({ bytes: bytesOf(dtype, sizeOf(shape)), flops: 0 }),
});

const arangeOp = defineOp({
  name: "arange",
  doc: "y[i] = start + i · step, computed in f64",
  inputs: {},
  attrs: { start: "f64", step: "f64", dtype: dtypeNames, length: "i64" },
  outputs: ["y"],
  shape: (_, { dtype, length }) => ({ y: { dtype, shape: [length] } }),
  cost: (_, { dtype, length }) => ({ bytes: bytesOf(dtype, length), flops: 2 * length }),
});

export interface FillOptions<D extends DType = DType> {
  /** Default f32. */
  readonly dtype?: D;
  /** Default: the process's CPU device. */
  readonly device?: Device;
}

function filled(op: string, shape: Shape, value: number, options: FillOptions): Tensor<never> {
  checkShape(op, shape);
  checkOptions(op, options);
  const { dtype = "f32", device = defaultDevice() } = options;
  checkDTypeName(op, dtype);
  if (typeof value !== "number") throw invalid(op, "value", value, "a number");
  // The caller, which has the dtype as a type, gives the result its type back.
  return runOp<{ y: never }>(fillOp, {}, { value, dtype, shape: [...shape] }, { device }).y;
}

/**
 * A tensor with the same number everywhere, converted as `cast` does.
 *
 * @throws INVALID_ARGUMENT
 * @example full([2, 3], Number.NEGATIVE_INFINITY, { dtype: "bf16" })
 */
export function full(shape: Shape, value: number): Tensor<"f32">;
export function full<D extends DType = "f32">(shape: Shape, value: number, options: FillOptions<D>): Tensor<D>;
export function full(shape: Shape, value: number, options: FillOptions = {}): Tensor {
  return filled("full", shape, value, options);
}

/** Zeros, or `false`. @throws INVALID_ARGUMENT */
export function zeros(shape: Shape): Tensor<"f32">;
export function zeros<D extends DType = "f32">(shape: Shape, options: FillOptions<D>): Tensor<D>;
export function zeros(shape: Shape, options: FillOptions = {}): Tensor {
  return filled("zeros", shape, 0, options);
}

/** Ones, or `true`. @throws INVALID_ARGUMENT */
export function ones(shape: Shape): Tensor<"f32">;
export function ones<D extends DType = "f32">(shape: Shape, options: FillOptions<D>): Tensor<D>;
export function ones(shape: Shape, options: FillOptions = {}): Tensor {
  return filled("ones", shape, 1, options);
}

/** Zeros of x's shape, type and device. */
export function zerosLike<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor("zerosLike", "x", x);
  return filled("zerosLike", x.shape, 0, { dtype: x.dtype, device: x.device });
}

/** Ones of x's shape, type and device. */
export function onesLike<D extends DType>(x: Tensor<D>): Tensor<D> {
  checkTensor("onesLike", "x", x);
  return filled("onesLike", x.shape, 1, { dtype: x.dtype, device: x.device });
}

export interface ArangeOptions<D extends DType = DType> extends FillOptions<D> {
  /** Default 0. */
  readonly start?: number;
  /** Default 1. */
  readonly step?: number;
}

/**
 * [start, start + step, …], `length` values. By length, not by end: no question of rounding at the last one.
 *
 * @throws INVALID_ARGUMENT
 * @example arange(4, { start: 1, step: 0.5 }) // 1, 1.5, 2, 2.5
 */
export function arange(length: number): Tensor<"f32">;
export function arange<D extends DType = "f32">(length: number, options: ArangeOptions<D>): Tensor<D>;
export function arange(length: number, options: ArangeOptions = {}): Tensor {
  checkNumber("arange", "length", length, { whole: true, min: 0 });
  checkShape("arange", [length]);
  checkOptions("arange", options);
  const { start = 0, step = 1, dtype = "f32", device = defaultDevice() } = options;
  checkDTypeName("arange", dtype);
  checkNumber("arange", "start", start);
  checkNumber("arange", "step", step);
  return runOp<{ y: DType }>(arangeOp, {}, { start, step, dtype, length }, { device }).y;
}
