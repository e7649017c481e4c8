import { zeros } from "../../lib/ops/fill.js";
import { mul } from "../../lib/ops/pointwise.js";
import { type QkNormRopeOptions, qkNormRope, rope, ropeTables1d, ropeTables3d } from "../../lib/ops/rope.js";
import { slice } from "../../lib/ops/views.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

/** Angles as the tables hold them: frequency and angle are rounded to f32, as in the reference implementation. */
function angle(position: number, pair: number, columns: number, theta: number): number {
  const exponent = Math.fround(Math.fround(2 * pair) / columns);
  const frequency = Math.fround(1 / Math.fround(theta ** exponent));
  return Math.fround(position * frequency);
}

/** cos and sin over a grid; `pairOf` says which frequency stands in a column of an axis. */
function tables(
  sizes: readonly number[],
  axes: readonly number[],
  theta: number,
  pairOf: (column: number, columns: number) => number,
  start = 0,
): [Host, Host] {
  const width = axes.reduce((a, b) => a + b, 0);
  const tokens = sizes.reduce((a, b) => a * b, 1);
  const at = (i: number) => {
    let column = i % width;
    let axis = 0;
    while (column >= (axes[axis] as number)) column -= axes[axis++] as number;
    const columns = axes[axis] as number;
    const inner = sizes.slice(axis + 1).reduce((a, b) => a * b, 1);
    const position = start + (Math.floor(Math.floor(i / width) / inner) % (sizes[axis] as number));
    return angle(position, pairOf(column, columns), columns, theta);
  };
  const shape = [tokens, width];
  return [fill(shape, (i) => Math.cos(at(i))), fill(shape, (i) => Math.sin(at(i)))];
}

const interleavedPair = (column: number) => column >> 1;
const halvesPair = (column: number, columns: number) => column % (columns / 2);

const makeTables: OpCase[] = [
  ...[
    { t: 3, h: 4, w: 6 },
    { t: 1, h: 1, w: 1 },
    { t: 5, h: 7, w: 3 },
    { t: 2, h: 0, w: 3 },
  ].map(({ t, h, w }) =>
    opCase({
      name: `ropeTables3d ${t} × ${h} × ${w}`,
      // An input, so that the tables are made on the device under test.
      inputs: { x: { shape: [1] } },
      run: ({ x }) => {
        const { cos, sin } = ropeTables3d({ t, h, w }, { device: x.device });
        return [cos, sin];
      },
      reference: () => tables([t, h, w], [16, 56, 56], 256, interleavedPair),
      dtypes: ["f32"],
      slack: 200,
    }),
  ),
  opCase({
    name: "ropeTables3d with other axes and theta, several chunks of tokens",
    inputs: { x: { shape: [1] } },
    run: ({ x }) => {
      const { cos, sin } = ropeTables3d({ t: 13, h: 29, w: 11 }, { axes: [4, 0, 10], theta: 10_000, device: x.device });
      return [cos, sin];
    },
    reference: () => tables([13, 29, 11], [4, 0, 10], 10_000, interleavedPair),
    dtypes: ["f32"],
    slack: 200,
  }),
  opCase({
    name: "ropeTables1d in halves, from position 5",
    inputs: { x: { shape: [1] } },
    run: ({ x }) => {
      const { cos, sin } = ropeTables1d(37, 26, { start: 5, theta: 10_000, device: x.device });
      return [cos, sin];
    },
    reference: () => tables([37], [26], 10_000, halvesPair, 5),
    dtypes: ["f32"],
    slack: 200,
  }),
];

/** Rotates the leading tokens of x [B, S, H, D]. */
function ropeReference(x: Host, cos: Host, sin: Host, interleaved: boolean): Host {
  const [, sequence, heads, d] = x.shape as [number, number, number, number];
  const positions = cos.shape[0] as number;
  return fill(x.shape, (i) => {
    const token = Math.floor(i / d / heads) % sequence;
    const value = x.data[i] as number;
    if (token >= positions) return value;
    const column = i % d;
    const first = interleaved ? column % 2 === 0 : column < d / 2;
    const other = i + (first ? 1 : -1) * (interleaved ? 1 : d / 2);
    const at = token * d + column;
    return value * (cos.data[at] as number) + (first ? -1 : 1) * (x.data[other] as number) * (sin.data[at] as number);
  });
}

