import { avgPool2d, avgPool3d, maxPool2d, maxPool3d } from "../../lib/ops/pool.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

interface Windows {
  readonly kernel: readonly number[];
  readonly stride?: readonly number[];
  readonly padding?: readonly number[];
  /** Whether a mean counts the padding; default true. */
  readonly countIncludePad?: boolean;
}

/** Applies `reduce` to the values of each window; `places` counts those within the padding too. */
function pooled(x: Host, w: Windows, reduce: (values: readonly number[], places: number) => number): Host {
  const skip = 5 - x.shape.length;
  const three = (values: readonly number[] | undefined, otherwise: number) =>
    skip === 1 ? [otherwise, ...(values ?? [])] : [...(values ?? [])];
  const size = [0, 1, 2].map((i) => (i < skip ? 1 : (x.shape[i + 1 - skip] ?? 0)));
  const kernel = three(w.kernel, 1);
  const stride = three(w.stride ?? w.kernel, 1);
  const pad = three(w.padding ?? w.kernel.map(() => 0), 0);
  const at = (list: readonly number[], i: number) => list[i] ?? 0;
  const out = size.map((n, i) => (n === 0 ? 0 : Math.floor((n + 2 * at(pad, i) - at(kernel, i)) / at(stride, i)) + 1));
  const channels = x.shape.at(-1) ?? 0;
  const shape = [x.shape[0] ?? 0, ...out.slice(skip), channels];
  const windowOf = (v: number, i: number) => {
    const begin = v * at(stride, i) - at(pad, i);
    const end = Math.min(begin + at(kernel, i), at(size, i) + at(pad, i));
    return { begin: Math.max(begin, 0), end: Math.min(end, at(size, i)), places: end - begin };
  };
  return fill(shape, (flat) => {
    const c = flat % channels;
    let rest = Math.floor(flat / channels);
    const v = [0, 0, 0];
    for (let i = 2; i >= 0; i--) {
      v[i] = rest % at(out, i);
      rest = Math.floor(rest / at(out, i));
    }
    const [t, h, wide] = v.map(windowOf) as [Window3, Window3, Window3];
    const values: number[] = [];
    for (let i = t.begin; i < t.end; i++)
      for (let j = h.begin; j < h.end; j++)
        for (let k = wide.begin; k < wide.end; k++)
          values.push(
            x.data[(((rest * at(size, 0) + i) * at(size, 1) + j) * at(size, 2) + k) * channels + c] as number,
          );
    return reduce(values, t.places * h.places * wide.places);
  });
}

interface Window3 {
  readonly begin: number;
  readonly end: number;
  readonly places: number;
}

const largest = (values: readonly number[]) =>
  values.reduce((best, v) => (v > best || Number.isNaN(v) ? v : best), Number.NEGATIVE_INFINITY);
const mean = (w: Windows) => (values: readonly number[], places: number) =>
  values.reduce((sum, v) => sum + v, 0) / (w.countIncludePad === false ? values.length : places);

type Three = readonly [number, number, number];
type Two = readonly [number, number];

const max = (x: AnyTensor, w: Windows) =>
  x.rank === 5
    ? maxPool3d(x, w as Windows & { kernel: Three; stride?: Three; padding?: Three })
    : maxPool2d(x, w as Windows & { kernel: Two; stride?: Two; padding?: Two });
const avg = (x: AnyTensor, w: Windows) =>
  x.rank === 5
    ? avgPool3d(x, w as Windows & { kernel: Three; stride?: Three; padding?: Three })
    : avgPool2d(x, w as Windows & { kernel: Two; stride?: Two; padding?: Two });

/** Distinct values far enough apart that finite differences do not change which one is the largest. */
const distinct = (i: number) => ((i * 7919) % 1009) / 128 - 4;

function both(shape: readonly number[], w: Windows): OpCase[] {
  const pitch = shape.at(-1) === 0 ? {} : { pitch: ["x"] as const };
  const what = `[${shape}] ${JSON.stringify(w)}`;
  return [
    opCase({
      name: `maxPool ${what}`,
      inputs: { x: { shape, value: distinct } },
      run: ({ x }) => max(x, w),
      reference: ({ x }) => pooled(x, w, largest),
      gradients: ["x"],
      ...pitch,
      // bf16 and f16 would round some of the values to the same one; that changes nothing for the maximum itself.
      slack: 1,
    }),
    opCase({
      name: `avgPool ${what}`,
      inputs: { x: { shape } },
      run: ({ x }) => avg(x, w),
      reference: ({ x }) => pooled(x, w, mean(w)),
      gradients: ["x"],
      ...pitch,
    }),
  ];
}

export const cases: OpCase[] = [
  ...both([1, 1, 1, 1, 1], { kernel: [1, 1, 1] }),
  ...both([2, 3, 5, 4, 3], { kernel: [2, 2, 2] }),
  ...both([1, 3, 5, 6, 2], { kernel: [1, 2, 2] }),
  ...both([1, 4, 3, 4, 2], { kernel: [3, 3, 3], stride: [1, 1, 1], padding: [1, 1, 1] }),
  ...both([1, 2, 5, 3, 17], { kernel: [2, 3, 3], stride: [2, 2, 2], padding: [1, 1, 0] }),
  ...both([1, 3, 7, 5, 2], { kernel: [1, 2, 2], stride: [1, 3, 3] }),
  ...both([2, 6, 5, 3], { kernel: [2, 2] }),
  ...both([1, 5, 3, 33], { kernel: [3, 3], stride: [2, 2], padding: [1, 1], countIncludePad: false }),
  // Whole packs of channels, one at least; more than 256 places a window; windows that leave a rest.
  ...both([1, 2, 5, 3, 8], { kernel: [1, 2, 2] }),
  ...both([2, 3, 4, 3, 24], { kernel: [3, 3, 2], stride: [1, 2, 1], padding: [1, 1, 1] }),
  ...both([1, 17, 19, 1], { kernel: [17, 17], stride: [1, 2] }).slice(0, 1),
  ...both([1, 2, 3, 2], { kernel: [9, 8], stride: [1, 2], padding: [4, 4] }),
  ...both([0, 6, 5, 3], { kernel: [2, 2] }),
  ...both([1, 6, 4, 0], { kernel: [2, 2] }),
  opCase({
    name: "maxPool2d keeps NaN and prefers real values to the padding",
    inputs: {
      x: { shape: [1, 4, 4, 2], value: (i) => (i === 5 ? Number.NaN : i === 9 ? Number.NEGATIVE_INFINITY : -1 - i) },
    },
    run: ({ x }) => maxPool2d(x, { kernel: [3, 3], stride: [1, 1], padding: [1, 1] }),
    reference: ({ x }) =>
      pooled(x, { kernel: [3, 3], stride: [1, 1], padding: [1, 1] }, (values) =>
        values.some(Number.isNaN) ? Number.NaN : Math.max(...values),
      ),
  }),
];
