/** Buckets: the sizes and lengths that clips are cut to, so that a batch has one shape. */
import { checkNumber, invalid } from "../../runtime/check.js";

/** One shape of clip. */
export interface Bucket {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** 1: pictures. */
  readonly numFrames: number;
  /** Clips in a batch. */
  readonly batchSize: number;
}

/** What a bucket is chosen by. `frames` is how many there are at the rate of the data set. */
export interface ClipSize {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
}

/** @throws INVALID_ARGUMENT for an empty list or a bucket that has no clips, no pixels or no frames */
export function checkBuckets(op: string, buckets: readonly Bucket[]): void {
  if (!Array.isArray(buckets) || buckets.length === 0) {
    throw invalid(op, "buckets", buckets, "at least one { width, height, numFrames, batchSize }");
  }
  for (const [i, bucket] of buckets.entries()) {
    for (const key of ["width", "height", "numFrames", "batchSize"] as const) {
      checkNumber(op, `buckets[${i}].${key}`, bucket[key], { whole: true, min: 1, max: 2 ** 20 });
    }
  }
}

/** @example showBucket({ width: 960, height: 544, numFrames: 129, batchSize: 2 }) // "960x544x129:2" */
export function showBucket({ width, height, numFrames, batchSize }: Bucket): string {
  return `${width}x${height}x${numFrames}${batchSize === 1 ? "" : `:${batchSize}`}`;
}

/** The bucket of a text like "960x544x129:2" (width × height × frames : batch size, default 1), else undefined. */
export function bucketOf(text: string): Bucket | undefined {
  const found = /^(\d{1,6})[x×](\d{1,6})[x×](\d{1,6})(?::(\d{1,6}))?$/.exec(text.trim());
  if (found === null) return undefined;
  const [width = 0, height = 0, numFrames = 0, batchSize = 1] = found.slice(1).map((n) => Number(n ?? 1));
  return Math.min(width, height, numFrames, batchSize) < 1 ? undefined : { width, height, numFrames, batchSize };
}

export interface BucketGridOptions {
  /** About so many pixels a frame: 960 * 544. */
  readonly pixels: number;
  /** Width by height. Default 16:9, 4:3, 1:1, 3:4, 9:16. */
  readonly aspects?: readonly number[];
  /** Lengths. Default 1, 33, 65, 129. */
  readonly frames?: readonly number[];
  /** Both sides are multiples of this. Default 16: 8 pixels a latent, 2 latents a token. */
  readonly multiple?: number;
  /** Pixels of all frames of a batch; decides the batch sizes. Default: one clip of the longest. */
  readonly batchPixels?: number;
}

/**
 * Every length with every shape of about one area, as HunyuanVideo's training has it (report, §3.1): shorter clips come in
 * larger batches.
 *
 * @example bucketGrid({ pixels: 960 * 544, frames: [1, 65, 129] })
 */
export function bucketGrid(options: BucketGridOptions): Bucket[] {
  const { pixels, aspects = [16 / 9, 4 / 3, 1, 3 / 4, 9 / 16], frames = [1, 33, 65, 129], multiple = 16 } = options;
  checkNumber("bucketGrid", "pixels", pixels, { min: 1 });
  checkNumber("bucketGrid", "multiple", multiple, { whole: true, min: 1 });
  for (const numFrames of frames) checkNumber("bucketGrid", "frames", numFrames, { whole: true, min: 1 });
  for (const aspect of aspects) checkNumber("bucketGrid", "aspects", aspect, { above: 0 });
  const whole = (side: number) => Math.max(multiple, Math.round(side / multiple) * multiple);
  const batchPixels = options.batchPixels ?? pixels * Math.max(...frames);
  return frames.flatMap((numFrames) =>
    aspects.map((aspect) => {
      const [width, height] = [whole(Math.sqrt(pixels * aspect)), whole(Math.sqrt(pixels / aspect))];
      // Rounding the sides may take a longest clip just above the budget; it still is a batch.
      const batchSize = Math.max(1, Math.floor(batchPixels / (width * height * numFrames) + 0.05));
      return { width, height, numFrames, batchSize };
    }),
  );
}

/**
 * Index of the bucket that a clip goes to: the longest that it fills, of these the nearest in shape, of these the largest
 * that needs no enlarging (else the smallest). Undefined when it is too short for all.
 */
export function chooseBucket(buckets: readonly Bucket[], clip: ClipSize): number | undefined {
  const isImage = clip.frames === 1;
  const fitting = buckets.flatMap((bucket, index) =>
    (isImage ? bucket.numFrames === 1 : bucket.numFrames > 1 && bucket.numFrames <= clip.frames)
      ? [{ bucket, index }]
      : [],
  );
  const longest = Math.max(...fitting.map(({ bucket }) => bucket.numFrames));
  return nearest(
    fitting.filter(({ bucket }) => bucket.numFrames === longest),
    clip,
  );
}

/** Index of the bucket of pictures that fits best. */
export function chooseImageBucket(buckets: readonly Bucket[], clip: ClipSize): number | undefined {
  return nearest(
    buckets.flatMap((bucket, index) => (bucket.numFrames === 1 ? [{ bucket, index }] : [])),
    clip,
  );
}

function nearest(candidates: readonly { bucket: Bucket; index: number }[], clip: ClipSize): number | undefined {
  const off = ({ width, height }: Bucket) => Math.abs(Math.log((width / height) * (clip.height / clip.width)));
  const area = ({ width, height }: Bucket) => width * height;
  const enlarges = (bucket: Bucket) => bucket.width > clip.width || bucket.height > clip.height;
  const [best] = [...candidates].sort((a, b) => {
    const shape = off(a.bucket) - off(b.bucket);
    if (Math.abs(shape) > 1e-9) return shape;
    if (enlarges(a.bucket) !== enlarges(b.bucket)) return enlarges(a.bucket) ? 1 : -1;
    return enlarges(a.bucket) ? area(a.bucket) - area(b.bucket) : area(b.bucket) - area(a.bucket);
  });
  return best?.index;
}
