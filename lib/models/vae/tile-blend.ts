/** Putting tiles together: the linear mixing of what neighbours share, and the clip that the kept parts make up. */
import { concat } from "../../ops/concat.js";
import { cast, copyInto, copyView } from "../../ops/copy.js";
import { zeros } from "../../ops/fill.js";
import { add, mul } from "../../ops/pointwise.js";
import { reshape, slice } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import { type Owner, topOwner } from "../../tensor/ownership.js";
import type { Tensor } from "../../tensor/tensor.js";

/** Axes of [B, T, H, W, C]. */
export const axes = { frames: 1, height: 2, width: 3 } as const;
export type Axis = (typeof axes)[keyof typeof axes];

/** Owns what lives from one tile to the next; scopes end with each tile. */
export class Shelf implements Owner, Disposable {
  readonly #held = new Set<Tensor>();

  hold<T extends Tensor>(tensor: T): T {
    tensor.moveTo(this);
    return tensor;
  }
  adopt(tensor: Tensor): void {
    this.#held.add(tensor);
  }
  forget(tensor: Tensor): void {
    this.#held.delete(tensor);
  }
  [Symbol.dispose](): void {
    for (const tensor of [...this.#held]) tensor.dispose();
  }
}

/**
 * The tile with its first elements along an axis mixed with the last ones of the tile before: of `e` shared elements the
 * i-th is before · (1 − i / e) + tile · (i / e). In place, unless gradients are recorded.
 *
 * @param edge the last elements of the tile before, as they are after its own mixing
 */
export function mixed<D extends FloatDType>(
  tile: Tensor<D>,
  edge: Tensor<D>,
  axis: Axis,
  { blend, recorded }: { readonly blend: number; readonly recorded: boolean },
): Tensor<D> {
  const before = edge.shape[axis] as number;
  const shared = Math.min(before, tile.shape[axis] as number, blend);
  if (shared === 0) return tile;
  const { device, dtype } = tile;
  // Weights and sum are f32 where the clip is narrower; the result is rounded once.
  const wide = dtype === "f64" ? "f64" : "f32";
  const along = tile.shape.map((_, i) => (i === axis ? shared : 1));
  const ramp = (weight: (part: number) => number) => {
    const weights = Array.from({ length: shared }, (_, i) => weight(i / shared));
    return reshape(tensor(weights, { dtype: wide, device }), along);
  };
  const start = slice(tile, axis, 0, shared);
  const falling = mul(
    cast(slice(edge, axis, before - shared), wide),
    ramp((part) => 1 - part),
  );
  const rising = mul(
    cast(start, wide),
    ramp((part) => part),
  );
  const mix = cast(add(falling, rising), dtype);
  if (recorded) return concat([mix, slice(tile, axis, shared)], axis);
  copyInto(mix, start);
  return tile;
}

/** The last elements along an axis that the next tile may be mixed with; a copy, so that the tile itself can go. */
export function edgeOf<D extends FloatDType>(
  tile: Tensor<D>,
  axis: Axis,
  { blend, recorded }: { readonly blend: number; readonly recorded: boolean },
): Tensor<D> {
  const size = tile.shape[axis] as number;
  const edge = slice(tile, axis, size - Math.min(size, blend));
  return recorded ? edge : copyView(edge, edge, tile.dtype);
}

/** A second tensor with the same elements, gradients included: one that may outlive the first. */
const sameView = <D extends FloatDType>(x: Tensor<D>): Tensor<D> => slice(x, axes.frames, 0);

/** A frame-sized whole made of pieces that come row by row, each row from left to right. */
export class Mosaic<D extends FloatDType> {
  readonly #shelf: Shelf;
  readonly #recorded: boolean;
  readonly #size: readonly [height: number, width: number];
  #whole: Tensor<D> | undefined;
  readonly #rows: Tensor<D>[][] = [];
  #top = 0;
  #left = 0;

  constructor(shelf: Shelf, size: readonly [height: number, width: number], recorded: boolean) {
    this.#shelf = shelf;
    this.#size = size;
    this.#recorded = recorded;
  }

  /** The next piece, [B, T, h, w, C]. */
  place(piece: Tensor<D>): void {
    const [b = 0, t = 0, h = 0, w = 0, c = 0] = piece.shape;
    const [height, width] = this.#size;
    if (this.#left === 0) this.#rows.push([]);
    if (this.#recorded) {
      this.#rows.at(-1)?.push(this.#shelf.hold(sameView(piece)));
    } else {
      const { device, dtype } = piece;
      this.#whole ??= this.#shelf.hold(zeros([b, t, height, width, c], { device, dtype }));
      const row = slice(this.#whole, axes.height, this.#top, this.#top + h);
      copyInto(piece, slice(row, axes.width, this.#left, this.#left + w));
    }
    this.#left += w;
    if (this.#left < width) return;
    this.#left = 0;
    this.#top += h;
  }

  finish(): Tensor<D> {
    if (this.#whole !== undefined) return this.#whole;
    const rows = this.#rows.map((row) => concat(row, axes.width));
    return concat(rows, axes.height);
  }
}

/** Clips one after another, as one of so many frames. */
export class Film<D extends FloatDType> {
  readonly #shelf = new Shelf();
  readonly #frames: number;
  readonly #recorded: boolean;
  #whole: Tensor<D> | undefined;
  readonly #clips: Tensor<D>[] = [];
  #at = 0;

  constructor(frames: number, recorded: boolean) {
    this.#frames = frames;
    this.#recorded = recorded;
  }

  add(clip: Tensor<D>): void {
    const [b = 0, t = 0, ...rest] = clip.shape;
    if (t === this.#frames) this.#whole = this.#shelf.hold(sameView(clip));
    else if (this.#recorded) this.#clips.push(this.#shelf.hold(sameView(clip)));
    else {
      const { device, dtype } = clip;
      this.#whole ??= this.#shelf.hold(zeros([b, this.#frames, ...rest], { device, dtype }));
      copyInto(clip, slice(this.#whole, axes.frames, this.#at, this.#at + t));
    }
    this.#at += t;
  }

  /** The whole; from then on it is the caller's (or its scope's). */
  finish(): Tensor<D> {
    const whole = this.#whole ?? concat(this.#clips, axes.frames);
    whole.moveTo(topOwner());
    return whole;
  }

  [Symbol.dispose](): void {
    this.#shelf[Symbol.dispose]();
  }
}
