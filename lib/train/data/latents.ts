/**
 * Latents of a data set, encoded once and kept on disk, and batches of them. An autoencoder that is not trained has the
 * same answer each time, and reading it takes a thousandth of the work. [B, T, H, W, C] latents.
 */
import { createHash } from "node:crypto";
import { throwIfAborted } from "../../io/media/abort.js";
import type { Posterior } from "../../models/vae/posterior.js";
import { checkNumber, checkOptions } from "../../runtime/check.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { isFloat } from "../../tensor/dtype.js";
import { readBytes } from "../../tensor/file.js";
import { showShape } from "../../tensor/shape.js";
import { Tensor } from "../../tensor/tensor.js";
import type { Bucket } from "./buckets.js";
import { type Cut, drawCut, loadCut } from "./clip.js";
import { type BatchLabels, type Dataset, type DatasetSample, planOf } from "./dataset.js";
import { Draws } from "./draws.js";
import { pixelsOf } from "./pixels.js";
import type { EpochPlan, PlannedBatch, Pool } from "./plan.js";
import { BatchStream, type StreamOptions } from "./stream.js";
import type { CacheEntry, TensorCache } from "./tensor-cache.js";

export interface CacheLatentsOptions {
  /** Opened with the identity of the autoencoder: other weights have other latents. */
  readonly cache: TensorCache;
  readonly device: Device;
  /**
   * The autoencoder: pixels [B, T, H, W, 3] in −1 … 1, lent, to the distribution of their latents, which is disposed of
   * here.
   */
  readonly encode: (pixels: Tensor<"f32">) => Posterior | Promise<Posterior>;
  /** So many different crops of each sample are kept; batches draw among them. Default 1. */
  readonly variants?: number | undefined;
  /** Clips that are encoded at once. Default: the bucket's batch size. */
  readonly batchSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** Latents of a sample in one bucket. */
interface Row {
  readonly sample: DatasetSample;
  readonly bucket: number;
  /** One for each variant that could be made; at least one. */
  readonly keys: readonly string[];
}

/** A clip that is to be encoded. */
interface Job {
  readonly sample: DatasetSample;
  readonly cut: Cut;
  readonly key: string;
}

export interface LatentBatch extends BatchLabels, Disposable {
  /** Mean of the latents' distribution [B, T, H, W, C], unscaled, in the type it was encoded in. */
  readonly mean: Tensor;
  /** Natural logarithm of the variance, like `mean`. */
  readonly logvar: Tensor;
  dispose(): void;
}

/**
 * Encodes what is not in the cache yet. May be interrupted at any time: what is done stays done. Files that turn out to be
 * damaged are skipped and listed in `data.skipped`.
 *
 * @throws ABORTED, MEDIA_INVALID when nothing can be read, and the encoder's errors
 * @example
 * const latents = await cacheLatents(data, { cache, device, encode: (pixels) => vae.encode(pixels) });
 * await using stream = latents.batches({ device });
 * using batch = await stream.take();
 */
export async function cacheLatents(data: Dataset, options: CacheLatentsOptions): Promise<CachedLatents> {
  const op = "cacheLatents";
  checkOptions(op, options);
  const { cache, variants = 1, batchSize, onProgress, signal } = options;
  checkNumber(op, "variants", variants, { whole: true, min: 1 });
  const perBucket = await planJobs(data, variants, signal);
  const total = perBucket.reduce((sum, jobs) => sum + jobs.length, 0);
  let done = 0;
  const advance = (jobs: number) => {
    done += jobs;
    onProgress?.({ done, total });
  };
  for (const [i, jobs] of perBucket.entries()) {
    // Equal files, and variants that were drawn alike, are encoded once.
    const missing = [...new Map(jobs.map((job) => [job.key, job])).values()].filter(({ key }) => !cache.has(key));
    advance(jobs.length - missing.length);
    await encodeAll(data, missing, batchSize ?? (data.options.buckets[i] as Bucket).batchSize, options, advance);
  }
  return new CachedLatents(data, rowsOf(perBucket, cache), cache, variants);
}

/** What each bucket needs. Keys are of content: a file that was renamed is not encoded again. */
async function planJobs(data: Dataset, variants: number, signal: AbortSignal | undefined): Promise<Job[][]> {
  const { buckets, seed = 0 } = data.options;
  const jobs: Job[][] = buckets.map(() => []);
  for (const sample of data.samples) {
    throwIfAborted("cacheLatents", signal);
    const hash = await data.store.hash(sample.path).catch((error: unknown) => data.skip(sample, error));
    if (hash === undefined) continue;
    for (const bucket of sample.buckets) {
      for (let variant = 0; variant < variants; variant++) {
        const draws = new Draws("latents", seed, hash, bucket, variant);
        const cut = drawCut(sample, buckets[bucket] as Bucket, data.options, draws);
        const key = createHash("sha256")
          .update(JSON.stringify([hash, cut]))
          .digest("hex")
          .slice(0, 32);
        jobs[bucket]?.push({ sample, cut, key });
      }
    }
  }
  return jobs;
}

function rowsOf(perBucket: readonly (readonly Job[])[], cache: TensorCache): Row[] {
  return perBucket.flatMap((jobs, bucket) => {
    const bySample = new Map<DatasetSample, Set<string>>();
    for (const { sample, key } of jobs) {
      if (!cache.has(key)) continue;
      const keys = bySample.get(sample) ?? new Set();
      bySample.set(sample, keys.add(key));
    }
    return [...bySample].map(([sample, keys]) => ({ sample, bucket, keys: [...keys] }));
  });
}

type Loaded = { readonly job: Job; readonly bytes: Uint8Array }[];

/** While one batch is encoded, the files of the next are read. */
async function encodeAll(
  data: Dataset,
  jobs: readonly Job[],
  batchSize: number,
  options: CacheLatentsOptions,
  advance: (jobs: number) => void,
): Promise<void> {
  const { signal } = options;
  const batches = Array.from({ length: Math.ceil(jobs.length / batchSize) }, (_, i) =>
    jobs.slice(i * batchSize, (i + 1) * batchSize),
  );
  const load = (batch: readonly Job[] | undefined) => {
    const loading = Promise.all((batch ?? []).map((job) => loadJob(data, job, signal)));
    loading.catch(() => undefined);
    return loading;
  };
  let next = load(batches[0]);
  for (const [i, batch] of batches.entries()) {
    const loaded = (await next).flat();
    throwIfAborted("cacheLatents", signal);
    next = load(batches[i + 1]);
    if (loaded.length > 0) await encodeBatch(loaded, options);
    advance(batch.length);
  }
}

async function loadJob(data: Dataset, job: Job, signal: AbortSignal | undefined): Promise<Loaded> {
  try {
    return [{ job, bytes: await loadCut(job.sample.path, job.cut, signal) }];
  } catch (error) {
    data.skip(job.sample, error);
    return [];
  }
}

async function encodeBatch(loaded: Loaded, { cache, device, encode }: CacheLatentsOptions): Promise<void> {
  const [
    {
      job: { cut },
    },
  ] = loaded as [Loaded[number]];
  const { numFrames, height, width } = cut;
  const shape = [loaded.length, numFrames, height, width, 3] as const;
  using pixels = pixelsOf({ pixels: Buffer.concat(loaded.map(({ bytes }) => bytes)), shape }, { device });
  const { mean, logvar } = await encode(pixels);
  try {
    const parts = { mean: await bytesOfEach(mean, loaded.length), logvar: await bytesOfEach(logvar, loaded.length) };
    const entries = loaded.map(({ job }, i): CacheEntry => {
      const of = (x: Tensor, bytes: Uint8Array[]) => ({
        dtype: x.dtype,
        shape: x.shape.slice(1),
        bytes: bytes[i] as Uint8Array,
      });
      return { key: job.key, tensors: { mean: of(mean, parts.mean), logvar: of(logvar, parts.logvar) } };
    });
    await cache.put(entries);
  } finally {
    mean.dispose();
    logvar.dispose();
  }
}

/** The bytes of each sample of a batch. */
async function bytesOfEach(x: Tensor, count: number): Promise<Uint8Array[]> {
  if (!isFloat(x.dtype) || x.rank !== 5 || x.shape[0] !== count) {
    const message = `cacheLatents: encode gave ${x.dtype} ${showShape(x.shape)}, expected floats [${count}, T, H, W, C]`;
    throw new HunyuanError("SHAPE_MISMATCH", message, { op: "cacheLatents", argument: "encode", shapes: [x.shape] });
  }
  const dense = x.isDense ? x : Tensor.toDense(x, x.dtype);
  try {
    const all = await readBytes(dense);
    const each = all.length / count;
    return Array.from({ length: count }, (_, i) => all.subarray(i * each, (i + 1) * each));
  } finally {
    if (dense !== x) dense.dispose();
  }
}

/** A data set whose batches are latents. */
export class CachedLatents {
  readonly identity: string;
  readonly #data: Dataset;
  readonly #rows: readonly Row[];
  readonly #cache: TensorCache;
  readonly #plan: EpochPlan;

