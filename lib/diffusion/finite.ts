/** Whether a tensor holds NaN or infinity, at the price of reading it once or twice. */
import { cast } from "../ops/layout.js";
import { sub } from "../ops/pointwise.js";
import { max, min } from "../ops/reduce.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";

/**
 * A scalar that is finite just when every element of x is. Extremes, not a sum: sums of finite f16 values overflow.
 *
 * @example Number.isFinite(await spread(x).item())
 */
export function spread(x: Tensor<FloatDType>): Tensor<"f32"> {
  return scope(() => sub(cast(max(x), "f32"), cast(min(x), "f32")));
}
