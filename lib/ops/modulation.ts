/**
 * The rule for modulations (shift, scale, gate): a row of C values for each sample, or for each row, of a tensor
 * [B, ..., C]. Kernels see it as a row for each group of consecutive rows.
 */
import { HunyuanError } from "../runtime/errors.js";
import { type Shape, sameShape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";

/**
 * Throws SHAPE_MISMATCH unless the modulation is [B, C], [B, 1, ..., C], or of the shape itself.
 *
 * @internal
 */
export function checkModulation(op: string, argument: string, value: Tensor | undefined, shape: Shape): void {
  if (value === undefined) return;
  const [batch = 1, channels = 1] = [shape[0], shape.at(-1)];
  const perSample = [batch, ...shape.slice(1, -1).map(() => 1), channels];
  if (shape.length >= 2 && [[batch, channels], perSample, shape].some((allowed) => sameShape(allowed, value.shape)))
    return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op}: ${argument} is ${showShape(value.shape)}, expected [${batch}, ${channels}], ${showShape(perSample)} or ${showShape(shape)}`,
    { op, argument, shapes: [value.shape, shape] },
  );
}

/**
 * Throws unless shift and scale are of one shape and type.
 *
 * @internal
 */
export function checkAlike(op: string, shift: Tensor | undefined, scale: Tensor | undefined): void {
  if (shift === undefined || scale === undefined) return;
  if (shift.dtype !== scale.dtype) {
    throw new HunyuanError("DTYPE_UNSUPPORTED", `${op}: scale is ${scale.dtype}, expected ${shift.dtype} as shift`, {
      op,
      argument: "scale",
      dtype: scale.dtype,
    });
  }
  if (sameShape(shift.shape, scale.shape)) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op}: scale is ${showShape(scale.shape)}, expected ${showShape(shift.shape)} as shift`,
    { op, argument: "scale", shapes: [scale.shape, shift.shape] },
  );
}
