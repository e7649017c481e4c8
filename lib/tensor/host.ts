/** From JavaScript's data to tensors: numbers, nested arrays, typed arrays, ndarrays and raw bytes. */
import { isAnyArrayBuffer } from "node:util/types";
import type { NdArray } from "ndarray";
import { binding } from "../runtime/binding.js";
import { type Device, defaultDevice } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { checkDevice, checkDTypeName, checkOptions, checkWholes, invalid, seen } from "./check.js";
import { bytesOf, type DType, hostArray, hostDType } from "./dtype.js";
import { topOwner } from "./ownership.js";
import { checkShape, maxRank, type Shape, showShape, sizeOf } from "./shape.js";
import { denseTensor, Tensor } from "./tensor.js";

type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigInt64Array;
type Scalar = number | boolean | bigint;
/** A scalar, or arrays of arrays of it, all of one length on each level. */
export type Nested<S extends Scalar> = S | readonly Nested<S>[];
export type NestedArray = Nested<number> | Nested<boolean> | Nested<bigint>;
export type TensorData = NestedArray | TypedArray | NdArray;

export interface TensorOptions<D extends DType = DType> {
  /** Default: the type of a typed array, bool for booleans, i64 for bigints, else f32. */
  readonly dtype?: D;
  /** Default: the process's CPU device. */
  readonly device?: Device;
  /** Shape of a typed array; default one axis. Refused for data that has a shape of its own. */
  readonly shape?: Shape;
}

/** Options that leave the type to the data. */
type Undecided = TensorOptions & { readonly dtype?: never };

/**
 * A tensor with a copy of the data.
 *
 * @throws INVALID_ARGUMENT for ragged arrays, values that are no numbers, shapes that do not fit.
 * @throws QUEUE_FULL when too many host bytes wait for upload: `await device.sync()` first.
 * @example tensor([[1, 2], [3, 4]], { dtype: "bf16" })
 */
export function tensor<D extends DType>(data: TensorData, options: TensorOptions<D> & { readonly dtype: D }): Tensor<D>;
export function tensor(data: Nested<number> | Float32Array, options?: Undecided): Tensor<"f32">;
export function tensor(data: Nested<boolean>, options?: Undecided): Tensor<"bool">;
export function tensor(data: Nested<bigint> | BigInt64Array, options?: Undecided): Tensor<"i64">;
export function tensor(data: Float64Array, options?: Undecided): Tensor<"f64">;
export function tensor(data: Int8Array | Int16Array | Int32Array | Uint16Array, options?: Undecided): Tensor<"i32">;
export function tensor(data: Uint8Array | Uint8ClampedArray, options?: Undecided): Tensor<"u8">;
export function tensor(data: TensorData, options?: TensorOptions): Tensor;
export function tensor(data: TensorData, options: TensorOptions = {}): Tensor {
  checkOptions("tensor", options);
  const { dtype, device = defaultDevice(), shape } = options;
  if (dtype !== undefined) checkDTypeName("tensor", dtype);
  checkDevice("tensor", device);
  if (shape !== undefined) checkShape("tensor", shape);
  const host = fromHost(data, shape);
  const as = dtype ?? host.dtype;
  const uploaded = upload(host.dtype === hostDType(as) ? host : convert(host, hostDType(as)), device);
  if (uploaded.dtype === as) return uploaded;
  // Narrow types are made on the device, which rounds as every op does.
  const narrow = Tensor.toDense(uploaded, as);
  uploaded.dispose();
  narrow.moveTo(topOwner());
  return narrow;
}

/**
 * A tensor from bytes as they lie in memory or in a file, little-endian, any dtype.
 *
 * @throws INVALID_ARGUMENT
 */
