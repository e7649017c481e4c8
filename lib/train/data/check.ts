/** What a data set is made of, and what is wrong with it: looked at without any intention to train. */
import { throwIfAborted } from "../../io/media/abort.js";
import { readVideo } from "../../io/media/read.js";
import type { Bucket } from "./buckets.js";
import { defaultFps } from "./clip.js";
import { sorted } from "./dataset.js";
import { FactsStore, type MediaFacts } from "./facts.js";
import { findSamples, type Sample, type Skipped } from "./samples.js";
import { reasonOf } from "./skipped.js";

export interface CheckDataOptions {
  /** Default: none, and no sample is too short. */
  readonly buckets?: readonly Bucket[] | undefined;
  /** Frames per second that clips are brought to. Default 24. */
  readonly fps?: number | undefined;
  readonly framesAsImages?: boolean | undefined;
  /** Whether every frame is decoded, which finds damage behind the header. Default true. */
  readonly decode?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?:
    | ((progress: { readonly done: number; readonly total: number; readonly id: string }) => void)
    | undefined;
}

/** How often something comes. */
export interface Count {
  readonly what: string;
  readonly count: number;
}

export interface DataReport {
  readonly source: string;
  readonly videos: number;
  readonly images: number;
  readonly bytes: number;
  /** Of the videos. */
  readonly seconds: {
    readonly total: number;
    readonly shortest: number;
    readonly median: number;
    readonly longest: number;
  };
  /** "1280x720", most frequent first. */
  readonly sizes: readonly Count[];
  /** Frames per second of the videos. */
  readonly rates: readonly Count[];
  /** Frames of the videos as they are. */
  readonly lengths: readonly Count[];
  /** Samples of each bucket, in the order of the buckets. */
  readonly buckets: readonly (Bucket & { readonly samples: number })[];
  /** In no bucket, and why. */
  readonly leftOut: readonly Skipped[];
  readonly broken: readonly Skipped[];
  readonly captions: { readonly total: number; readonly different: number };
  /** Samples without any. */
  readonly captionsMissing: readonly string[];
}

const filesAtOnce = 4;

type Checked = { readonly sample: Sample; readonly facts: MediaFacts };

/**
 * Looks at every file of a data set.
 *
 * @throws FILE_ERROR when there is no such folder; ABORTED. What is wrong inside, a missing decoder too, is in the report
 * @example const { broken } = await checkData("clips", { buckets: bucketGrid({ pixels: 960 * 544 }) });
 */
export async function checkData(source: string, options: CheckDataOptions = {}): Promise<DataReport> {
  const { signal, onProgress } = options;
  const found = await findSamples(source);
  const store = await FactsStore.open(undefined);
  const good: Checked[] = [];
  const broken: Skipped[] = [...found.skipped];
  let done = 0;
  for (let from = 0; from < found.samples.length; from += filesAtOnce) {
    const some = found.samples.slice(from, from + filesAtOnce);
    const results = await Promise.allSettled(some.map((sample) => checkFile(store, sample, options)));
    throwIfAborted("checkData", signal);
    for (const [i, result] of results.entries()) {
      const sample = some[i] as Sample;
      if (result.status === "fulfilled") good.push({ sample, facts: result.value });
      else broken.push({ id: sample.id, reason: reasonOf(result.reason) });
      onProgress?.({ done: ++done, total: found.samples.length, id: sample.id });
    }
  }
  return report(source, good, broken, options);
}

async function checkFile(store: FactsStore, { path }: Sample, options: CheckDataOptions): Promise<MediaFacts> {
  const { decode = true, signal } = options;
  const facts = await store.facts(path, signal);
  if (!decode) return facts;
  let frames = 0;
  for await (const _ of (await readVideo(path, { signal })).frames()) frames++;
  if (frames !== facts.numFrames) throw new Error(`gave ${frames} frames, its header promises ${facts.numFrames}`);
  return facts;
}

function report(source: string, good: readonly Checked[], broken: readonly Skipped[], options: CheckDataOptions) {
  const { buckets = [], fps = defaultFps, framesAsImages } = options;
  const videos = good.filter(({ facts }) => facts.numFrames > 1);
  const places = good.map(({ sample, facts }) => ({
    id: sample.id,
    ...sorted(sample, facts, { buckets, fps, framesAsImages }),
  }));
  const captions = good.flatMap(({ sample }) => sample.captions);
  const seconds = videos.map(({ facts }) => facts.numFrames / facts.fps).sort((a, b) => a - b);
  return {
    source,
    videos: videos.length,
    images: good.length - videos.length,
    bytes: good.reduce((sum, { facts }) => sum + facts.bytes, 0),
    seconds: {
      total: seconds.reduce((sum, one) => sum + one, 0),
      shortest: seconds[0] ?? 0,
      median: seconds[Math.floor(seconds.length / 2)] ?? 0,
      longest: seconds.at(-1) ?? 0,
    },
    sizes: counts(good.map(({ facts }) => `${facts.width}x${facts.height}`)),
    rates: counts(videos.map(({ facts }) => String(Math.round(facts.fps * 1000) / 1000))),
    lengths: counts(videos.map(({ facts }) => String(facts.numFrames))),
    buckets: buckets.map((bucket, i) => ({
      ...bucket,
      samples: places.filter((place) => "buckets" in place && place.buckets.includes(i)).length,
    })),
    leftOut:
      buckets.length === 0
        ? []
        : places.flatMap((place) => ("reason" in place ? [{ id: place.id, reason: place.reason }] : [])),
    broken,
    captions: { total: captions.length, different: new Set(captions).size },
    captionsMissing: good.filter(({ sample }) => sample.captions.length === 0).map(({ sample }) => sample.id),
  } satisfies DataReport;
}

function counts(all: readonly string[]): Count[] {
  const found = new Map<string, number>();
  for (const what of all) found.set(what, (found.get(what) ?? 0) + 1);
  return [...found].map(([what, count]) => ({ what, count })).sort((a, b) => b.count - a.count);
}