const rotations: OpCase[] = [true, false].flatMap((interleaved) =>
  [
    { x: [2, 5, 3, 8], positions: 3 },
    { x: [1, 1, 1, 2], positions: 1 },
    { x: [1, 7, 2, 66], positions: 7 },
    { x: [2, 3, 2, 34], positions: 0 },
    { x: [1, 0, 2, 4], positions: 0 },
    { x: [1, 700, 3, 18], positions: 450 },
    { x: [1, 3, 9, 16], positions: 2 },
    { x: [1, 3, 17, 128], positions: 2 },
  ].map(({ x: shape, positions }) =>
    opCase({
      name: `rope [${shape}], ${positions} tokens, ${interleaved ? "interleaved" : "halves"}`,
      inputs: {
        x: { shape },
        cos: { shape: [positions, shape[3] as number] },
        sin: { shape: [positions, shape[3] as number] },
      },
      run: ({ x, cos, sin }) => rope(x, cos, sin, { interleaved }),
      reference: ({ x, cos, sin }) => ropeReference(x, cos, sin, interleaved),
      gradients: shape[1] === 700 || shape[3] === 128 ? [] : ["x"],
      pitch: ["x", "cos"],
    }),
  ),
);

/** RMS norm of each head, times the weight. */
function headNorm(x: Host, weight: Host, eps: number): Host {
  const d = x.shape.at(-1) as number;
  const inverse = (row: number) => {
    let squares = 0;
    for (let i = 0; i < d; i++) squares += (x.data[row * d + i] as number) ** 2;
    return 1 / Math.sqrt(squares / d + eps);
  };
  return fill(x.shape, (i) => (x.data[i] as number) * inverse(Math.floor(i / d)) * (weight.data[i % d] as number));
}

interface NormRope<T> {
  readonly q: T;
  readonly k: T;
  readonly qWeight: T;
  readonly kWeight: T;
  readonly cos: T;
  readonly sin: T;
}

function runNormRope(
  { q, k, qWeight, kWeight, cos, sin }: NormRope<AnyTensor>,
  options: QkNormRopeOptions<never> = {},
) {
  const out = qkNormRope(q, k, qWeight, kWeight, cos, sin, options);
  return [out.q, out.k];
}

const normRopeReference = ({ q, k, qWeight, kWeight, cos, sin }: NormRope<Host>, eps = 1e-6) => [
  ropeReference(headNorm(q, qWeight, eps), cos, sin, true),
  ropeReference(headNorm(k, kWeight, eps), cos, sin, true),
];

const normed: OpCase[] = [
  { shape: [2, 5, 3, 8], positions: 3 },
  { shape: [1, 3, 1, 2], positions: 3 },
  { shape: [1, 4, 2, 30], positions: 4 },
  { shape: [1, 0, 2, 4], positions: 0 },
  { shape: [1, 3, 9, 16], positions: 2 },
].map(({ shape, positions }) => {
  const d = shape[3] as number;
  return opCase({
    name: `qkNormRope [${shape}], ${positions} tokens`,
    inputs: {
      q: { shape },
      k: { shape: [shape[0] as number, shape[1] as number, 2, d] },
      qWeight: { shape: [d] },
      kWeight: { shape: [d] },
      cos: { shape: [positions, d] },
      sin: { shape: [positions, d] },
    },
    run: (t) => runNormRope(t, { eps: 1e-4 }),
    reference: (h) => normRopeReference(h, 1e-4),
    gradients: ["q", "k", "qWeight", "kWeight"],
    pitch: ["q", "k"],
  });
});

/** One head size for each way in which heads are dealt out to lanes, by heads that do not fill a warp's last round. */
const headSizes = [64, 128, 136, 264, 520, 130].map((d) =>
  opCase({
    name: `qkNormRope with heads of ${d}, weights and tables in f32`,
    inputs: {
      q: { shape: [2, 5, 11, d] },
      k: { shape: [2, 5, 2, d] },
      qWeight: { shape: [d], dtype: "f32" },
      kWeight: { shape: [d] },
      cos: { shape: [4, d], dtype: "f32" },
      sin: { shape: [4, d], dtype: "f32" },
    },
    run: (t) => runNormRope(t),
    reference: (h) => normRopeReference(h),
    gradients: ["q", "k", "qWeight", "kWeight"],
    pitch: ["q", "cos"],
    dtypes: ["f32", "bf16", "f16"],
    slack: 8,
    only: ["simt", "cuda"],
  }),
);

