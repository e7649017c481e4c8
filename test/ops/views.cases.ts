/** Views, broadcasts, permutations and casts. */
import { concat } from "../../lib/ops/concat.js";
import { contiguous } from "../../lib/ops/copy.js";
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
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type Host, type OpCase, opCase } from "./case.js";
import { type Index, moving, permuted, picked, sliced, under } from "./moving.js";

// Either side of the tile (128), of the blocks inside it (16 bytes: 2 to 16 elements) and of a chunk's split.
const permutations: [Index, Index][] = [
  [
    [1, 1],
    [1, 0],
  ],
  [
    [7, 1],
    [1, 0],
  ],
  [
    [3, 5],
    [1, 0],
  ],
  [
    [15, 17],
    [1, 0],
  ],
  [
    [63, 127],
    [1, 0],
  ],
  [
    [128, 129],
    [1, 0],
  ],
  [
    [2, 3, 4],
    [2, 1, 0],
  ],
  [
    [2, 3, 4],
    [0, 2, 1],
  ],
  [
    [2, 9, 3, 5],
    [0, 2, 1, 3],
  ],
  [
    [3, 5, 2, 33],
    [3, 0, 2, 1],
  ],
  [
    [2, 3, 2, 5, 7],
    [0, 2, 3, 4, 1],
  ],
  [
    [2, 3, 2, 3, 2, 5],
    [5, 3, 1, 4, 2, 0],
  ],
  // Pairs of two-byte elements on both sides of a tile of 64; the innermost axis in place, in whole packs.
  [
    [70, 66],
    [1, 0],
  ],
  [
    [3, 34, 10],
    [0, 2, 1],
  ],
  [
    [66, 3, 130],
    [2, 1, 0],
  ],
  [
    [5, 4, 16],
    [1, 0, 2],
  ],
  [
    [0, 3],
    [1, 0],
  ],
];

const permuteCases = permutations.flatMap(([shape, axes]) =>
  moving(
    `permute [${shape}] by [${axes}]`,
    shape,
    (x) => permute(x, axes),
    (x) => permuted(x, axes),
  ),
);

