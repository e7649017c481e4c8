/** For the cases of ops that only move elements: the same in plain JavaScript, and a case in every type. */
import type { DType } from "../../lib/tensor/dtype.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

export type Index = readonly number[];

/** Position of a flat index on each axis. */
export function indexOf(flat: number, shape: Index): number[] {
  const index = shape.map(() => 0);
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = rest % (shape[axis] as number);
    rest = Math.floor(rest / (shape[axis] as number));
  }
  return index;
}

export const flatOf = (index: Index, shape: Index) =>
  index.reduce((flat, i, axis) => flat * (shape[axis] as number) + i, 0);

/** y of a shape whose element at an index is that of x at another index; undefined stands for zero. */
export function picked(x: Host, shape: Index, source: (index: number[]) => Index | undefined): Host {
  return fill(shape, (i) => {
    const from = source(indexOf(i, shape));
    return from === undefined ? 0 : (x.data[flatOf(from, x.shape)] as number);
  });
}

export const integers: readonly DType[] = ["u8", "i32", "i64"];
export const all: readonly DType[] = ["f32", "bf16", "f16", "f64", ...integers];
export const small = (i: number) => (i * 7 + 3) % 251;

/** Finite differences cost the square of the size; larger inputs are for the values. */
export const few = (shape: Index) => shape.reduce((a, b) => a * b, 1) <= 200;

/** A case with one input that only moves elements: exact in every type; integers in a case of their own. */
export function moving(
  name: string,
  shape: Index,
  run: (x: AnyTensor) => Tensor | readonly Tensor[],
  reference: (x: Host) => Host | readonly Host[],
): OpCase[] {
  const common = {
    run: (t: { readonly x: AnyTensor }) => run(t.x),
    reference: (h: { readonly x: Host }) => reference(h.x),
    slack: 0,
  };
  return [
    opCase({
      name,
      inputs: { x: { shape } },
      ...common,
      ...(few(shape) ? { gradients: ["x"] as const } : {}),
      pitch: ["x"],
    }),
    opCase({
      name: `${name}, integers`,
      inputs: { x: { shape, value: small } },
      ...common,
      dtypes: integers,
      pitch: ["x"],
    }),
  ];
}

export const sliced = (x: Host, axis: number, start: number, end: number) =>
  picked(
    x,
    x.shape.map((n, i) => (i === axis ? end - start : n)),
    (index) => index.map((at, i) => (i === axis ? at + start : at)),
  );

export const permuted = (x: Host, axes: Index) =>
  picked(
    x,
    axes.map((axis) => x.shape[axis] as number),
    (index) => x.shape.map((_, axis) => index[axes.indexOf(axis)] as number),
  );

export const under = (x: Host, shape: Index): Host => ({ shape, data: x.data });
