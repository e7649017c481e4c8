import { cast } from "../../lib/ops/copy.js";
import { permute } from "../../lib/ops/views.js";
import type { DType } from "../../lib/tensor/dtype.js";
import { fill, type OpCase, opCase } from "./case.js";
import { integers, permuted, small } from "./moving.js";

const edges = [
  0,
  -0.75,
  1.5,
  2.5,
  -3.99,
  255.5,
  256,
  300,
  -1,
  1e-30,
  3e9,
  -3e9,
  1e30,
  Number.POSITIVE_INFINITY,
  Number.NaN,
  65504,
  65536,
  1 / 3,
];

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

/** v in a float type of `bits` significant bits whose normal numbers begin at 2^least; NaN beyond `most` when it has no infinity. */
function rounded(v: number, bits: number, least: number, most: number, infinite: boolean): number {
  if (v === 0) return v;
  if (!Number.isFinite(v)) return infinite ? v : Number.NaN;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(v))), least);
  const step = 2 ** (exponent - bits + 1);
  const units = v / step;
  const below = Math.floor(units);
  const even = below % 2 === 0 ? below : below + 1;
  const y = (units - below === 0.5 ? even : Math.round(units)) * step;
  if (Math.abs(y) <= most) return y;
  return infinite ? Math.sign(y) * Number.POSITIVE_INFINITY : Number.NaN;
}

const floatTypes: [DType, (v: number) => number][] = [
  ["bf16", (v) => rounded(v, 8, -126, (2 - 2 ** -7) * 2 ** 127, true)],
  ["f16", (v) => rounded(v, 11, -14, 65504, true)],
  ["f8e4m3", (v) => rounded(v, 4, -6, 448, false)],
];

// Ties, and what lies so close to one that rounding twice would take it for one; subnormals; either side of the end.
const ties = [
  1 + 2 ** -8,
  1 + 3 * 2 ** -8,
  1 + 2 ** -11,
  1 + 3 * 2 ** -11,
  1.0625,
  1.1875,
  1 + 2 ** -8 + 2 ** -40,
  1 + 2 ** -8 - 2 ** -40,
  1 + 2 ** -11 + 2 ** -40,
  1.0625 + 2 ** -40,
  2 ** -24 * 1.5,
  2 ** -25,
  2 ** -9 * 2.5,
  2 ** -10,
  65519.996,
  65520,
  464,
  464.00001,
  3.3961775292304601e38,
];
const bigIntegers = [
  0,
  -1,
  255,
  257,
  259,
  -2049,
  -2051,
  464,
  465,
  65519,
  65520,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 40 + 2 ** 32,
  2 ** 40 + 2 ** 32 + 1,
  -(2 ** 52) - 2 ** 44 - 1,
  2 ** 53 - 1,
];

const floatCastCases = floatTypes.flatMap(([to, convert]) => [
  opCase({
    name: `cast of floats to ${to}`,
    inputs: { x: { shape: [2, edges.length + ties.length], value: (i) => [...edges, ...ties][i % 37] as number } },
    run: ({ x }) => [cast(x, to), cast(permute(x, [1, 0]), to)],
    reference({ x }) {
      const y = fill(x.shape, (i) => convert(x.data[i] as number));
      return [y, permuted(y, [1, 0])];
    },
    dtypes: ["f32", "f64", "bf16", "f16", "f8e4m3"],
    pitch: ["x"],
    slack: 0,
  }),
  opCase({
    name: `cast of integers to ${to}`,
    inputs: {
      x: { shape: [17, 3], dtype: "i64", value: (i) => bigIntegers[i % 17] as number },
      y: { shape: [19], dtype: "i32", value: (i) => bigIntegers[i % 13] as number },
      z: { shape: [8, 40], dtype: "u8", value: small },
      w: { shape: [5], dtype: "bool", value: (i) => i % 2 },
    },
    run: (t) => [cast(t.x, to), cast(t.y, to), cast(permute(t.z, [1, 0]), to), cast(t.w, to)],
    reference: (h) => [h.x, h.y, permuted(h.z, [1, 0]), h.w].map((v) => fill(v.shape, (i) => convert(v.data[i]!))),
    dtypes: ["f32"],
    pitch: ["x"],
    slack: 0,
  }),
]);

const narrowIntegerCase = opCase({
  name: "cast of integers to fewer bits saturates",
  inputs: { x: { shape: [17], dtype: "i64", value: (i) => bigIntegers[i] as number } },
  run: ({ x }) => [cast(x, "i32"), cast(x, "u8"), cast(x, "bool"), cast(cast(x, "i32"), "u8"), cast(x, "f32")],
  reference({ x }) {
    const map = (fn: (v: number) => number) => fill(x.shape, (i) => fn(x.data[i] as number));
    const [i32, u8] = [saturated(-(2 ** 31), 2 ** 31 - 1), saturated(0, 255)];
    return [map(i32), map(u8), map((v) => Number(v !== 0)), map(u8), map(Math.fround)];
  },
  dtypes: ["f32"],
  pitch: ["x"],
  slack: 0,
});

const narrowCases = (["bf16", "f16"] as const).map((to) =>
  opCase({
    name: `cast to ${to} and back, transposed on the way`,
    inputs: { x: { shape: [37, 70], value: (i) => (i % 256) / 4 } },
    run: ({ x }) => cast(cast(permute(x, [1, 0]), to), "f32"),
    // What was given back to f32 still has the rounding of the narrow type, which every value here is a number of.
    reference: ({ x }) => permuted(x, [1, 0]),
    slack: 0,
  }),
);

export const cases: OpCase[] = [...castCases, ...floatCastCases, narrowIntegerCase, ...narrowCases];
