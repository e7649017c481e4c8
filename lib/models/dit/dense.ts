/**
 * A linear layer as plain tensors, so that one layer of the checkpoint can be taken as several: the rows of its weight
 * for parts of its result, the columns for parts of its input.
 */
import { type Adapter, adaptedLinear } from "../../nn/adapter.js";
import type { Params } from "../../nn/params.js";
import type { LinearOptions } from "../../ops/linear.js";
import { split } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import type { Tensor } from "../../tensor/tensor.js";

export interface Dense {
  /** [N, K] */
  readonly weight: Tensor;
  /** [N] */
  readonly bias?: Tensor | undefined;
  /** Of an f8e4m3 weight: [1] or [N]. */
  readonly weightScale?: Tensor<"f32"> | undefined;
  /** What learns beside it. */
  readonly adapter?: Adapter | undefined;
}

/** The layer at a path: `weight`, `bias` and, where the weight is f8e4m3, `weight_scale`; and its adapter. */
export function denseAt(p: Params): Dense {
  return {
    weight: p.get("weight"),
    bias: p.find("bias"),
    weightScale: p.find<"f32">("weight_scale"),
    adapter: p.adapter,
  };
}

/** x Wᵀ + b, with an epilogue. */
export function apply<D extends FloatDType>(layer: Dense, x: Tensor<D>, options: LinearOptions<D> = {}): Tensor<D> {
  const { weight, bias, weightScale, adapter } = layer;
  return adaptedLinear(x, weight, { bias, weightScale, ...options }, adapter);
}

/** Layers that give the first, second, … `sizes` of the layer's outputs. Views: nothing is copied. */
export function splitOutputs({ weight, bias, weightScale, adapter }: Dense, sizes: readonly number[]): Dense[] {
  const weights = split(weight, sizes, 0);
  const biases = bias && split(bias, sizes);
  const scales = weightScale && (weightScale.size === 1 ? sizes.map(() => weightScale) : split(weightScale, sizes));
  const ups = adapter && split(adapter.up, sizes, 0);
  return weights.map((part, i) => {
    const up = ups?.[i];
    return {
      weight: part,
      bias: biases?.[i],
      weightScale: scales?.[i],
      adapter: adapter && up && { ...adapter, up },
    };
  });
}

/** Layers for the first, second, … `sizes` of the layer's inputs, whose results add up; the bias is with the first. */
export function splitInputs({ weight, bias, weightScale, adapter }: Dense, sizes: readonly number[]): Dense[] {
  const downs = adapter && split(adapter.down, sizes, 1);
  return split(weight, sizes, 1).map((part, i) => {
    const down = downs?.[i];
    return {
      weight: part,
      bias: i === 0 ? bias : undefined,
      weightScale,
      adapter: adapter && down && { ...adapter, down },
    };
  });
}
