/**
 * The autoencoder's convolutions. Two of them do less work than they are written with, with a gradient and without:
 *
 * - Repeating every voxel and convolving with three taps reads most voxels twice: for each place of a copy the taps that
 *   meet the same voxel are added up beforehand. 27 taps become 8 (12 without time), and the enlarged clip never exists.
 * - The frames before a clip's first are copies of it, so for a single frame the taps along time are one.
 *
 * Letters: B batch, T frames, H height, W width, C channels.
 */
import { convolution } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { conv3d, conv3dInto, conv3dWindow } from "../../ops/conv3d.js";
import { cast } from "../../ops/copy.js";
import { zeros } from "../../ops/fill.js";
import { add } from "../../ops/pointwise.js";
import { upsampleNearest } from "../../ops/resample.js";
import { reshape, slice } from "../../ops/views.js";
import { type FloatDType, isFloat } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { recordingOff } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Stride } from "./config.js";

/** Whether gradients are recorded: then nothing is written in place. */
export interface Recording {
  readonly recorded: boolean;
}

/** Whether ops on x and these parameters are recorded for gradients. */
export function isRecorded(p: Params, x: Tensor): boolean {
  if (recordingOff()) return false;
  if (x.requiresGrad) return true;
  for (const name of p.names()) if (p.store.find(name)?.requiresGrad) return true;
  return false;
}

/**
 * Convolution whose frames never see later ones: the edge is repeated, in time in front only.
 *
 * @param x [B, T, H, W, C]
 */
export function causalConvolution<D extends FloatDType>(p: Params, x: Tensor<D>, stride?: Stride): Tensor<D> {
  const weight = p.get<FloatDType>("weight");
  const single = x.shape[1] === 1 && weight.shape[1] === 3;
  if (!single) return convolution(p, x, stride === undefined ? {} : { stride });
  const [, h = 1, w = 1] = stride ?? [];
  return scope(() => {
    const folded = inTypeOf(weight, foldAll(inSumType(weight), 1));
    return conv3d(x, folded, { bias: p.find("bias"), stride: [1, h, w] });
  });
}

/**
 * Every voxel repeated by the factors (frame 0 in space only), then a causal convolution.
 *
 * @param x [B, T, H, W, C]
 * @returns [B, 1 + (T − 1) ft, H fh, W fw, C']
 */
export function upsampledConvolution<D extends FloatDType>(
  { recorded }: Recording,
  p: Params,
  x: Tensor<D>,
  factors: Stride,
): Tensor<D> {
  const [ft, fh, fw] = factors;
  if (fh === 1 || fw === 1) return scope(() => convolution(p, upsampleNearest(x, factors)));
  const weight = p.get<FloatDType>("weight");
  const bias = p.find("bias");
  if (recorded) return recordedUpsampling(weight, bias, x, ft);
  const [b = 0, t = 0, h = 0, w = 0] = x.shape;
  const frames = 1 + (t - 1) * ft;
  const channels = weight.shape[0] ?? 0;
  return scope(() => {
    const y = zeros([b, frames, 2 * h, 2 * w, channels], { dtype: x.dtype, device: x.device });
    const wide = inSumType(weight);
    for (const time of timePhases(t, ft)) {
      scope(() => {
        const alongTime = time.fold(wide, 1);
        for (const row of spacePhases) {
          for (const column of spacePhases) {
            scope(() => {
              const folded = inTypeOf(weight, column.fold(row.fold(alongTime, 2), 3));
              const before = [time.before, row.before, column.before] as const;
              const after = [0, row.after, column.after] as const;
              conv3dInto(x, folded, bias, { before, after }, everyOther(y, [time, row, column]));
            });
          }
        }
      });
    }
    return y;
  });
}

/**
 * The same with a gradient: the places of each phase are tensors of their own, and then put between each other. What is
 * saved for the backward pass is the clip before it was enlarged.
 */