  /** @internal They come from {@link cacheLatents}. */
  constructor(data: Dataset, rows: readonly Row[], cache: TensorCache, variants: number) {
    if (rows.length === 0) {
      const [first] = data.skipped;
      const message = `${data.root}: no sample could be encoded; ${first?.id}: ${first?.reason}`;
      throw new HunyuanError("MEDIA_INVALID", message, { file: data.root });
    }
    this.#data = data;
    this.#rows = rows;
    this.#cache = cache;
    this.#plan = planOf(data.options, (bucket) => rows.flatMap((row, index) => (row.bucket === bucket ? [index] : [])));
    const list = rows.map(({ sample, keys }) => [sample.id, keys]);
    const text = JSON.stringify([data.identity, variants, list]);
    this.identity = createHash("sha256").update(text).digest("hex").slice(0, 32);
  }

  /** Samples with latents. */
  get size(): number {
    return this.#rows.length;
  }

  get batchesPerEpoch(): number {
    return this.#plan.batchesPerEpoch;
  }

  /**
   * Batches without end, as {@link Dataset.batches}. Their tensors are read on the device's transfer lane and are the
   * caller's to dispose of; close the stream at the end, for those that were prepared.
   */
  batches(options: StreamOptions & { readonly device: Device }): BatchStream<LatentBatch> {
    checkOptions("batches", options);
    // async, so that what is thrown at once comes as a rejection too.
    const load = async (planned: PlannedBatch) => this.#load(planned, options.device);
    const drop = (batch: LatentBatch) => batch.dispose();
    return new BatchStream({ plan: this.#plan, data: this.identity, load, drop }, options);
  }

  #load({ epoch, index, pool, items }: PlannedBatch, device: Device): LatentBatch {
    const { seed = 0 } = this.#data.options;
    const chosen = items.map((item, slot) => {
      const { sample, keys } = this.#rows[item] as Row;
      const draws = new Draws("latent", seed, epoch, index, slot);
      const caption = sample.captions.length > 0 ? draws.pick(sample.captions) : "";
      return { id: sample.id, caption, key: draws.pick(keys) };
    });
    const read = (name: string) => {
      const tensor = this.#cache.read(
        device,
        chosen.map(({ key }) => key),
        name,
      );
      // The batch's, not that of whatever scope is open where it was asked for.
      tensor.moveTo(undefined);
      return tensor;
    };
    const [mean, logvar] = [read("mean"), read("logvar")];
    const dispose = () => {
      mean.dispose();
      logvar.dispose();
    };
    return {
      ...{ bucket: (this.#plan.pools[pool] as Pool).bucket, epoch, index, mean, logvar, dispose },
      captions: chosen.map(({ caption }) => caption),
      ids: chosen.map(({ id }) => id),
      [Symbol.dispose]: dispose,
    };
  }
}
