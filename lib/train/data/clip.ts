/** Which frames and which part of the picture a clip takes, and the taking of them. */
import { planFit } from "../../io/media/fit.js";
import { readVideo } from "../../io/media/read.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { Bucket } from "./buckets.js";
import type { Draws } from "./draws.js";
import { framesAt, type MediaFacts } from "./facts.js";

/** How clips are cut out. */
export interface CutOptions {
  /** Frames per second that all clips are brought to. Default 24. */
  readonly fps?: number | undefined;
  /** Where in the picture: `random` (default) or its middle. */
  readonly place?: "random" | "centre" | undefined;
  /**
   * - `cover` (default): scaled until it just covers the bucket, then cut;
   * - `keep`: cut out of the pixels as they are; only what is smaller than the bucket is enlarged.
   */
  readonly scale?: "cover" | "keep" | undefined;
  /** Where in time: `random` (default) or from the `first` frame on. */
  readonly start?: "random" | "first" | undefined;
  /** Every frame, every second …: up to this interval, drawn each time as far as the clip is long enough. Default 1. */
  readonly maxInterval?: number | undefined;
}

/** A clip, exactly: two of the same file with the same cut have the same bytes. */
export interface Cut {
  readonly width: number;
  readonly height: number;
  readonly numFrames: number;
  /** Frames per second that are read: the data set's by the interval. */
  readonly fps: number;
  /** Seconds from the file's first frame. */
  readonly start: number;
  /** Frames at the data set's rate from one to the next. */
  readonly interval: number;
  /** The whole picture is brought to this size. */
  readonly inner: { readonly width: number; readonly height: number };
  /** Corner of what is taken of it. */
  readonly x: number;
  readonly y: number;
}

export const defaultFps = 24;

export function drawCut(facts: MediaFacts, bucket: Bucket, options: CutOptions, draws: Draws): Cut {
  const { fps = defaultFps, place = "random", scale = "cover", start = "random", maxInterval = 1 } = options;
  const { width, height, numFrames } = bucket;
  const there = framesAt(facts, fps);
  const longest = numFrames === 1 ? 1 : Math.floor((there - 1) / (numFrames - 1));
  const interval = 1 + draws.below(Math.max(1, Math.min(maxInterval, longest)));
  const free = Math.max(0, there - 1 - interval * (numFrames - 1));
  const first = start === "random" ? draws.below(free + 1) : 0;
  const fits = facts.width >= width && facts.height >= height;
  const inner =
    scale === "keep" && fits ? { width: facts.width, height: facts.height } : planFit(facts, { width, height }).inner;
  const at = (room: number) => (place === "random" ? draws.below(room + 1) : Math.floor(room / 2));
  const [x, y] = [at(inner.width - width), at(inner.height - height)];
  return { width, height, numFrames, fps: fps / interval, start: first / fps, interval, inner, x, y };
}

/**
 * The pixels, RGB8 [numFrames, height, width, 3].
 *
 * @throws MEDIA_INVALID, FILE_ERROR, DECODER_MISSING, ABORTED
 */
export async function loadCut(path: string, cut: Cut, signal?: AbortSignal): Promise<Uint8Array> {
  const { width, height, numFrames, inner } = cut;
  const source = await readVideo(path, {
    ...inner,
    ...{ fit: "fill", fps: cut.fps, start: cut.start, maxFrames: numFrames, signal },
  });
  const frameBytes = width * height * 3;
  const bytes = new Uint8Array(numFrames * frameBytes);
  let count = 0;
  for await (const frame of source.frames()) {
    copyPart(frame, cut, bytes.subarray(count * frameBytes, (count + 1) * frameBytes));
    count++;
  }
  if (count === numFrames) return bytes;
  const message = `${path}: gave ${count} frames from ${cut.start.toFixed(3)} s on, expected ${numFrames}`;
  throw new HunyuanError("MEDIA_INVALID", message, { file: path });
}

function copyPart(frame: Uint8Array, { width, height, inner, x, y }: Cut, into: Uint8Array): void {
  if (inner.width === width && inner.height === height) {
    into.set(frame);
    return;
  }
  for (let row = 0; row < height; row++) {
    const from = ((y + row) * inner.width + x) * 3;
    into.set(frame.subarray(from, from + width * 3), row * width * 3);
  }
}