/** Weights summed over several blocks of tokens, of heads in packs. */
const manyTokens = opCase({
  name: "qkNormRope, gradients over many tokens",
  inputs: {
    q: { shape: [3, 701, 3, 16] },
    k: { shape: [3, 701, 1, 16] },
    qWeight: { shape: [16] },
    kWeight: { shape: [16] },
    cos: { shape: [700, 16] },
    sin: { shape: [700, 16] },
  },
  run: (t) => runNormRope(t),
  reference: (h) => normRopeReference(h),
  gradients: ["q", "k", "qWeight", "kWeight"],
  dtypes: ["f32", "bf16"],
  slack: 8,
  only: ["simt", "cuda"],
});

const withoutTables = opCase({
  name: "qkNormRope without tables, many tokens",
  inputs: {
    q: { shape: [1, 1100, 2, 18] },
    k: { shape: [1, 1100, 2, 18] },
    qWeight: { shape: [18] },
    kWeight: { shape: [18] },
  },
  run: ({ q, k, qWeight, kWeight }) => {
    const out = qkNormRope(q, k, qWeight, kWeight);
    return [out.q, out.k];
  },
  reference: ({ q, k, qWeight, kWeight }) => [headNorm(q, qWeight, 1e-6), headNorm(k, kWeight, 1e-6)],
  gradients: ["qWeight", "kWeight"],
  dtypes: ["f32"],
});

const intoJoint = opCase({
  name: "qkNormRope into views of joint sequences",
  inputs: {
    q: { shape: [2, 3, 2, 6] },
    k: { shape: [2, 3, 1, 6] },
    qWeight: { shape: [6] },
    kWeight: { shape: [6] },
    cos: { shape: [3, 6] },
    sin: { shape: [3, 6] },
  },
  run: ({ q, k, qWeight, kWeight, cos, sin }) => {
    const options = { dtype: q.dtype, device: q.device };
    const [jointQ, jointK] = [zeros([2, 5, 2, 6], options), zeros([2, 5, 1, 6], options)];
    qkNormRope(q, k, qWeight, kWeight, cos, sin, { into: { q: slice(jointQ, 1, 1, 4), k: slice(jointK, 1, 1, 4) } });
    return [jointQ, jointK];
  },
  reference: ({ q, k, qWeight, kWeight, cos, sin }) =>
    [headNorm(q, qWeight, 1e-6), headNorm(k, kWeight, 1e-6)].map((x) => {
      const rotated = ropeReference(x, cos, sin, true);
      const [, , heads = 1] = x.shape;
      return fill([2, 5, heads, 6], (i) => {
        const [batch, token] = [Math.floor(i / 6 / heads / 5), Math.floor(i / 6 / heads) % 5];
        if (token < 1 || token > 3) return 0;
        return rotated.data[((batch * 3 + token - 1) * heads + (Math.floor(i / 6) % heads)) * 6 + (i % 6)] as number;
      });
    }),
});

const overItself = opCase({
  name: "qkNormRope over what it reads, some tokens turned",
  inputs: {
    q: { shape: [2, 3, 2, 6] },
    k: { shape: [2, 3, 1, 6] },
    qWeight: { shape: [6] },
    kWeight: { shape: [6] },
    cos: { shape: [2, 6] },
    sin: { shape: [2, 6] },
  },
  run: (t) => {
    const into = { q: mul(t.q, 1), k: mul(t.k, 1) };
    return runNormRope({ ...t, ...into }, { into });
  },
  reference: (h) => normRopeReference(h),
});

export const cases: OpCase[] = [
  ...makeTables,
  ...rotations,
  ...normed,
  ...headSizes,
  manyTokens,
  withoutTables,
  intoJoint,
  overItself,
];
