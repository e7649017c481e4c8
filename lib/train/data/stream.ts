/** Batches one after the other, prepared ahead, from any place of the plan on. */
import { throwIfAborted } from "../../io/media/abort.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { JsonValue, Stateful } from "../stateful.js";
import type { EpochPlan, PlannedBatch } from "./plan.js";

/** Where a stream stands: the batch that comes next. Plain data, to be saved with the state of training. */
export interface DataPosition {
  readonly epoch: number;
  /** In the epoch. */
  readonly batch: number;
  /** Of which data: a hash of samples, buckets and options. */
  readonly data: string;
}

export interface StreamOptions {
  /** Where to go on. Default: the beginning. */
  readonly from?: DataPosition | undefined;
  /** Batches that are prepared while others are used. Default 2. */
  readonly prefetch?: number | undefined;
  /**
   * What to do with a position in other data than these (files were added, buckets changed): `refuse` (default), or
   * `continue` with the next epoch.
   */
  readonly changed?: "refuse" | "continue" | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface StreamSource<B> {
  readonly plan: EpochPlan;
  /** What positions are in. */
  readonly data: string;
  readonly load: (planned: PlannedBatch) => Promise<B>;
  /** Ends a batch that nobody took. */
  readonly drop: (batch: B) => void;
}

/**
 * An endless stream of batches, epoch after epoch. A part of a state that is saved: `restore` goes back to where the
 * stream stood.
 */
export class BatchStream<B> implements AsyncIterableIterator<B>, AsyncDisposable, Stateful {
  readonly #source: StreamSource<B>;
  readonly #options: StreamOptions;
  #position: DataPosition;
  /** In order; the first is the batch at `#position`. */
  #ahead: Promise<B>[] = [];
  #closed = false;

  /** @internal Streams come from `dataset.batches()`. */
  constructor(source: StreamSource<B>, options: StreamOptions) {
    this.#source = source;
    this.#options = options;
    this.#position = { epoch: 0, batch: 0, data: source.data };
    if (options.from !== undefined) this.#position = this.#checked(options.from);
  }

  /** The batch that comes next. */
  get position(): DataPosition {
    return this.#position;
  }

  /**
   * The next batch.
   *
   * @throws MEDIA_INVALID when no sample of its bucket can be read; DECODER_MISSING, ABORTED, DISPOSED after close
   */
  async take(): Promise<B> {
    if (this.#closed) throw new HunyuanError("DISPOSED", "batches: this stream was closed", { op: "batches" });
    throwIfAborted("batches", this.#options.signal);
    const { prefetch = 2 } = this.#options;
    let at = this.#position;
    for (let i = 0; i <= prefetch; i++, at = this.#after(at)) {
      if (this.#ahead[i] !== undefined) continue;
      const batch = this.#source.load(this.#planned(at));
      // Whoever takes it hears of its failure; until then it must not end the process.
      batch.catch(() => undefined);
      this.#ahead.push(batch);
    }
    const first = this.#ahead.shift() as Promise<B>;
    this.#position = this.#after(this.#position);
    return first;
  }

  async next(): Promise<IteratorResult<B, undefined>> {
    return { done: false, value: await this.take() };
  }

  /** Called when a loop over the stream is left. */
  async return(): Promise<IteratorResult<B, undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Drops what was prepared. The position stays. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#drop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }

  data(): JsonValue {
    return { ...this.#position };
  }

  restore(data: JsonValue): void {
    if (!isPosition(data)) {
      const message = "batches: the saved position is not { epoch, batch, data }";
      throw new HunyuanError("CHECKPOINT_INVALID", message, { key: "data" });
    }
    void this.#drop();
    this.#position = this.#checked(data);
  }

  async #drop(): Promise<void> {
    const ahead = this.#ahead;
    this.#ahead = [];
    for (const batch of await Promise.allSettled(ahead)) {
      if (batch.status === "fulfilled") this.#source.drop(batch.value);
    }
  }

  #checked(position: DataPosition): DataPosition {
    const { data, plan } = this.#source;
    if (position.data === data && position.batch <= plan.batchesPerEpoch) {
      return position.batch === plan.batchesPerEpoch ? { epoch: position.epoch + 1, batch: 0, data } : { ...position };
    }
    if (this.#options.changed === "continue") return { epoch: position.epoch + 1, batch: 0, data };
    const message =
      'batches: the position is one in other data (files, captions, buckets, options or seed have changed); { changed: "continue" } goes on with the next epoch';
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "batches", argument: "from" });
  }

  #planned({ epoch, batch }: DataPosition): PlannedBatch {
    return this.#source.plan.epoch(epoch)[batch] as PlannedBatch;
  }

  #after({ epoch, batch, data }: DataPosition): DataPosition {
    const isLast = batch + 1 >= this.#source.plan.batchesPerEpoch;
    return isLast ? { epoch: epoch + 1, batch: 0, data } : { epoch, batch: batch + 1, data };
  }
}

function isPosition(value: JsonValue): value is { epoch: number; batch: number; data: string } {
  if (typeof value !== "object" || value === null || !("epoch" in value && "batch" in value && "data" in value)) {
    return false;
  }
  const isCount = (n: JsonValue | undefined) => Number.isSafeInteger(n) && (n as number) >= 0;
  return isCount(value.epoch) && isCount(value.batch) && typeof value.data === "string";
}
