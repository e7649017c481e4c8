/** A small valid call of each public function, for tests that spoil one argument of it at a time. */
import { type Device, type DType, ones, requiresGrad, sum, tensor } from "../../lib/tensor.js";

/** Functions of one tensor are the default: they need no line here. */
export function goodCalls(device: Device): { readonly [name: string]: () => unknown[] } {
  const t = <D extends DType = "f32">(shape: readonly number[], dtype?: D) =>
    ones(shape, { dtype: dtype ?? ("f32" as D), device });
  const ids = (...values: number[]) => tensor(values, { dtype: "i32", device });
  const clip = () => t([1, 2, 4, 4, 2]);
  const heads = () => t([1, 3, 2, 4]);
  const tables = () => [t([2, 4]), t([2, 4])];
  const two = () => [t([2, 3]), t([3])];
  const pairs = (...names: string[]) => Object.fromEntries(names.map((name) => [name, two]));
  const axes = () => [t([2, 3]), { axes: [0], keepDims: true }];
  const pool2d = { kernel: [2, 2], stride: [1, 1], padding: [1, 1] };
  const pool3d = { kernel: [1, 2, 2], stride: [1, 1, 1], padding: [0, 1, 1] };
  const random = () => [[2, 3], { seed: 1, dtype: "bf16", device, rng: "philox", offset: 3 }];
  return {
    ...pairs("add", "sub", "mul", "div", "minimum", "maximum"),
    ...pairs("equal", "notEqual", "less", "lessEqual", "greater", "greaterEqual"),
    where: () => [t([2, 3], "bool"), t([2, 3]), t([3])],
    gelu: () => [t([2]), { approximate: "tanh" }],
    leakyRelu: () => [t([2]), { slope: 0.2 }],
    clamp: () => [t([2]), { min: 0, max: 1 }],
    ...Object.fromEntries(["sum", "mean", "max", "min", "norm"].map((name) => [name, axes])),
    variance: () => [t([2, 3]), { axes: [0], keepDims: true, correction: 0 }],
    argmax: () => [t([2, 3]), { axis: 1, keepDims: true }],
    sumTo: () => [t([2, 3]), [1, 3]],
    mse: () => [t([2]), t([2])],
    l1: () => [t([2]), t([2])],
    crossEntropy: () => [t([2, 3]), ids(0, 2), { ignoreIndex: 2 }],
    full: () => [[2], 1.5, { dtype: "bf16", device }],
    zeros: () => [[2], { dtype: "bf16", device }],
    ones: () => [[2], { dtype: "bf16", device }],
    arange: () => [3, { start: 1, step: 2, dtype: "i32", device }],
    rand: () => [[2], { seed: 1, dtype: "f32", device, rng: "torch" }],
    randn: random,
    torchGenerator: () => [3],
    pad: () => [
      t([2, 2]),
      [
        [0, 1],
        [1, 0],
      ],
      { mode: "replicate" },
    ],
    gather: () => [t([2, 3]), ids(1, 0), { axis: 1 }],
    embedding: () => [t([2, 3]), ids(1, 0)],
    repeat: () => [t([2, 3]), [2, 1]],
    patchify: () => [clip()],
    unpatchify: () => [t([1, 8, 8]), [2, 4, 4]],
    slice: () => [t([4, 3]), 0, 1, 3],
    split: () => [t([4, 3]), [1, 3], 0],
    select: () => [t([4, 3]), 0, -1],
    reshape: () => [t([4, 3]), [2, -1]],
    flatten: () => [t([2, 2, 3]), 0, 1],
    unsqueeze: () => [t([2]), 0],
    squeeze: () => [t([2, 1]), 1],
    permute: () => [t([2, 3]), [1, 0]],
    transpose: () => [t([2, 3]), 0, 1],
    broadcastTo: () => [t([2, 1]), [2, 3]],
    expand: () => [t([2, 1]), [2, 3]],
    concat: () => [[t([2, 3]), t([2, 3])], 1],
    cast: () => [t([2]), "i64"],
    rmsNorm: () => [t([2, 3]), t([3]), { eps: 1e-5 }],
    layerNorm: () => [t([2, 3]), { weight: t([3]), bias: t([3]), eps: 1e-5 }],
    layerNormModulate: () => [t([1, 2, 3]), t([1, 3]), t([1, 3]), { weight: t([3]), bias: t([3]), eps: 1e-5 }],
    groupNorm: () => [t([1, 2, 4]), { groups: 2, weight: t([4]), bias: t([4]), eps: 1e-5, silu: true }],
    gateResidual: () => [t([1, 2, 3]), t([1, 2, 3]), t([1, 3])],
    ropeTables3d: () => [
      { t: 1, h: 2, w: 2 },
      { axes: [2, 2, 2], theta: 256, device },
    ],
    ropeTables1d: () => [3, 4, { theta: 100, start: 1, device }],
    rope: () => [heads(), ...tables(), { interleaved: false }],
    qkNormRope: () => [heads(), heads(), t([4]), t([4]), ...tables(), { eps: 1e-5, into: { q: heads(), k: heads() } }],
    attention: () => [heads(), heads(), heads(), { scale: 0.5, causal: true, keyMask: t([1, 3]), returnLse: true }],
    linear: () => [
      t([1, 2, 3]),
      t([4, 3]),
      {
        bias: t([4]),
        weightScale: t([1]),
        activation: "gelu",
        residual: t([1, 2, 4]),
        gate: t([1, 4]),
        into: t([1, 2, 4]),
      },
    ],
    matmul: () => [t([2, 3]), t([2, 3]), { transposeA: false, transposeB: true, dtype: "bf16" }],
    conv3d: () => [
      clip(),
      t([2, 3, 3, 3, 2]),
      { bias: t([2]), stride: [1, 2, 2], padding: "centred", spatialPadding: "none", padMode: "zero" },
    ],
    conv2d: () => [
      t([1, 4, 4, 2]),
      t([2, 3, 3, 2]),
      { bias: t([2]), stride: [2, 2], padding: "none", padMode: "zero" },
    ],
    maxPool2d: () => [t([1, 4, 4, 2]), pool2d],
    maxPool3d: () => [clip(), pool3d],
    avgPool2d: () => [t([1, 4, 4, 2]), { ...pool2d, countIncludePad: false }],
    avgPool3d: () => [clip(), { ...pool3d, countIncludePad: false }],
    upsampleNearest: () => [clip(), [2, 2, 2], { firstFrame: false }],
    resizeBilinear: () => [t([1, 4, 4, 2]), { height: 3, width: 5, alignCorners: false, antialias: true }],
    adamwStep: () => [
      [t([2])],
      [t([2])],
      [t([2])],
      [t([2])],
      {
        ...{ lr: 1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, step: 1 },
        gradScale: t([]),
        masters: [t([2])],
      },
    ],
    emaStep: () => [[t([2])], [t([2])], 0.5],
    globalNorm: () => [[t([2]), t([3])]],
    clipScale: () => [t([]), 1],
    scaleInPlace: () => [[t([2])], 0.5],
    tensor: () => [[1, 2, 3, 4], { dtype: "f16", shape: [2, 2], device }],
    fromBytes: () => [new Uint8Array(8), { dtype: "f32", shape: [2], device }],
    bytesOf: () => ["bf16", 3],
    readNd: () => [t([2, 3]), { signal: new AbortController().signal }],
    openDevice: () => ["cpu", { memoryLimit: 1 << 20 }],
    requiresGrad: () => [t([2]), true],
    // The leaf as an argument too many, so that whoever disposes of the arguments has it.
    backward: () => {
      const leaf = requiresGrad(t([2]));
      return [sum(leaf), { gradient: t([]) }, leaf];
    },
    grad: () => {
      const leaf = requiresGrad(t([2]));
      return [sum(leaf), [leaf], { gradient: t([]) }];
    },
    checkpoint: () => [() => t([2]), requiresGrad(t([2]))],
    noGrad: () => [() => 1],
    scope: () => [() => 1],
    isHunyuanError: () => [new Error(), "DISPOSED"],
  };
}
