/** A data set: samples sorted into buckets, and batches of their pixels. B clips of T frames of H × W pixels. */
import { createHash } from "node:crypto";
import { checkFlag, checkNumber, checkOneOf, checkOptions, invalid } from "../../runtime/check.js";
import { HunyuanError } from "../../runtime/errors.js";
import { type Bucket, checkBuckets, chooseBucket, chooseImageBucket } from "./buckets.js";
import { type CutOptions, defaultFps, drawCut, loadCut } from "./clip.js";
import { Draws } from "./draws.js";
import { FactsStore, framesAt, type MediaFacts } from "./facts.js";
import { EpochPlan, type PlannedBatch, type Pool } from "./plan.js";
import { findSamples, type Sample, type Skipped } from "./samples.js";
import { isOfOneFile, reasonOf } from "./skipped.js";
import { BatchStream, type StreamOptions } from "./stream.js";

export interface DatasetOptions extends CutOptions {
  readonly buckets: readonly Bucket[];
  /** Decides order, crops and captions. Default 0. */
  readonly seed?: number | undefined;
  /** Share of batches that are of pictures, 0 up to but not including 1. Default: every picture once an epoch. */
  readonly imageRatio?: number | undefined;
  /** Frames of videos serve as pictures too. Default false. */
  readonly framesAsImages?: boolean | undefined;
  /** Samples without a caption: `optional` (default) gives them an empty one, `required` leaves them out. */
  readonly captions?: "optional" | "required" | undefined;
  /** A folder in which sizes, lengths and hashes of files are remembered. Default: they are looked at each time. */
  readonly cacheFolder?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called while the files are looked at. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** A sample that can be used. */
export interface DatasetSample extends Sample, MediaFacts {
  /** Indexes of the buckets it is in: one, and with `framesAsImages` that of pictures. */
  readonly buckets: readonly number[];
}

/** What a batch is of, whatever its data are. */
export interface BatchLabels {
  readonly bucket: Bucket;
  readonly captions: readonly string[];
  /** Of the samples. */
  readonly ids: readonly string[];
  readonly epoch: number;
  /** In its epoch. */
  readonly index: number;
}

export interface ClipBatch extends BatchLabels {
  /** RGB8 [B, T, H, W, 3]. */
  readonly pixels: Uint8Array;
  readonly shape: readonly [b: number, t: number, h: number, w: number, c: 3];
}

const filesAtOnce = 4;

export class Dataset {
  /** Absolute; what sample ids are relative to. */
  readonly root: string;
  readonly options: DatasetOptions;
  /** By id. */
  readonly samples: readonly DatasetSample[];
  /** @internal */
  readonly store: FactsStore;
  readonly #plan: EpochPlan;
  readonly #skipped: Map<string, Skipped>;
  readonly #identity: string;

  /** @internal Data sets come from {@link openDataset}. */
  constructor(
    root: string,
    samples: readonly DatasetSample[],
    skipped: readonly Skipped[],
    store: FactsStore,
    options: DatasetOptions,
  ) {
    this.root = root;
    this.options = options;
    this.samples = samples;
    this.store = store;
    this.#skipped = new Map(skipped.map((one) => [one.id, one]));
    this.#plan = planOf(options, (bucket) =>
      samples.flatMap((sample, index) => (sample.buckets.includes(bucket) ? [index] : [])),
    );
    this.#identity = identityOf(samples, options);
  }

