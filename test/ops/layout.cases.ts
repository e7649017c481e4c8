import { concat } from "../../lib/ops/concat.js";
import { cast, contiguous } from "../../lib/ops/copy.js";
import { embedding, gather, pad, patchify, repeat, unpatchify } from "../../lib/ops/layout.js";
import {
  broadcastTo,
  flatten,
  permute,
  reshape,
  select,
  slice,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from "../../lib/ops/views.js";
import type { DType } from "../../lib/tensor/dtype.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

type Index = readonly number[];

/** Position of a flat index on each axis. */
function indexOf(flat: number, shape: Index): number[] {
  const index = shape.map(() => 0);
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = rest % (shape[axis] as number);
    rest = Math.floor(rest / (shape[axis] as number));
  }
  return index;
}

const flatOf = (index: Index, shape: Index) => index.reduce((flat, i, axis) => flat * (shape[axis] as number) + i, 0);

/** y of a shape whose element at an index is that of x at another index; undefined stands for zero. */
function picked(x: Host, shape: Index, source: (index: number[]) => Index | undefined): Host {
  return fill(shape, (i) => {
    const from = source(indexOf(i, shape));
    return from === undefined ? 0 : (x.data[flatOf(from, x.shape)] as number);
  });
}

const integers: readonly DType[] = ["u8", "i32", "i64"];
const all: readonly DType[] = ["f32", "bf16", "f16", "f64", ...integers];
const small = (i: number) => (i * 7 + 3) % 251;

/** Finite differences cost the square of the size; larger inputs are for the values. */
const few = (shape: Index) => shape.reduce((a, b) => a * b, 1) <= 200;

/** A case with one input that only moves elements: exact in every type; integers in a case of their own. */
function moving(
  name: string,
  shape: Index,
  run: (x: AnyTensor) => Tensor | readonly Tensor[],
  reference: (x: Host) => Host | readonly Host[],
): OpCase[] {
  const common = { run: (t: { readonly x: AnyTensor }) => run(t.x), reference: (h: { readonly x: Host }) => reference(h.x), slack: 0 };
  return [
    opCase({ name, inputs: { x: { shape } }, ...common, ...(few(shape) ? { gradients: ["x"] as const } : {}), pitch: ["x"] }),
    opCase({ name: `${name}, integers`, inputs: { x: { shape, value: small } }, ...common, dtypes: integers, pitch: ["x"] }),
  ];
}

const sliced = (x: Host, axis: number, start: number, end: number) =>
  picked(x, x.shape.map((n, i) => (i === axis ? end - start : n)), (index) => index.map((at, i) => (i === axis ? at + start : at)));

const permuted = (x: Host, axes: Index) =>
  picked(x, axes.map((axis) => x.shape[axis] as number), (index) => x.shape.map((_, axis) => index[axes.indexOf(axis)] as number));

const under = (x: Host, shape: Index): Host => ({ shape, data: x.data });

// Either side of the tile (64), of the blocks inside it (16 bytes: 2 to 16 elements) and of a chunk's split.
const permutations: [Index, Index][] = [
  [[1, 1], [1, 0]],
  [[7, 1], [1, 0]],
  [[3, 5], [1, 0]],
  [[15, 17], [1, 0]],
  [[63, 65], [1, 0]],
  [[64, 129], [1, 0]],
  [[2, 3, 4], [2, 1, 0]],
  [[2, 3, 4], [0, 2, 1]],
  [[2, 9, 3, 5], [0, 2, 1, 3]],
  [[3, 5, 2, 33], [3, 0, 2, 1]],
  [[2, 3, 2, 5, 7], [0, 2, 3, 4, 1]],
  [[2, 3, 2, 3, 2, 5], [5, 3, 1, 4, 2, 0]],
  [[0, 3], [1, 0]],
];

const permuteCases = permutations.flatMap(([shape, axes]) =>
  moving(`permute [${shape}] by [${axes}]`, shape, (x) => permute(x, axes), (x) => permuted(x, axes)),
);

