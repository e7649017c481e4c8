import { type ResizeOptions, resizeBilinear, upsampleNearest } from "../../lib/ops/resample.js";
import { fill, type Host, type OpCase, opCase } from "./case.js";

function upsampled(x: Host, factors: readonly [number, number, number], firstFrame: boolean): Host {
  const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
  const [ft, fh, fw] = factors;
  const frames = t === 0 ? 0 : firstFrame ? 1 + (t - 1) * ft : t * ft;
  return fill([b, frames, h * fh, w * fw, c], (i) => {
    const channel = i % c;
    const column = Math.floor(i / c) % (w * fw);
    const row = Math.floor(i / c / (w * fw)) % (h * fh);
    const frame = Math.floor(i / c / (w * fw) / (h * fh)) % frames;
    const batch = Math.floor(i / c / (w * fw) / (h * fh) / frames);
    const from = !firstFrame ? Math.floor(frame / ft) : frame === 0 ? 0 : 1 + Math.floor((frame - 1) / ft);
    const line = (batch * t + from) * h + Math.floor(row / fh);
    return x.data[(line * w + Math.floor(column / fw)) * c + channel] as number;
  });
}

/** Weights [to][from] of one axis, as PyTorch's upsample_bilinear2d and its antialiased sibling define them. */
function axisWeights(from: number, to: number, { alignCorners, antialias }: ResizeOptions): number[][] {
  const scale = !alignCorners ? from / to : to > 1 ? (from - 1) / (to - 1) : 0;
  return Array.from({ length: to }, (_, i) => {
    const row = new Array<number>(from).fill(0);
    if (antialias) {
      const support = Math.max(scale, 1);
      const centre = scale * (i + 0.5);
      const first = Math.max(Math.trunc(centre - support + 0.5), 0);
      const end = Math.min(Math.trunc(centre + support + 0.5), from);
      for (let j = first; j < end; j++) row[j] = Math.max(0, 1 - Math.abs((j - centre + 0.5) / support));
      const total = row.reduce((a, b) => a + b, 0);
      return row.map((v) => v / total);
    }
    const at = alignCorners ? scale * i : Math.max(0, scale * (i + 0.5) - 0.5);
    const low = Math.min(Math.trunc(at), from - 1);
    const high = Math.min(low + 1, from - 1);
    row[low] = (row[low] ?? 0) + 1 - (at - low);
    row[high] = (row[high] ?? 0) + (at - low);
    return row;
  });
}

function resized(x: Host, options: ResizeOptions): Host {
  const [h, w, c] = x.shape.slice(-3) as [number, number, number];
  const rows = axisWeights(h, options.height, options);
  const columns = axisWeights(w, options.width, options);
  return fill([...x.shape.slice(0, -3), options.height, options.width, c], (i) => {
    const channel = i % c;
    const column = columns[Math.floor(i / c) % options.width] ?? [];
    const row = rows[Math.floor(i / c / options.width) % options.height] ?? [];
    const image = Math.floor(i / c / options.width / options.height);
    let sum = 0;
    row.forEach((wh, y) => {
      column.forEach((ww, z) => {
        if (wh * ww !== 0) sum += wh * ww * (x.data[((image * h + y) * w + z) * c + channel] as number);
      });
    });
    return sum;
  });
}

function upsampleCase(
  shape: readonly number[],
  factors: readonly [number, number, number],
  firstFrame: boolean,
): OpCase {
  return opCase({
    name: `upsampleNearest [${shape}] by [${factors}]${firstFrame ? "" : ", every frame"}`,
    inputs: { x: { shape } },
    run: ({ x }) => upsampleNearest(x, factors, { firstFrame }),
    reference: ({ x }) => upsampled(x, factors, firstFrame),
    gradients: ["x"],
    ...(shape.at(-1) === 0 ? {} : { pitch: ["x"] }),
    slack: 0,
  });
}

function resizeCase(shape: readonly number[], options: ResizeOptions): OpCase {
  return opCase({
    name: `resizeBilinear [${shape}] ${JSON.stringify(options)}`,
    inputs: { x: { shape } },
    run: ({ x }) => resizeBilinear(x, options),
    reference: ({ x }) => resized(x, options),
    gradients: ["x"],
    ...(shape.at(-1) === 0 ? {} : { pitch: ["x"] }),
    slack: 8,
  });
}

const flags = [{}, { alignCorners: true }, { antialias: true }, { alignCorners: true, antialias: true }];

export const cases: OpCase[] = [
  upsampleCase([1, 1, 1, 1, 1], [2, 2, 2], true),
  upsampleCase([1, 1, 2, 3, 5], [2, 2, 2], true),
  upsampleCase([2, 3, 2, 3, 4], [2, 2, 2], true),
  upsampleCase([1, 3, 2, 2, 3], [2, 2, 2], false),
  upsampleCase([1, 2, 2, 2, 17], [1, 2, 2], true),
  upsampleCase([1, 3, 2, 2, 2], [3, 1, 2], true),
  // Whole packs of channels: one of bf16, three of f32.
  upsampleCase([1, 2, 3, 2, 8], [2, 2, 2], true),
  upsampleCase([2, 2, 1, 3, 12], [1, 3, 2], false),
  upsampleCase([1, 0, 2, 2, 2], [2, 2, 2], true),
  upsampleCase([1, 2, 2, 2, 0], [2, 2, 2], true),
  ...flags.flatMap((flag) => [
    resizeCase([1, 1, 1, 3], { height: 3, width: 2, ...flag }),
    resizeCase([2, 5, 7, 2], { height: 9, width: 4, ...flag }),
    resizeCase([1, 2, 4, 6, 2], { height: 4, width: 11, ...flag }),
    resizeCase([1, 11, 13, 1], { height: 3, width: 1, ...flag }),
    resizeCase([1, 3, 4, 17], { height: 6, width: 5, ...flag }),
    resizeCase([2, 3, 5, 8], { height: 2, width: 7, ...flag }),
  ]),
  resizeCase([0, 5, 5, 2], { height: 3, width: 4 }),
  resizeCase([1, 5, 5, 0], { height: 3, width: 4 }),
];
