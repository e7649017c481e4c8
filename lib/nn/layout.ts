/** From the layout in which parameters are saved to the one in which the device holds them, and back. */
import { copyView } from "../ops/copy.js";
import type { DType } from "../tensor/dtype.js";
import { asTensorGeometry, permuteGeometry, reshapeGeometry } from "../tensor/geometry.js";
import { denseStrides, isDense, type Shape, sizeOf } from "../tensor/shape.js";
import type { Tensor, ViewGeometry } from "../tensor/tensor.js";
import type { ParameterSpec } from "./spec.js";

/** [O, I, …] as [O, …, I] */
const lastAxes = (rank: number): number[] => [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1];
/** [O, …, I] as [O, I, …] */
const firstAxes = (rank: number): number[] => [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)];

/** The shape on the device. */
export function deviceShape({ shape, layout }: ParameterSpec): Shape {
  if (layout === "channels-last" && shape.length > 2)
    return lastAxes(shape.length).map((axis) => shape[axis] as number);
  if (layout === "flat" && shape.length > 2) return [shape[0] as number, sizeOf(shape.slice(1))];
  return shape;
}

const dense = (shape: Shape): ViewGeometry => ({ shape, strides: denseStrides(shape), offset: 0 });

/** How a dense tensor as saved is walked to meet the device's layout. */
export function toDeviceGeometry(spec: ParameterSpec): ViewGeometry {
  const saved = dense(spec.shape);
  if (spec.layout === "channels-last" && saved.shape.length > 2) {
    return permuteGeometry(saved, lastAxes(saved.shape.length));
  }
  return dense(deviceShape(spec));
}

/** Whether the bytes on the device are those of the file, whatever the shape. */
export function keepsOrder(spec: ParameterSpec): boolean {
  const { shape, strides } = toDeviceGeometry(spec);
  return isDense(shape, strides);
}

/**
 * A parameter as saved (any strides) in the device's layout and type: a tensor of its own, or a view of the same storage
 * when nothing has to move. The argument stays the caller's.
 */
export function toDevice(saved: Tensor, spec: ParameterSpec, dtype: DType): Tensor {
  const walked =
    spec.layout === "channels-last" && spec.shape.length > 2
      ? permuteGeometry(saved, lastAxes(spec.shape.length))
      : reshapeGeometry(saved, deviceShape(spec));
  if (walked === undefined) {
    const packed = copyView(saved, saved, saved.dtype);
    const made = toDevice(packed, spec, dtype);
    packed.dispose();
    return made;
  }
  return moved(saved, walked, dtype);
}

/** The parameter of a device as it is saved, in a type. The argument stays the caller's. */
export function toSaved(held: Tensor, spec: ParameterSpec, dtype: DType): Tensor {
  const walked =
    spec.layout === "channels-last" && spec.shape.length > 2
      ? permuteGeometry(held, firstAxes(spec.shape.length))
      : reshapeGeometry(held, spec.shape);
  // Parameters are dense, so a reshape never needs a copy.
  return moved(held, walked ?? held, dtype);
}

function moved(from: Tensor, walked: ViewGeometry, dtype: DType): Tensor {
  const view = asTensorGeometry(walked);
  const stays = from.dtype === dtype && view !== undefined && isDense(view.shape, view.strides);
  if (stays) return from.viewAs({ shape: view.shape, strides: denseStrides(view.shape), offset: view.offset });
  return copyView(from, walked, dtype);
}