const viewCases = [
  ...moving("slice of the first axis", [5, 4, 3], (x) => slice(x, 0, 1, 4), (x) => sliced(x, 0, 1, 4)),
  ...moving("slice of the middle", [2, 7, 3], (x) => slice(x, 1, -3), (x) => sliced(x, 1, 4, 7)),
  ...moving("slice of the last axis", [3, 11], (x) => slice(x, -1, 2, -4), (x) => sliced(x, 1, 2, 7)),
  ...moving("slice of nothing", [3, 11], (x) => slice(x, 0, 3), (x) => sliced(x, 0, 3, 3)),
  ...moving("split in three", [2, 3, 12], (x) => split(x, 3), (x) => [0, 4, 8].map((at) => sliced(x, 2, at, at + 4))),
  ...moving("split by sizes along 1", [2, 7, 3], (x) => split(x, [1, 0, 4, 2], 1), (x) => [[0, 1], [1, 1], [1, 5], [5, 7]].map(([a, b]) => sliced(x, 1, a as number, b as number))),
  ...moving("split with parts unused", [4, 10], (x) => (split(x, 5) as Tensor[])[2] as Tensor, (x) => sliced(x, 1, 4, 6)),
  ...moving("split and concat the other way round", [3, 10], (x) => concat(split(x, [3, 7]).reverse(), 1), (x) => picked(x, x.shape, ([r, i]) => [r as number, ((i as number) + 3) % 10])),
  ...moving("select of the middle", [2, 5, 3], (x) => select(x, 1, -2), (x) => under(sliced(x, 1, 3, 4), [2, 3])),
  ...moving("select of the last axis", [4, 5], (x) => select(x, -1, 1), (x) => under(sliced(x, 1, 1, 2), [4])),
  ...moving("reshape", [4, 6, 5], (x) => reshape(x, [2, 12, -1]), (x) => under(x, [2, 12, 5])),
  ...moving("reshape of a transposed view, a copy", [4, 6, 5], (x) => reshape(transpose(x, 0, 1), [12, 10]), (x) => under(permuted(x, [1, 0, 2]), [12, 10])),
  ...moving("reshape of a slice, cutting its last axis", [3, 14], (x) => reshape(slice(x, 1, 1, 13), [3, 3, 4]), (x) => under(sliced(x, 1, 1, 13), [3, 3, 4])),
  ...moving("reshape to six axes", [64], (x) => reshape(x, [2, 2, 2, 2, 2, 2]), (x) => under(x, [2, 2, 2, 2, 2, 2])),
  ...moving("flatten the middle", [2, 3, 4, 5], (x) => flatten(x, 1, 2), (x) => under(x, [2, 12, 5])),
  ...moving("flatten all", [2, 3, 4], (x) => flatten(x), (x) => under(x, [24])),
  ...moving("unsqueeze", [3, 4], (x) => [unsqueeze(x, 0), unsqueeze(x, 1), unsqueeze(x, -1)], (x) => [[1, 3, 4], [3, 1, 4], [3, 4, 1]].map((s) => under(x, s))),
  ...moving("squeeze", [1, 3, 1, 4], (x) => [squeeze(x), squeeze(x, 2)], (x) => [[3, 4], [1, 3, 4]].map((s) => under(x, s))),
  ...moving("transpose of the last two", [2, 5, 9], (x) => transpose(x), (x) => permuted(x, [0, 2, 1])),
  ...moving("contiguous of a permuted view", [3, 4, 5], (x) => contiguous(permute(x, [1, 0, 2])), (x) => permuted(x, [1, 0, 2])),
];

const broadcast = (x: Host, shape: Index) =>
  picked(x, shape, (index) => x.shape.map((n, i) => (n === 1 ? 0 : (index[shape.length - x.shape.length + i] as number))));

const broadcastCases = ([
  [[2, 1, 5], [2, 7, 5]],
  [[4, 1], [4, 33]],
  [[3], [2, 4, 3]],
  [[1, 3, 1], [4, 2, 3, 5]],
] as [Index, Index][]).map(([from, to]) => opCase({
  name: `broadcastTo [${from}] to [${to}]`,
  inputs: { x: { shape: from } },
  run: ({ x }) => broadcastTo(x, to),
  reference: ({ x }) => broadcast(x, to),
  gradients: ["x"],
  pitch: ["x"],
  slack: 0,
}));

function joined(parts: readonly Host[], axis: number): Host {
  const first = parts[0] as Host;
  const sizes = parts.map((part) => part.shape[axis] as number);
  const shape = first.shape.map((n, i) => (i === axis ? sizes.reduce((a, b) => a + b, 0) : n));
  return fill(shape, (flat) => {
    const index = indexOf(flat, shape);
    let at = index[axis] as number;
    let part = 0;
    while (at >= (sizes[part] as number)) at -= sizes[part++] as number;
    index[axis] = at;
    const { data, shape: from } = parts[part] as Host;
    return data[flatOf(index, from)] as number;
  });
}