export function fromBytes<D extends DType>(
  bytes: ArrayBufferView | ArrayBuffer,
  options: { readonly dtype: D; readonly shape: Shape; readonly device?: Device },
): Tensor<D> {
  const op = "fromBytes";
  checkOptions(op, options);
  const { dtype, shape, device = defaultDevice() } = options;
  checkDTypeName(op, dtype);
  checkShape(op, shape);
  checkDevice(op, device);
  if (!ArrayBuffer.isView(bytes) && !isAnyArrayBuffer(bytes)) {
    throw invalid(op, "bytes", bytes, "an ArrayBuffer or a view of one");
  }
  const view = viewOf(op, "bytes", bytes);
  const expected = bytesOf(dtype, sizeOf(shape));
  if (view.byteLength !== expected) {
    const message = `${op}: bytes has ${view.byteLength} bytes, expected ${expected} for ${dtype} ${showShape(shape)}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: "bytes" });
  }
  return uploadBytes(view, dtype, [...shape], device);
}

/** The bytes; throws when their memory is gone. */
function viewOf(op: string, argument: string, bytes: ArrayBufferView | ArrayBufferLike): Uint8Array {
  const view = ArrayBuffer.isView(bytes) ? bytes : undefined;
  const buffer = view?.buffer ?? (bytes as ArrayBufferLike);
  try {
    return view === undefined ? new Uint8Array(buffer) : new Uint8Array(buffer, view.byteOffset, view.byteLength);
  } catch (cause) {
    // Nothing asks a buffer of Node 20 whether it is detached.
    const message = `${op}: ${argument} has lost its memory: its buffer is detached (transferred) or was made smaller`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument }, { cause });
  }
}

interface HostData {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly values: TypedArray;
}

function refuse(message: string, argument: string): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `tensor: ${message}`, { op: "tensor", argument });
}

function fromHost(data: unknown, shape: Shape | undefined): HostData {
  if (ArrayBuffer.isView(data)) return fromTyped(data, shape);
  if (isNdArray(data)) {
    if (shape !== undefined) throw refuse("an ndarray has a shape of its own; leave { shape } out", "shape");
    return fromNdArray(data);
  }
  const nested = fromNested(data);
  if (shape === undefined) return nested;
  if (sizeOf(shape) !== nested.values.length) {
    throw refuse(`${nested.values.length} values do not fill ${showShape(shape)}`, "shape");
  }
  return { ...nested, shape: [...shape] };
}

function fromTyped(data: ArrayBufferView, shape: Shape | undefined): HostData {
  if (data instanceof DataView) throw refuse("a DataView has no element type; use fromBytes()", "data");
  viewOf("tensor", "data", data);
  const values = data as TypedArray;
  if (shape !== undefined && sizeOf(shape) !== values.length) {
    throw refuse(`${values.length} values do not fill ${showShape(shape)}`, "shape");
  }
  const as = shape === undefined ? [values.length] : [...shape];
  if (values instanceof Float32Array) return { dtype: "f32", shape: as, values };
  if (values instanceof Float64Array) return { dtype: "f64", shape: as, values };
  if (values instanceof BigInt64Array) return { dtype: "i64", shape: as, values };
  if (values instanceof Uint8Array || values instanceof Uint8ClampedArray) return { dtype: "u8", shape: as, values };
  if (values instanceof Int32Array) return { dtype: "i32", shape: as, values };
  if (values instanceof Int8Array || values instanceof Int16Array || values instanceof Uint16Array) {
    return { dtype: "i32", shape: as, values: Int32Array.from(values) };
  }
  const kind = Object.prototype.toString.call(data).slice("[object ".length, -1);
  throw refuse(`${kind} has no tensor type; convert it first`, "data");
}

function isNdArray(data: unknown): data is NdArray {
  return (
    typeof data === "object" && data !== null && "stride" in data && "shape" in data && "get" in data && "data" in data
  );
}

function fromNdArray(array: NdArray): HostData {
  checkNdArray(array);
  const shape = [...array.shape];
  const source = array.data as ArrayLike<number | bigint>;
  const flat = new Array<number | bigint>(sizeOf(shape));
  const index = new Array<number>(shape.length).fill(0);
  let offset = array.offset;
  for (let i = 0; i < flat.length; i++) {
    const value: unknown = source[offset];
    if (typeof value !== "number" && typeof value !== "bigint")
      throw refuse(`values must be numbers, got ${seen(value)}`, "data");
    flat[i] = value;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const step = array.stride[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      offset += step;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      offset -= step * (index[axis] as number);
      index[axis] = 0;
    }
  }
  const kind = ArrayBuffer.isView(array.data) ? fromTyped(array.data, undefined).dtype : "f64";
  return {
    dtype: kind === "f64" && !ArrayBuffer.isView(array.data) ? "f32" : kind,
    shape,
    values: arrayOf(kind, flat),
  };
}

/** Throws unless every element lies inside `data`. Repeated elements (strides of 0) may be no more than there are. */
function checkNdArray({ shape, stride, offset, data }: NdArray): void {
  checkShape("tensor", shape);
  if (!Array.isArray(data) && !ArrayBuffer.isView(data))
    throw refuse("an ndarray's data must be an array or a typed array", "data");
  const { length } = data as ArrayLike<unknown>;
  checkWholes("tensor", "the ndarray's stride", stride, shape.length);
  let [first, last] = [offset, offset];
  shape.forEach((n, axis) => {
    const reach = (n - 1) * (stride[axis] as number);
    if (reach < 0) first += reach;
    else last += reach;
  });
  const size = sizeOf(shape);
  if (Number.isSafeInteger(offset) && size <= length && (size === 0 || (first >= 0 && last < length))) return;
  throw refuse(`an ndarray of ${showShape(shape)} does not lie inside its data of ${length} elements`, "data");
}

function fromNested(data: unknown): HostData {
  const shape: number[] = [];
  // One level too many is enough to refuse: an array that contains itself has no last one.
  for (let level = data; Array.isArray(level) && shape.length <= maxRank; level = level[0]) shape.push(level.length);
  checkShape("tensor", shape);
  const flat: Scalar[] = [];
  const walk = (value: unknown, depth: number) => {
    if (Array.isArray(value)) {
      if (value.length !== shape[depth])
        throw refuse(`ragged array: axis ${depth} has lengths ${shape[depth]} and ${value.length}`, "data");
      for (let i = 0; i < value.length; i++) walk(value[i], depth + 1);
    } else if (depth !== shape.length) {
      throw refuse(`ragged array: a value stands where axis ${depth} should be`, "data");
    } else if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
      flat.push(value);
    } else {
      throw refuse(
        `values must be numbers, booleans or bigints, got ${value === null ? "null" : typeof value}`,
        "data",
      );
    }
  };
  walk(data, 0);
  const kinds = new Set(flat.map((value) => typeof value));
  if (kinds.size > 1) throw refuse(`values are of different types: ${[...kinds].join(", ")}`, "data");
  if (kinds.has("bigint")) return { dtype: "i64", shape, values: arrayOf("i64", flat) };
  if (kinds.has("boolean")) return { dtype: "bool", shape, values: arrayOf("bool", flat) };
  return { dtype: "f32", shape, values: arrayOf("f64", flat) };
}

function arrayOf(dtype: DType, flat: readonly Scalar[]): TypedArray {
  if (dtype === "i64") return BigInt64Array.from(flat, toBigInt);
  const array: TypedArray =
    dtype === "f64"
      ? new Float64Array(flat.length)
      : (hostArray(dtype, new ArrayBuffer(bytesOf(dtype, flat.length))) as Exclude<TypedArray, BigInt64Array>);
  for (let i = 0; i < flat.length; i++) (array as Float64Array)[i] = Number(flat[i]);
  return array;
}

function toBigInt(value: Scalar): bigint {
  if (typeof value === "number" && !Number.isInteger(value))
    throw refuse(`i64 takes whole numbers, got ${value}`, "data");
  const big = BigInt(value);
  if (BigInt.asIntN(64, big) !== big) throw refuse(`i64 takes numbers from −2^63 to 2^63 − 1, got ${value}`, "data");
  return big;
}

/** The values in another host type, as JavaScript converts (booleans become 0 and 1). */
function convert(host: HostData, dtype: DType): HostData {
  if (host.values instanceof Float64Array && dtype === "f32")
    return { ...host, dtype, values: Float32Array.from(host.values) };
  const flat = Array.from<number | bigint>(host.values as ArrayLike<number | bigint>);
  const values = dtype === "bool" ? flat.map((value) => (Number(value) !== 0 ? 1 : 0)) : flat;
  return { ...host, dtype, values: arrayOf(dtype, values) };
}

function upload(host: HostData, device: Device): Tensor {
  // Nested arrays carry f64 values under the name f32 until here, so that { dtype: "f64" } loses nothing.
  const values =
    host.dtype === "f32" && host.values instanceof Float64Array ? Float32Array.from(host.values) : host.values;
  return uploadBytes(values, host.dtype, host.shape, device);
}

function uploadBytes<D extends DType>(bytes: ArrayBufferView, dtype: D, shape: Shape, device: Device): Tensor<D> {
  const handle = binding().upload(device.id, bytes);
  if (!(handle > 0)) throw statusToError(handle, "tensor", device.name);
  return denseTensor(device, handle, dtype, shape);
}
