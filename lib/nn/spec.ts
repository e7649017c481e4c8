/**
 * What parameters a model has, and how other naming conventions spell them.
 *
 * Every foreign convention differs from the released checkpoint's in two ways only: other names, and other cuts along the
 * first axis (fused qkv against q, k, v; swapped halves). So a parameter is a list of row ranges of foreign tensors, which
 * serves reading (a fused weight is read piece after piece into one tensor) and writing alike.
 */
import type { Shape } from "../tensor/shape.js";

export interface ParameterSpec {
  /** Name in the released checkpoint. */
  readonly name: string;
  /** Shape in the released checkpoint, which is also how it is saved. */
  readonly shape: Shape;
  /**
   * How the device holds it. "same": as saved. "channels-last": a convolution's [O, I, t, h, w] as [O, t, h, w, I].
   * "flat": a patch embedding's [O, I, t, h, w] as the matrix [O, I·t·h·w].
   */
  readonly layout: "same" | "channels-last" | "flat";
}

/** Rows of a foreign tensor, along its first axis. */
export interface Piece {
  readonly key: string;
  readonly rows: number;
  /** The first of them. Default 0. */
  readonly start?: number;
}

/** One naming convention: of which foreign rows a parameter is made, in order. */
export type Naming = (spec: ParameterSpec) => readonly Piece[];

/** The released checkpoint's own names. */
export const releasedNaming: Naming = ({ name, shape }) => [{ key: name, rows: shape[0] ?? 1 }];