const concatCases = ([
  [[2, 3], [4, 3], [1, 3], 0],
  [[2, 3, 5], [2, 0, 5], [2, 4, 5], 1],
  [[3, 1], [3, 17], [3, 64], -1],
  [[0, 3], [0, 3], [2, 3], 0],
] as [Index, Index, Index, number][]).map(([a, b, c, axis]) => opCase({
  name: `concat [${a}] [${b}] [${c}] along ${axis}`,
  inputs: { a: { shape: a, value: small }, b: { shape: b, value: small }, c: { shape: c, value: small } },
  run: (t) => concat([t.a, t.b, t.c], axis),
  reference: (h) => joined([h.a, h.b, h.c], axis < 0 ? axis + a.length : axis),
  dtypes: all,
  gradients: ["a", "b", "c"],
  pitch: ["a", "c"],
  slack: 0,
}));

function paddedReference(x: Host, padding: readonly [number, number][], replicate: boolean): Host {
  const shape = x.shape.map((n, i) => n + (padding[i] as [number, number])[0] + (padding[i] as [number, number])[1]);
  return picked(x, shape, (index) => {
    const from = index.map((at, i) => at - (padding[i] as [number, number])[0]);
    if (replicate) return from.map((at, i) => Math.min(Math.max(at, 0), (x.shape[i] as number) - 1));
    return from.every((at, i) => at >= 0 && at < (x.shape[i] as number)) ? from : undefined;
  });
}

const paddings: [Index, [number, number][]][] = [
  [[5], [[2, 3]]],
  [[1, 1], [[2, 1], [0, 3]]],
  [[4, 3], [[0, 0], [0, 0]]],
  [[2, 3, 2, 4, 3], [[0, 0], [2, 0], [1, 1], [1, 1], [0, 0]]],
  [[3, 65], [[1, 0], [2, 1]]],
];

const padCases = paddings.flatMap(([shape, padding]) =>
  (["zero", "replicate"] as const).flatMap((mode) =>
    moving(
      `pad [${shape}] ${mode} ${JSON.stringify(padding)}`,
      shape,
      (x) => pad(x, padding, { mode }),
      (x) => paddedReference(x, padding, mode === "replicate"),
    ),
  ),
);

function gathered(x: Host, ids: Host, axis: number): Host {
  const shape = [...x.shape.slice(0, axis), ...ids.shape, ...x.shape.slice(axis + 1)];
  return picked(x, shape, (index) => {
    const id = ids.data[flatOf(index.slice(axis, axis + ids.shape.length), ids.shape)] as number;
    return [...index.slice(0, axis), id, ...index.slice(axis + ids.shape.length)];
  });
}

const gathers: [Index, Index, number, DType][] = [
  [[7, 5], [2, 4], 0, "i32"],
  [[3, 6, 4], [5], 1, "i64"],
  [[3, 9], [2, 3], -1, "i32"],
  [[1, 1], [1], 0, "i64"],
  [[130, 300], [9], 0, "i32"],
  [[4, 3], [0], 0, "i32"],
];

const gatherCases = gathers.map(([shape, idsShape, axis, dtype]) => {
  const along = axis < 0 ? axis + shape.length : axis;
  return opCase({
    name: `gather [${shape}] by [${idsShape}] ${dtype} along ${axis}`,
    inputs: {
      x: { shape, value: small },
      // Some come twice: their gradients add up.
      ids: { shape: idsShape, dtype, value: (i) => (i * i + 1) % (shape[along] as number) },
    },
    run: ({ x, ids }) => gather(x, ids, { axis }),
    reference: ({ x, ids }) => gathered(x, ids, along),
    dtypes: all,
    ...(few(shape) ? { gradients: ["x"] as const } : {}),
    pitch: ["x"],
    slack: 0,
  });
});

const embeddingCase = opCase({
  name: "embedding of a table",
  inputs: { table: { shape: [11, 6] }, ids: { shape: [3, 4], dtype: "i64", value: (i) => (5 * i) % 11 } },
  run: ({ table, ids }) => embedding(table, ids),
  reference: ({ table, ids }) => gathered(table, ids, 0),
  gradients: ["table"],
  slack: 0,
});

const repeats: [Index, Index][] = [
  [[3], [4]],
  [[2, 3], [1, 1]],
  [[2, 3, 1], [2, 1, 5]],
  [[1, 2, 3, 2], [3, 2, 1, 2]],
  [[2, 3], [0, 2]],
];