function recordedUpsampling<D extends FloatDType>(
  weight: Tensor<FloatDType>,
  bias: Tensor | undefined,
  x: Tensor<D>,
  factor: 1 | 2,
): Tensor<D> {
  const [b = 0, t = 0, h = 0, w = 0] = x.shape;
  const channels = weight.shape[0] ?? 0;
  return scope(() => {
    const wide = inSumType(weight);
    const [late, early] = timePhases(t, factor).map((time) => {
      const alongTime = time.fold(wide, 1);
      const rows = spacePhases.map((row) => {
        const alongRows = row.fold(alongTime, 2);
        const columns = spacePhases.map((column) => {
          const before = [time.before, row.before, column.before] as const;
          const after = [0, row.after, column.after] as const;
          return conv3dWindow(x, inTypeOf(weight, column.fold(alongRows, 3)), bias, { before, after });
        });
        return alternating(columns, channels);
      });
      return alternating(rows, 2 * w * channels);
    }) as [Tensor<D>, Tensor<D> | undefined];
    const frame = 4 * h * w * channels;
    const shape = [b, -1, 2 * h, 2 * w, channels];
    if (early === undefined) return reshape(late, shape);
    const frames = reshape(late, [b, t, frame]);
    const pairs = alternating([reshape(early, [b, t - 1, frame]), slice(frames, 1, 1)], frame);
    const all = concat([slice(frames, 1, 0, 1), reshape(pairs, [b, 2 * (t - 1), frame])], 1);
    return reshape(all, shape);
  });
}

/** Runs of `length` elements, one of each part in turn: [N, parts · length]. */
function alternating<D extends FloatDType>(parts: readonly Tensor<D>[], length: number): Tensor<D> {
  return concat(
    parts.map((part) => reshape(part, [-1, length])),
    1,
  );
}

type Fold = (weight: Tensor<FloatDType>, axis: number) => Tensor<FloatDType>;

/** Places start, start + step, … along an axis of the result, and what a convolution of x for them looks like. */
interface Phase {
  readonly start: number;
  readonly step: 1 | 2;
  readonly fold: Fold;
  /** Voxels of padding. */
  readonly before: number;
  readonly after: number;
}

/** Taps that meet voxels i − 1, i, i: as i − 1 and i. */
const foldLate: Fold = (weight, axis) => {
  const [a, b, c] = taps(weight, axis);
  return concat([a, add(b, c)], axis);
};

/** Taps that meet voxels i, i, i + 1: as i and i + 1. */
const foldEarly: Fold = (weight, axis) => {
  const [a, b, c] = taps(weight, axis);
  return concat([add(a, b), c], axis);
};

/** Taps that all meet one voxel. */
const foldAll: Fold = (weight, axis) => {
  const [a, b, c] = taps(weight, axis);
  return add(add(a, b), c);
};

function taps(weight: Tensor<FloatDType>, axis: number) {
  return [slice(weight, axis, 0, 1), slice(weight, axis, 1, 2), slice(weight, axis, 2, 3)] as const;
}

const spacePhases: readonly Phase[] = [
  { start: 0, step: 2, fold: foldLate, before: 1, after: 0 },
  { start: 1, step: 2, fold: foldEarly, before: 0, after: 1 },
];

/** Frame 0 stays one, frame k becomes 2k − 1 and 2k; each sees itself and two frames before, in copies. */
function timePhases(frames: number, factor: 1 | 2): readonly Phase[] {
  if (frames === 1) return [{ start: 0, step: 1, fold: foldAll, before: 0, after: 0 }];
  if (factor === 1) return [{ start: 0, step: 1, fold: (weight) => weight, before: 2, after: 0 }];
  return [
    { start: 0, step: 2, fold: foldLate, before: 1, after: 0 },
    { start: 1, step: 2, fold: foldEarly, before: 0, after: 0 },
  ];
}

/** The places of a phase as a view of y [B, T, H, W, C]. */
function everyOther<D extends FloatDType>(y: Tensor<D>, phases: readonly Phase[]): Tensor<D> {
  const shape = [...y.shape];
  const strides = [...y.strides];
  let { offset } = y;
  phases.forEach(({ start, step }, i) => {
    const axis = i + 1;
    const stride = y.strides[axis] as number;
    shape[axis] = Math.ceil(((y.shape[axis] as number) - start) / step);
    strides[axis] = stride * step;
    offset += start * stride;
  });
  return y.viewAs({ shape, strides, offset });
}

/** Taps are added in f32 and rounded once, as sums are everywhere. */
function inSumType(weight: Tensor<FloatDType>): Tensor<FloatDType> {
  return weight.dtype === "f16" || weight.dtype === "bf16" ? cast(weight, "f32") : weight;
}

function inTypeOf(weight: Tensor, folded: Tensor<FloatDType>): Tensor<FloatDType> {
  return isFloat(weight.dtype) ? cast(folded, weight.dtype) : folded;
}
