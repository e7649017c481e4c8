/** The order of batches: of a seed, an epoch and the pools of samples alone, so that any place in it can be gone back to. */
import type { Bucket } from "./buckets.js";
import { Draws } from "./draws.js";

/** Samples (or cached latents) of one bucket. */
export interface Pool {
  readonly bucket: Bucket;
  /** Whatever the items mean to the caller; at least one. */
  readonly items: readonly number[];
}

export interface PlannedBatch {
  readonly epoch: number;
  /** In its epoch. */
  readonly index: number;
  /** Which of the plan's pools. */
  readonly pool: number;
  /** `bucket.batchSize` of them. */
  readonly items: readonly number[];
}

export interface PlanOptions {
  readonly seed: number;
  /**
   * Share of batches that are of pictures (buckets of one frame), 0 up to but not including 1. An epoch is then one pass
   * over the videos, and pictures come as often as it takes. Default: every picture once.
   */
  readonly imageRatio?: number | undefined;
}

export class EpochPlan {
  readonly pools: readonly Pool[];
  readonly #options: PlanOptions;
  readonly #counts: readonly number[];
  #last: { readonly epoch: number; readonly batches: readonly PlannedBatch[] } | undefined;

  constructor(pools: readonly Pool[], options: PlanOptions) {
    this.pools = pools.filter(({ items }) => items.length > 0);
    this.#options = options;
    this.#counts = countBatches(this.pools, options.imageRatio);
  }

  /** Batches of every epoch. */
  get batchesPerEpoch(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  epoch(epoch: number): readonly PlannedBatch[] {
    if (this.#last?.epoch === epoch) return this.#last.batches;
    const { seed } = this.#options;
    const inOrder = this.pools.flatMap((pool, place) => {
      const size = pool.bucket.batchSize;
      const items = this.#items(place, epoch, (this.#counts[place] ?? 0) * size);
      return Array.from({ length: this.#counts[place] ?? 0 }, (_, i) => ({
        pool: place,
        items: items.slice(i * size, (i + 1) * size),
      }));
    });
    const mixed = new Draws("batches", seed, epoch).shuffled(inOrder);
    const batches = mixed.map((batch, index) => ({ epoch, index, ...batch }));
    this.#last = { epoch, batches };
    return batches;
  }

  /** The pool in a new order, again and again until there are enough. */
  #items(place: number, epoch: number, wanted: number): number[] {
    const taken: number[] = [];
    for (let pass = 0; taken.length < wanted; pass++) {
      const draws = new Draws("items", this.#options.seed, epoch, place, pass);
      const order = draws.shuffled(this.pools[place]?.items ?? []);
      for (const item of order.slice(0, wanted - taken.length)) taken.push(item);
    }
    return taken;
  }

  /** What may stand in for an item that cannot be read: attempt after attempt, every item of the pool comes. */
  *replacements({ epoch, index, pool }: PlannedBatch, slot: number): Generator<number> {
    const draws = new Draws("replacements", this.#options.seed, epoch, index, slot);
    yield* draws.shuffled(this.pools[pool]?.items ?? []);
  }
}

function countBatches(pools: readonly Pool[], imageRatio: number | undefined): number[] {
  const whole = pools.map(({ items, bucket }) => Math.ceil(items.length / bucket.batchSize));
  const isImage = pools.map(({ bucket }) => bucket.numFrames === 1);
  const videos = whole.reduce((sum, count, i) => sum + (isImage[i] ? 0 : count), 0);
  const images = whole.reduce((sum, count, i) => sum + (isImage[i] ? count : 0), 0);
  if (imageRatio === undefined || videos === 0 || images === 0) return whole;
  const wanted = imageRatio === 0 ? 0 : Math.max(1, Math.round((videos * imageRatio) / (1 - imageRatio)));
  // Cumulative rounding: the counts of the pools add up to what is wanted.
  let [before, done] = [0, 0];
  return whole.map((count, i) => {
    if (!isImage[i]) return count;
    before += count;
    const share = Math.round((wanted * before) / images) - done;
    done += share;
    return share;
  });
}
