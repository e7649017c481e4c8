/**
 * How video and text tokens are laid out: where the texts of a batch end, and which tokens are modulated alike.
 *
 * B batch, S video tokens, L text tokens (of the longest text), C hidden size.
 */
import { concat } from "../../ops/concat.js";
import type { RopeTables } from "../../ops/rope.js";
import { slice, split } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Part } from "./blocks.js";

/**
 * Ends of segments for samples laid end to end, each of `ahead` tokens, a text of its length, and padding up to the
 * longest. Nothing where all texts are as long: then there is no padding.
 */
export function segmentEnds(ahead: number, lengths: readonly number[], device: Device): Tensor<"i32"> | undefined {
  const longest = Math.max(0, ...lengths);
  if (lengths.every((length) => length === longest)) return undefined;
  const ends = lengths.flatMap((length, i) => {
    const start = i * (ahead + longest);
    return [start + ahead + length, start + ahead + longest];
  });
  return tensor(Int32Array.from([0, ...ends]), { dtype: "i32", shape: [ends.length + 1], device });
}

/** The condition of most tokens, and that of the first frame where it is a clean image. Each SiLU of a vector, [B, C]. */
export interface Conditions<D extends FloatDType> {
  readonly all: Tensor<D>;
  readonly firstFrame?: Tensor<D> | undefined;
}

/** Video tokens [B, S, C] as one part, or as two where the first frame (of `frameTokens`) has a condition of its own. */
export function videoParts<D extends FloatDType>(
  x: Tensor<D>,
  { all, firstFrame }: Conditions<D>,
  rope: RopeTables,
  frameTokens: number,
): Part<D>[] {
  if (firstFrame === undefined) return [{ stream: "img", x, cond: all, rope }];
  const sizes = [frameTokens, (x.shape[1] ?? 0) - frameTokens];
  const [cos, sin] = [split(rope.cos, sizes, 0), split(rope.sin, sizes, 0)];
  const tables = (i: 0 | 1): RopeTables => ({ cos: cos[i] as Tensor<"f32">, sin: sin[i] as Tensor<"f32"> });
  const [first, rest] = split(x, sizes, 1) as [Tensor<D>, Tensor<D>];
  return [
    { stream: "img", x: first, cond: firstFrame, rope: tables(0) },
    { stream: "img", x: rest, cond: all, rope: tables(1) },
  ];
}

/** The parts with the text, the last of them, joined to the last of the video, for single blocks; the two make room. */
export function withTextJoined<D extends FloatDType>(parts: readonly Part<D>[]): Part<D>[] {
  const others = parts.slice(0, -2);
  const [video, text] = parts.slice(-2) as [Part<D>, Part<D>];
  const x = concat([video.x, text.x], 1);
  for (const part of [video, text]) part.x.dispose();
  return [...others, { ...video, x }];
}

/** The parts with other tokens. */
export function replaced<D extends FloatDType>(parts: readonly Part<D>[], tokens: readonly Tensor<D>[]): Part<D>[] {
  return parts.map((part, i) => ({ ...part, x: tokens[i] as Tensor<D> }));
}

/** The first `count` tokens of the sequence, as views of its parts. */
export function firstTokens<D extends FloatDType>(parts: readonly Part<D>[], count: number): Tensor<D>[] {
  let left = count;
  return parts.map(({ x }) => {
    const taken = Math.min(left, x.shape[1] ?? 0);
    left -= taken;
    return slice(x, 1, 0, taken);
  });
}
