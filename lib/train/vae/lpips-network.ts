/**
 * The image classifiers whose features LPIPS compares, up to the last layer that it looks at.
 *
 * Letters: N images, H height, W width, C channels; images are [N, H, W, C].
 *
 * Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks" (arXiv 1409.1556), configuration D; Krizhevsky, "One
 * weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997), in torchvision's sizes.
 */
import type { Params } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { conv2d } from "../../ops/conv3d.js";
import { contiguous } from "../../ops/copy.js";
import { pad } from "../../ops/layout.js";
import { add } from "../../ops/pointwise.js";
import { maxPool2d } from "../../ops/pool.js";
import { relu } from "../../ops/unary.js";
import { permute, reshape, slice } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";

/** A convolution, followed by ReLU; kernel 3 and 5 keep the size, 11 goes in strides of 4. */
export interface FeatureLayer {
  /** Its number in torchvision's `features`, which names its weights in files. */
  readonly index: number;
  readonly inner: number;
  readonly out: number;
  readonly kernel: 3 | 5 | 11;
}

/** Layers between two poolings and looks: the features after the last of each stage are compared. */
export interface FeatureStage {
  /** Side of the pooling windows before it, two pixels apart. */
  readonly pool?: 2 | 3;
  readonly layers: readonly FeatureLayer[];
}

export interface FeatureNetwork {
  readonly stages: readonly FeatureStage[];
  /** The smallest height and width that leave something at the end. */
  readonly leastSize: number;
}

const layer = (index: number, inner: number, out: number, kernel: 3 | 5 | 11 = 3): FeatureLayer => ({
  index,
  inner,
  out,
  kernel,
});

export const featureNetworks = {
  vgg16: {
    leastSize: 16,
    stages: [
      { layers: [layer(0, 3, 64), layer(2, 64, 64)] },
      { pool: 2, layers: [layer(5, 64, 128), layer(7, 128, 128)] },
      { pool: 2, layers: [layer(10, 128, 256), layer(12, 256, 256), layer(14, 256, 256)] },
      { pool: 2, layers: [layer(17, 256, 512), layer(19, 512, 512), layer(21, 512, 512)] },
      { pool: 2, layers: [layer(24, 512, 512), layer(26, 512, 512), layer(28, 512, 512)] },
    ],
  },
  alexnet: {
    leastSize: 31,
    stages: [
      { layers: [layer(0, 3, 64, 11)] },
      { pool: 3, layers: [layer(3, 64, 192, 5)] },
      { pool: 3, layers: [layer(6, 192, 384)] },
      { layers: [layer(8, 384, 256)] },
      { layers: [layer(10, 256, 256)] },
    ],
  },
} as const satisfies { readonly [name: string]: FeatureNetwork };

export const layersOf = ({ stages }: FeatureNetwork): readonly FeatureLayer[] =>
  stages.flatMap((stage) => stage.layers);

/** Weights and biases, "3.weight", as files have them. */
export function featureSpec(network: FeatureNetwork): readonly ParameterSpec[] {
  return layersOf(network).flatMap(({ index, inner, out, kernel }): readonly ParameterSpec[] => [
    { name: `${index}.weight`, shape: [out, inner, kernel, kernel], layout: "channels-last" },
    { name: `${index}.bias`, shape: [out], layout: "same" },
  ]);
}

/**
 * Features of images, one tensor for each stage.
 *
 * @param images [N, H, W, 3], normalised
 */
export function featuresOf<D extends FloatDType>(
  network: FeatureNetwork,
  p: Params,
  images: Tensor<D>,
): readonly Tensor<D>[] {
  return scope(() => {
    let x = images;
    return network.stages.map(({ pool, layers }) => {
      if (pool !== undefined) x = maxPool2d(x, { kernel: [pool, pool], stride: [2, 2] });
      for (const one of layers) x = relu(convolved(p.at(`${one.index}`), one.kernel, x));
      return x;
    });
  });
}

function convolved<D extends FloatDType>(p: Params, kernel: 3 | 5 | 11, x: Tensor<D>): Tensor<D> {
  const weight = p.get<FloatDType>("weight");
  const bias = p.get("bias");
  return scope(() => {
    if (kernel === 3) return conv2d(x, weight, { bias, padMode: "zero" });
    return kernel === 5 ? wideConvolution(x, weight, bias) : stridedConvolution(x, weight, bias);
  });
}

/** 5 × 5 with two pixels of zeros, as four convolutions of 3 × 3 on shifted images: a sixth row and column of taps is zero. */
function wideConvolution<D extends FloatDType>(x: Tensor<D>, weight: Tensor<FloatDType>, bias: Tensor): Tensor<D> {
  const [, height = 0, width = 0] = x.shape;
  const taps = pad(weight, [
    [0, 0],
    [0, 1],
    [0, 1],
    [0, 0],
  ]);
  const rim = pad(x, [
    [0, 0],
    [2, 3],
    [2, 3],
    [0, 0],
  ]);
  const part = (i: number, j: number, withBias: Tensor | undefined) => {
    const quarter = slice(slice(taps, 1, 3 * i, 3 * i + 3), 2, 3 * j, 3 * j + 3);
    const seen = slice(slice(rim, 1, 3 * i, 3 * i + height + 2), 2, 3 * j, 3 * j + width + 2);
    return conv2d(seen, contiguous(quarter), { bias: withBias, padding: "none" });
  };
  return add(add(part(0, 0, bias), part(0, 1, undefined)), add(part(1, 0, undefined), part(1, 1, undefined)));
}

const side = 4;

/**
 * 11 × 11 in strides of 4 with two pixels of zeros: with a twelfth row and column of zeros and 4 × 4 pixels as channels of
 * one, the taps are 3 × 3 and the stride is 1.
 */
function stridedConvolution<D extends FloatDType>(x: Tensor<D>, weight: Tensor<FloatDType>, bias: Tensor): Tensor<D> {
  const [n = 0, height = 0, width = 0, inner = 0] = x.shape;
  const [out = 0] = weight.shape;
  const taps = pad(weight, [
    [0, 0],
    [0, 1],
    [0, 1],
    [0, 0],
  ]);
  // So many pixels of zeros behind the image that the last window's twelfth tap is the last of them.
  const behind = (size: number) => 3 - ((size + 2 * 2 - 11) % side);
  const rim = pad(x, [
    [0, 0],
    [2, behind(height)],
    [2, behind(width)],
    [0, 0],
  ]);
  const [, h = 0, w = 0] = rim.shape;
  const blocks = (t: Tensor<FloatDType>, first: number, rows: number, columns: number) =>
    reshape(contiguous(permute(reshape(t, [first, rows, side, columns, side, inner]), [0, 1, 3, 2, 4, 5])), [
      first,
      rows,
      columns,
      side * side * inner,
    ]);
  const seen = blocks(rim, n, h / side, w / side) as Tensor<D>;
  return conv2d(seen, blocks(taps, out, 3, 3), { bias, padding: "none" });
}
