/** Written by `npm run gen`; do not edit. */
export { type AttentionOptions, type AttentionResult, attention } from "./attention.js";
export { concat } from "./concat.js";
export { type Triple, type Conv3dOptions, type Conv2dOptions, conv3d, conv2d } from "./conv3d.js";
export { cast, contiguous } from "./copy.js";
export { type FillOptions, full, zeros, ones, zerosLike, onesLike, type ArangeOptions, arange } from "./fill.js";
export { type PadOptions, pad, type GatherOptions, gather, embedding, repeat, patchify, unpatchify } from "./layout.js";
export { type Activation, type LinearOptions, linear, type MatmulOptions, matmul } from "./linear.js";
export { softmax, logSoftmax, type WideDType, mse, l1, type CrossEntropyOptions, crossEntropy } from "./loss.js";
export { type NormOptions, rmsNorm, type LayerNormOptions, layerNorm, layerNormModulate, type GroupNormOptions, groupNorm, gateResidual } from "./norm.js";
export { type AdamWOptions, adamwStep, emaStep, globalNorm, clipScale, scaleInPlace } from "./optim.js";
export { add, sub, mul, div, minimum, maximum, equal, notEqual, less, lessEqual, greater, greaterEqual, where } from "./pointwise.js";
export { type PoolOptions, type AvgPoolOptions, maxPool3d, maxPool2d, avgPool3d, avgPool2d } from "./pool.js";
export { TorchGenerator, torchGenerator, type RandomOptions, rand, randn } from "./random.js";
export { type ReduceOptions, type SumDType, sum, mean, max, min, norm, type VarianceOptions, variance, type ArgmaxOptions, argmax, sumTo } from "./reduce.js";
export { type UpsampleOptions, upsampleNearest, type ResizeOptions, resizeBilinear } from "./resample.js";
export { type RopeTables, type RopeTables3dOptions, ropeTables3d, type RopeTables1dOptions, ropeTables1d, type RopeOptions, rope, type QkNormRopeOptions, qkNormRope } from "./rope.js";
export { neg, abs, square, sqrt, rsqrt, exp, log, sin, cos, tanh, sigmoid, silu, type GeluOptions, gelu, quickGelu, relu, leakyRelu, type ClampOptions, clamp } from "./unary.js";
export { slice, split, select, reshape, flatten, unsqueeze, squeeze, permute, transpose, broadcastTo, expand } from "./views.js";
