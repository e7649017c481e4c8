/** Joining, padding, gathering, repeating and patches. */
import { concat } from "../../lib/ops/concat.js";
import { embedding, gather, pad, patchify, repeat, unpatchify } from "../../lib/ops/layout.js";
import type { DType } from "../../lib/tensor/dtype.js";
import { fill, type Host, type OpCase, opCase } from "./case.js";
import { all, few, flatOf, type Index, indexOf, moving, picked, small } from "./moving.js";

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

const concatCases = (
  [
    [[2, 3], [4, 3], [1, 3], 0],
    [[2, 3, 5], [2, 0, 5], [2, 4, 5], 1],
    [[3, 1], [3, 17], [3, 64], -1],
    [[0, 3], [0, 3], [2, 3], 0],
    [[3, 16], [3, 32], [3, 16], -1],
    [[2, 3, 8], [2, 1, 8], [2, 2, 8], 1],
  ] as [Index, Index, Index, number][]
).map(([a, b, c, axis]) =>
  opCase({
    name: `concat [${a}] [${b}] [${c}] along ${axis}`,
    inputs: { a: { shape: a, value: small }, b: { shape: b, value: small }, c: { shape: c, value: small } },
    run: (t) => concat([t.a, t.b, t.c], axis),
    reference: (h) => joined([h.a, h.b, h.c], axis < 0 ? axis + a.length : axis),
    dtypes: all,
    gradients: ["a", "b", "c"],
    pitch: ["a", "c"],
    slack: 0,
  }),
);

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
  [
    [1, 1],
    [
      [2, 1],
      [0, 3],
    ],
  ],
  [
    [4, 3],
    [
      [0, 0],
      [0, 0],
    ],
  ],
  [
    [2, 3, 2, 4, 3],
    [
      [0, 0],
      [2, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ],
  ],
  [
    [3, 65],
    [
      [1, 0],
      [2, 1],
    ],
  ],
  // Channels in whole packs.
  [
    [1, 2, 1, 3, 16],
    [
      [0, 0],
      [2, 0],
      [1, 1],
      [0, 1],
      [0, 0],
    ],
  ],
  [
    [2, 3, 2, 8],
    [
      [1, 0],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
  ],
  [
    [3, 0, 2],
    [
      [1, 0],
      [2, 1],
      [0, 0],
    ],
  ],
];

const padCases = paddings.flatMap(([shape, padding]) =>
  // An empty axis has no edge to repeat.
  (shape.includes(0) ? (["zero"] as const) : (["zero", "replicate"] as const)).flatMap((mode) =>
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
  [[3, 6, 16], [5], 1, "i32"],
  // More ids than a block lists at a time; more slices than there are blocks.
  [[5, 7], [300], 0, "i64"],
  [[3, 11, 2], [140], 1, "i32"],
  [[1100, 1], [13], 0, "i32"],
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
    ...(few(shape) || shape.at(-1) === 1 ? { gradients: ["x"] as const } : {}),
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
  [
    [2, 3],
    [1, 1],
  ],
  [
    [2, 3, 1],
    [2, 1, 5],
  ],
  [
    [1, 2, 3, 2],
    [3, 2, 1, 2],
  ],
  [
    [2, 3],
    [0, 2],
  ],
];

const repeatCases = repeats.flatMap(([shape, counts]) =>
  moving(
    `repeat [${shape}] by [${counts}]`,
    shape,
    (x) => repeat(x, counts),
    (x) =>
      picked(
        x,
        shape.map((n, i) => n * (counts[i] as number)),
        (index) => index.map((at, i) => at % (shape[i] as number)),
      ),
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

const latents: Index[] = [
  [1, 1, 2, 2, 1],
  [2, 3, 4, 6, 5],
  [1, 2, 2, 8, 16],
  [1, 0, 4, 4, 3],
];

const patchCases = latents.flatMap((shape) => {
  const [b, t, h, w, c] = shape as [number, number, number, number, number];
  return [
    ...moving(`patchify [${shape}]`, shape, (x) => patchify(x), patchified),
    ...moving(
      `unpatchify to [${shape}]`,
      [b, (t * h * w) / 4, 4 * c],
      (x) => unpatchify(x, [t, h, w]),
      (x) => unpatchified(x, [t, h, w]),
    ),
  ];
});

export const cases: OpCase[] = [
  ...concatCases,
  ...padCases,
  ...gatherCases,
  embeddingCase,
  ...repeatCases,
  ...patchCases,
];