const viewCases = [
  ...moving(
    "slice of the first axis",
    [5, 4, 3],
    (x) => slice(x, 0, 1, 4),
    (x) => sliced(x, 0, 1, 4),
  ),
  ...moving(
    "slice of the middle",
    [2, 7, 3],
    (x) => slice(x, 1, -3),
    (x) => sliced(x, 1, 4, 7),
  ),
  ...moving(
    "slice of the last axis",
    [3, 11],
    (x) => slice(x, -1, 2, -4),
    (x) => sliced(x, 1, 2, 7),
  ),
  ...moving(
    "slice of the last axis in whole packs",
    [3, 64],
    (x) => contiguous(slice(x, -1, 16, 48)),
    (x) => sliced(x, 1, 16, 48),
  ),
  ...moving(
    "slice of one axis, a copy with a rest",
    [5003],
    (x) => contiguous(concat([slice(x, 0, 0, 4099)])),
    (x) => sliced(x, 0, 0, 4099),
  ),
  ...moving(
    "slice of nothing",
    [3, 11],
    (x) => slice(x, 0, 3),
    (x) => sliced(x, 0, 3, 3),
  ),
  ...moving(
    "split in three",
    [2, 3, 12],
    (x) => split(x, 3),
    (x) => [0, 4, 8].map((at) => sliced(x, 2, at, at + 4)),
  ),
  ...moving(
    "split by sizes along 1",
    [2, 7, 3],
    (x) => split(x, [1, 0, 4, 2], 1),
    (x) =>
      [
        [0, 1],
        [1, 1],
        [1, 5],
        [5, 7],
      ].map(([a, b]) => sliced(x, 1, a as number, b as number)),
  ),
  ...moving(
    "split with parts unused",
    [4, 10],
    (x) => (split(x, 5) as Tensor[])[2] as Tensor,
    (x) => sliced(x, 1, 4, 6),
  ),
  ...moving(
    "split and concat the other way round",
    [3, 10],
    (x) => concat(split(x, [3, 7]).reverse(), 1),
    (x) => picked(x, x.shape, ([r, i]) => [r as number, ((i as number) + 3) % 10]),
  ),
  ...moving(
    "select of the middle",
    [2, 5, 3],
    (x) => select(x, 1, -2),
    (x) => under(sliced(x, 1, 3, 4), [2, 3]),
  ),
  ...moving(
    "select of the last axis",
    [4, 5],
    (x) => select(x, -1, 1),
    (x) => under(sliced(x, 1, 1, 2), [4]),
  ),
  ...moving(
    "reshape",
    [4, 6, 5],
    (x) => reshape(x, [2, 12, -1]),
    (x) => under(x, [2, 12, 5]),
  ),
  ...moving(
    "reshape of a transposed view, a copy",
    [4, 6, 5],
    (x) => reshape(transpose(x, 0, 1), [12, 10]),
    (x) => under(permuted(x, [1, 0, 2]), [12, 10]),
  ),
  ...moving(
    "reshape of a slice, cutting its last axis",
    [3, 14],
    (x) => reshape(slice(x, 1, 1, 13), [3, 3, 4]),
    (x) => under(sliced(x, 1, 1, 13), [3, 3, 4]),
  ),
  ...moving(
    "reshape to six axes",
    [64],
    (x) => reshape(x, [2, 2, 2, 2, 2, 2]),
    (x) => under(x, [2, 2, 2, 2, 2, 2]),
  ),
  ...moving(
    "flatten the middle",
    [2, 3, 4, 5],
    (x) => flatten(x, 1, 2),
    (x) => under(x, [2, 12, 5]),
  ),
  ...moving(
    "flatten all",
    [2, 3, 4],
    (x) => flatten(x),
    (x) => under(x, [24]),
  ),
  ...moving(
    "unsqueeze",
    [3, 4],
    (x) => [unsqueeze(x, 0), unsqueeze(x, 1), unsqueeze(x, -1)],
    (x) =>
      [
        [1, 3, 4],
        [3, 1, 4],
        [3, 4, 1],
      ].map((s) => under(x, s)),
  ),
  ...moving(
    "squeeze",
    [1, 3, 1, 4],
    (x) => [squeeze(x), squeeze(x, 2)],
    (x) =>
      [
        [3, 4],
        [1, 3, 4],
      ].map((s) => under(x, s)),
  ),
  ...moving(
    "transpose of the last two",
    [2, 5, 9],
    (x) => transpose(x),
    (x) => permuted(x, [0, 2, 1]),
  ),
  ...moving(
    "contiguous of a permuted view",
    [3, 4, 5],
    (x) => contiguous(permute(x, [1, 0, 2])),
    (x) => permuted(x, [1, 0, 2]),
  ),
];

const broadcast = (x: Host, shape: Index) =>
  picked(x, shape, (index) =>
    x.shape.map((n, i) => (n === 1 ? 0 : (index[shape.length - x.shape.length + i] as number))),
  );

const broadcastCases = (
  [
    [
      [2, 1, 5],
      [2, 7, 5],
    ],
    [
      [4, 1],
      [4, 33],
    ],
    [[3], [2, 4, 3]],
    [
      [1, 3, 1],
      [4, 2, 3, 5],
    ],
  ] as [Index, Index][]
).map(([from, to]) =>
  opCase({
    name: `broadcastTo [${from}] to [${to}]`,
    inputs: { x: { shape: from } },
    run: ({ x }) => broadcastTo(x, to),
    reference: ({ x }) => broadcast(x, to),
    gradients: ["x"],
    pitch: ["x"],
    slack: 0,
  }),
);

export const cases: OpCase[] = [...permuteCases, ...viewCases, ...broadcastCases];
