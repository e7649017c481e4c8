/** A clip through the model tile by tile, in steps: whoever drives them decides what happens between two tiles. */
import { slice } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { axes, edgeOf, Mosaic, mixed, Shelf } from "./tile-blend.js";
import type { AxisPlan, TilePlan, Window } from "./tiling.js";

export interface TileProgress {
  /** Tiles that have been through the model. */
  readonly tile: number;
  readonly tiles: number;
}

/** What is to be done for each tile. */
export interface TileJob<D extends FloatDType> {
  readonly plan: TilePlan;
  /** [B, T, H, W, C] */
  readonly input: Tensor<D>;
  /** Height and width of the output. */
  readonly size: readonly [height: number, width: number];
  readonly recorded: boolean;
  /** The model. Called inside a scope. */
  readonly run: (tile: Tensor<D>) => Tensor<D>;
  /** Is lent finished frames, [B, t, H, W, C], in order. Called inside a scope. */
  readonly emit: (frames: Tensor<D>) => void;
}

/**
 * Queues the work of one tile in each step. Tensors that live from step to step are disposed of when the generator
 * ends, in whatever way.
 */
export function* tilePass<D extends FloatDType>(job: TileJob<D>): Generator<TileProgress, void, void> {
  const { plan, recorded } = job;
  const { windows, blend, limit } = plan.frames;
  using shelf = new Shelf();
  const count = { tile: 0, tiles: plan.tiles };
  let edge: Tensor<D> | undefined;
  for (const [i, window] of windows.entries()) {
    const piece = shelf.hold(scope(() => part(job.input, axes.frames, window)));
    const clip = yield* frameTiles(job, piece, shelf, count);
    piece.dispose();
    const before = edge;
    edge = scope(() => {
      // All but the first repeat the frame before their own.
      let y = i === 0 ? clip : slice(clip, axes.frames, 1);
      if (before !== undefined) y = mixed(y, before, axes.frames, { blend, recorded });
      job.emit(kept(y, axes.frames, i === 0 ? limit + 1 : limit));
      return i + 1 < windows.length ? edgeOf(y, axes.frames, { blend, recorded }) : undefined;
    });
    if (edge !== undefined) shelf.hold(edge);
    before?.dispose();
    clip.dispose();
  }
}

/** The frames of one window through the model, in tiles of rows and columns. The result is on the shelf. */
function* frameTiles<D extends FloatDType>(
  job: TileJob<D>,
  piece: Tensor<D>,
  shelf: Shelf,
  count: { tile: number; readonly tiles: number },
): Generator<TileProgress, Tensor<D>, void> {
  const { plan, recorded } = job;
  const [rows, columns] = [plan.height.windows, plan.width.windows];
  if (rows.length * columns.length === 1) {
    const clip = shelf.hold(scope(() => job.run(piece)));
    count.tile++;
    yield { ...count };
    return clip;
  }
  const mosaic = new Mosaic<D>(shelf, job.size, recorded);
  // Lower edges of the row above, by column, and the right edge of the tile before.
  const above: (Tensor<D> | undefined)[] = [];
  let left: Tensor<D> | undefined;
  for (const [i, row] of rows.entries()) {
    for (const [j, column] of columns.entries()) {
      const edges = scope(() => {
        let tile = job.run(part(part(piece, axes.height, row), axes.width, column));
        tile = joined(tile, above[j], axes.height, plan.height, recorded);
        tile = joined(tile, left, axes.width, plan.width, recorded);
        mosaic.place(kept(kept(tile, axes.height, plan.height.limit), axes.width, plan.width.limit));
        return {
          below: i + 1 < rows.length ? edgeOf(tile, axes.height, { ...plan.height, recorded }) : undefined,
          right: j + 1 < columns.length ? edgeOf(tile, axes.width, { ...plan.width, recorded }) : undefined,
        };
      });
      above[j]?.dispose();
      left?.dispose();
      above[j] = edges.below && shelf.hold(edges.below);
      left = edges.right && shelf.hold(edges.right);
      count.tile++;
      yield { ...count };
    }
  }
  return shelf.hold(mosaic.finish());
}

function joined<D extends FloatDType>(
  tile: Tensor<D>,
  edge: Tensor<D> | undefined,
  axis: 2 | 3,
  { blend }: AxisPlan,
  recorded: boolean,
): Tensor<D> {
  return edge === undefined ? tile : mixed(tile, edge, axis, { blend, recorded });
}

function part<D extends FloatDType>(x: Tensor<D>, axis: 1 | 2 | 3, { start, length }: Window): Tensor<D> {
  return slice(x, axis, start, start + length);
}

function kept<D extends FloatDType>(x: Tensor<D>, axis: 1 | 2 | 3, limit: number): Tensor<D> {
  return slice(x, axis, 0, Math.min(x.shape[axis] as number, limit));
}