const repeatCases = repeats.flatMap(([shape, counts]) =>
  moving(
    `repeat [${shape}] by [${counts}]`,
    shape,
    (x) => repeat(x, counts),
    (x) => picked(x, shape.map((n, i) => n * (counts[i] as number)), (index) => index.map((at, i) => at % (shape[i] as number))),
  ),
);

/** Where element (token, channel of the token) of [B, S, 4C] comes from in [B, T, H, W, C]. */
function patchSource(height: number, width: number, [b, s, i]: Index): Index {
  const [rows, columns] = [height / 2, width / 2];
  const [token, inner] = [s as number, i as number];
  const frame = Math.floor(token / (rows * columns));
  const row = Math.floor(token / columns) % rows;
  const column = token % columns;
  // Inside a token: (C, pt = 1, ph, pw).
  return [b as number, frame, 2 * row + Math.floor((inner % 4) / 2), 2 * column + (inner % 2), Math.floor(inner / 4)];
}

function patchified(x: Host): Host {
  const [b, t, h, w, c] = x.shape as [number, number, number, number, number];
  return picked(x, [b, (t * h * w) / 4, 4 * c], (index) => patchSource(h, w, index));
}

function unpatchified(x: Host, [t, h, w]: readonly [number, number, number]): Host {
  const [b, , c4] = x.shape as [number, number, number];
  const y = fill([b, t, h, w, c4 / 4], () => 0);
  x.data.forEach((value, i) => {
    y.data[flatOf(patchSource(h, w, indexOf(i, x.shape)), y.shape)] = value;
  });
  return y;
}

const latents: Index[] = [[1, 1, 2, 2, 1], [2, 3, 4, 6, 5], [1, 2, 2, 8, 16], [1, 0, 4, 4, 3]];

const patchCases = latents.flatMap((shape) => {
  const [b, t, h, w, c] = shape as [number, number, number, number, number];
  return [
    ...moving(`patchify [${shape}]`, shape, (x) => patchify(x), patchified),
    ...moving(`unpatchify to [${shape}]`, [b, (t * h * w) / 4, 4 * c], (x) => unpatchify(x, [t, h, w]), (x) => unpatchified(x, [t, h, w])),
  ];
});

const edges = [0, -0.75, 1.5, 2.5, -3.99, 255.5, 256, 300, -1, 1e-30, 3e9, -3e9, 1e30, Number.POSITIVE_INFINITY, Number.NaN, 65504, 65536, 1 / 3];

function saturated(low: number, high: number): (v: number) => number {
  return (v) => (Number.isNaN(v) ? 0 : Math.trunc(Math.min(Math.max(v, low), high)) + 0);
}

const castings: [DType, (v: number) => number][] = [
  ["f64", (v) => v],
  ["f32", Math.fround],
  ["i32", saturated(-(2 ** 31), 2 ** 31 - 1)],
  ["u8", saturated(0, 255)],
  ["bool", (v) => (v !== 0 ? 1 : 0)],
];

const castCases = castings.flatMap(([to, convert]) => [
  opCase({
    name: `cast of floats to ${to}`,
    inputs: { x: { shape: [3, edges.length], value: (i) => edges[i % edges.length] as number } },
    run: ({ x }) => cast(x, to),
    reference: ({ x }) => fill(x.shape, (i) => convert(x.data[i] as number)),
    pitch: ["x"],
    slack: 0,
  }),
  opCase({
    name: `cast of integers to ${to}`,
    inputs: { x: { shape: [5, 601], value: small } },
    run: ({ x }) => cast(x, to),
    reference: ({ x }) => fill(x.shape, (i) => convert(x.data[i] as number)),
    dtypes: integers,
    pitch: ["x"],
    slack: 0,
  }),
]);

const narrowCases = (["bf16", "f16"] as const).map((to) => opCase({
  name: `cast to ${to} and back, transposed on the way`,
  inputs: { x: { shape: [37, 70], value: (i) => (i % 256) / 4 } },
  run: ({ x }) => cast(cast(permute(x, [1, 0]), to), "f32"),
  // What was given back to f32 still has the rounding of the narrow type, which every value here is a number of.
  reference: ({ x }) => permuted(x, [1, 0]),
  slack: 0,
}));

export const cases: OpCase[] = [
  ...castCases,
  ...narrowCases,
  ...permuteCases,
  ...viewCases,
  ...broadcastCases,
  ...concatCases,
  ...padCases,
  ...gatherCases,
  embeddingCase,
  ...repeatCases,
  ...patchCases,
];