  /** What was left out until now, and why; files that turn out to be damaged when they are decoded are added. */
  get skipped(): readonly Skipped[] {
    return [...this.#skipped.values()];
  }

  /** A hash of samples, buckets and options: what positions and caches hold on to. */
  get identity(): string {
    return this.#identity;
  }

  get batchesPerEpoch(): number {
    return this.#plan.batchesPerEpoch;
  }

  /**
   * Batches without end, prepared ahead on other threads. The same seed gives the same bytes, from any position on.
   *
   * @throws INVALID_ARGUMENT for a position in other data
   * @example
   * const stream = data.batches({ from: saved?.position, prefetch: 4 });
   * for await (const { pixels, shape, captions } of stream) { … }
   */
  batches(options: StreamOptions = {}): BatchStream<ClipBatch> {
    checkOptions("batches", options);
    const load = (planned: PlannedBatch) => this.#load(planned, options.signal);
    return new BatchStream({ plan: this.#plan, data: this.#identity, load, drop: () => undefined }, options);
  }

  /** Notes that a sample cannot be used. @internal */
  skip(sample: DatasetSample, error: unknown): void {
    if (!isOfOneFile(error)) throw error;
    this.#skipped.set(sample.id, { id: sample.id, reason: reasonOf(error) });
  }

  async #load(planned: PlannedBatch, signal: AbortSignal | undefined): Promise<ClipBatch> {
    const { bucket } = this.#plan.pools[planned.pool] as Pool;
    const { width, height, numFrames } = bucket;
    const clipBytes = width * height * numFrames * 3;
    const pixels = new Uint8Array(planned.items.length * clipBytes);
    const labels: { caption: string; id: string }[] = [];
    for (let from = 0; from < planned.items.length; from += filesAtOnce) {
      const some = planned.items.slice(from, from + filesAtOnce).map(async (_, i) => {
        const { bytes, ...label } = await this.#loadSlot(planned, bucket, from + i, signal);
        pixels.set(bytes, (from + i) * clipBytes);
        labels[from + i] = label;
      });
      for (const one of await Promise.allSettled(some)) if (one.status === "rejected") throw one.reason;
    }
    return {
      ...{ bucket, pixels, shape: [planned.items.length, numFrames, height, width, 3] },
      captions: labels.map(({ caption }) => caption),
      ids: labels.map(({ id }) => id),
      ...{ epoch: planned.epoch, index: planned.index },
    };
  }

  /** One clip of a batch; when its file is damaged, that of another sample of the bucket. */
  async #loadSlot(planned: PlannedBatch, bucket: Bucket, slot: number, signal: AbortSignal | undefined) {
    const { seed = 0 } = this.options;
    for (const item of [planned.items[slot] as number, ...this.#plan.replacements(planned, slot)]) {
      const sample = this.samples[item] as DatasetSample;
      if (this.#skipped.has(sample.id)) continue;
      const draws = new Draws("clip", seed, planned.epoch, planned.index, slot, sample.id);
      try {
        const caption = sample.captions.length > 0 ? draws.pick(sample.captions) : "";
        const bytes = await loadCut(sample.path, drawCut(sample, bucket, this.options, draws), signal);
        return { bytes, caption, id: sample.id };
      } catch (error) {
        this.skip(sample, error);
      }
    }
    throw noneLeft(this.root, bucket, this.skipped);
  }
}

function noneLeft(root: string, { width, height, numFrames }: Bucket, skipped: readonly Skipped[]): HunyuanError {
  const last = skipped.at(-1);
  const message = `${root}: no sample of the bucket ${width}x${height}x${numFrames} can be read; the last: ${last?.id}: ${last?.reason}`;
  return new HunyuanError("MEDIA_INVALID", message, { file: root });
}

/** @internal The order of batches of a data set's buckets. */
export function planOf(
  { buckets, seed = 0, imageRatio }: DatasetOptions,
  itemsOf: (bucket: number) => readonly number[],
): EpochPlan {
  const pools = buckets.map((bucket, i) => ({ bucket, items: itemsOf(i) }));
  return new EpochPlan(pools, { seed, imageRatio });
}

function identityOf(samples: readonly DatasetSample[], options: DatasetOptions): string {
  const { cacheFolder: _folder, signal: _signal, onProgress: _progress, ...deciding } = options;
  // Neither paths nor dates: a data set may move.
  const list = samples.map(({ path: _path, ...facts }) => facts);
  return createHash("sha256")
    .update(JSON.stringify([deciding, list]))
    .digest("hex")
    .slice(0, 32);
}

/**
 * Opens a folder of videos and pictures with their captions, or a JSONL file ({@link findSamples} says how they may look).
 * Each file's header is read; what is damaged, too short for every bucket, or of no use is left out and listed in
 * `skipped`.
 *
 * @throws FILE_ERROR when there is no such folder; DECODER_MISSING for videos where nothing decodes them;
 * INVALID_ARGUMENT, also when no sample is left; ABORTED
 * @example
 * const data = await openDataset("clips", { buckets: [{ width: 64, height: 64, numFrames: 17, batchSize: 8 }], seed: 1 });
 * for (const { id, reason } of data.skipped) console.warn(id, reason);
 */
export async function openDataset(source: string, options: DatasetOptions): Promise<Dataset> {
  checkDatasetOptions(options);
  const { cacheFolder, signal, onProgress } = options;
  const found = await findSamples(source);
  const store = await FactsStore.open(cacheFolder);
  const samples: DatasetSample[] = [];
  const skipped = [...found.skipped];
  let done = 0;
  for (let from = 0; from < found.samples.length; from += filesAtOnce) {
    const some = found.samples.slice(from, from + filesAtOnce).map(async (sample) => {
      const facts = await store.facts(sample.path, signal);
      return { ...sample, ...facts, ...sorted(sample, facts, options) };
    });
    for (const [i, one] of (await Promise.allSettled(some)).entries()) {
      const { id = "" } = found.samples[from + i] ?? {};
      if (one.status === "rejected" && !isOfOneFile(one.reason)) throw one.reason;
      if (one.status === "rejected") skipped.push({ id, reason: reasonOf(one.reason) });
      else if ("reason" in one.value) skipped.push({ id, reason: one.value.reason });
      else samples.push(one.value);
      onProgress?.({ done: ++done, total: found.samples.length });
    }
  }
  if (samples.length > 0) return new Dataset(found.root, samples, skipped, store, options);
  const [first] = skipped;
  const why = first === undefined ? "there is no video or picture" : `${first.id}: ${first.reason}`;
  throw invalid("openDataset", "source", source, `a folder or JSONL file with samples that can be used (${why})`);
}

function checkDatasetOptions(options: DatasetOptions): void {
  const op = "openDataset";
  checkOptions(op, options);
  checkBuckets(op, options.buckets);
  const { seed = 0, fps = defaultFps, imageRatio, maxInterval = 1, framesAsImages = false } = options;
  checkNumber(op, "seed", seed, { whole: true, min: 0 });
  checkNumber(op, "fps", fps, { above: 0, max: 1000 });
  checkNumber(op, "maxInterval", maxInterval, { whole: true, min: 1 });
  if (imageRatio !== undefined && !(imageRatio >= 0 && imageRatio < 1)) {
    throw invalid(op, "imageRatio", imageRatio, "a number from 0 up to but not including 1");
  }
  checkFlag(op, "framesAsImages", framesAsImages);
  checkOneOf(op, "place", options.place ?? "random", ["random", "centre"]);
  checkOneOf(op, "scale", options.scale ?? "cover", ["cover", "keep"]);
  checkOneOf(op, "start", options.start ?? "random", ["random", "first"]);
  checkOneOf(op, "captions", options.captions ?? "optional", ["optional", "required"]);
}

/** The buckets of a sample, or why it is in none. @internal */
export function sorted(
  sample: Sample,
  facts: MediaFacts,
  { buckets, fps = defaultFps, framesAsImages, captions }: DatasetOptions,
): { readonly buckets: readonly number[] } | { readonly reason: string } {
  if (captions === "required" && sample.captions.length === 0) return { reason: "has no caption" };
  const frames = framesAt(facts, fps);
  const size = { width: facts.width, height: facts.height, frames };
  const own = chooseBucket(buckets, size);
  const image = framesAsImages === true ? chooseImageBucket(buckets, size) : undefined;
  const chosen = new Set([own, image].filter((index) => index !== undefined));
  if (chosen.size > 0) return { buckets: [...chosen] };
  if (facts.numFrames === 1) return { reason: "is a picture, and no bucket is of one frame" };
  const lengths = buckets.map(({ numFrames }) => numFrames).filter((n) => n > 1);
  if (lengths.length === 0) return { reason: "is a video, and every bucket is of one frame" };
  const count = `${frames} frame${frames === 1 ? "" : "s"}`;
  return { reason: `has ${count} at ${fps} fps, the shortest bucket takes ${Math.min(...lengths)}` };
}
