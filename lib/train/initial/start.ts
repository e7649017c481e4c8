/** Weights to start training from, by how each parameter is to be drawn. */
import { paramsFromTensors } from "../../nn/load.js";
import type { Params } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { concat } from "../../ops/concat.js";
import { full } from "../../ops/fill.js";
import { mul, sub } from "../../ops/pointwise.js";
import { rand, randn } from "../../ops/random.js";
import { reshape } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { sizeOf } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { seedOf } from "../random.js";

/**
 * How a parameter is drawn. "xavier" is uniform within √(6 / (inputs + outputs)) of a matrix [out, in …]; where several maps
 * lie one below the other, `rows` says how many outputs each has.
 *
 * @see Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010)
 */
export type Start =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "xavier"; readonly rows?: readonly number[] | undefined };

export const zero: Start = { kind: "constant", value: 0 };
export const one: Start = { kind: "constant", value: 1 };

export interface InitialOptions {
  readonly device: Device;
  /** A whole number ≥ 0: the same seed gives the same weights, each parameter's by its name. */
  readonly seed: number;
  /** Default f32. */
  readonly dtype?: FloatDType;
}

/** Parameters that begin as `startOf` says. */
export function initialParams(
  specs: readonly ParameterSpec[],
  startOf: (spec: ParameterSpec) => Start,
  { device, seed, dtype = "f32" }: InitialOptions,
): Params {
  return scope(() => {
    const made = specs.map((spec) => {
      return [spec.name, draw(spec.shape, startOf(spec), seedOf("initial", seed, spec.name), device)] as const;
    });
    return paramsFromTensors(specs, new Map(made), { dtype });
  });
}

function draw(shape: readonly number[], start: Start, seed: number, device: Device): Tensor<"f32"> {
  switch (start.kind) {
    case "constant":
      return full(shape, start.value, { device });
    case "normal":
      return mul(randn(shape, { seed, device }), start.std);
    case "xavier": {
      const [out = 0, ...rest] = shape;
      const inner = sizeOf(rest);
      let offset = 0;
      const maps = (start.rows ?? [out]).map((rows) => {
        const bound = Math.sqrt(6 / (inner + rows));
        const uniform = rand([rows, inner], { seed, device, offset });
        offset += rows * inner;
        return sub(mul(uniform, 2 * bound), bound);
      });
      return reshape(concat(maps, 0), shape);
    }
  }
}
