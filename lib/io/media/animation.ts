/** gif and animated webp through sharp, in and out. Works wherever sharp does, so everywhere. */
import { readFile } from "node:fs/promises";
import sharp from "sharp";
import { fileError, mediaInvalid, orAborted, reason, throwIfAborted } from "./abort.js";
import { checkSize, planFit, type SizeOptions } from "./fit.js";
import { checkedFrames, type FrameSource, maxPixels } from "./frames.js";
import { readGif, withXmp } from "./gif-blocks.js";
import { defaultQuality, type FrameWriting, resized, rgb } from "./picture.js";
import { frameDelays, rateOfDelays } from "./timing.js";
import { toXmp } from "./xmp.js";

/** Of 1 … 10. sharp's default of 7 takes twice as long for files 5 % smaller: a second a frame at 720p. */
const gifEffort = 3;

/**
 * The bytes of an animation that plays for ever. sharp takes all frames at once (`numFrames × width × height × 3` bytes)
 * and cannot be stopped: after an abort its thread works on unheard.
 */
export async function encodeAnimation(
  op: string,
  source: FrameSource,
  format: "gif" | "webp",
  writing: FrameWriting,
): Promise<Buffer> {
  const { width, height, fps, numFrames } = source;
  const bytes = width * height * 3;
  const joined = Buffer.alloc(bytes * numFrames);
  let index = 0;
  for await (const frame of checkedFrames(op, source)) {
    throwIfAborted(op, writing.signal);
    joined.set(frame, index * bytes);
    index++;
    writing.onFrame(index);
  }
  const raw = { width, height: height * numFrames, channels: 3, pageHeight: height } as const;
  const delay = frameDelays(fps, numFrames, format);
  const image = sharp(joined, { raw, limitInputPixels: false });
  const xmp = writing.metadata === undefined ? undefined : toXmp(op, writing.metadata);
  if (format === "gif") {
    const gif = await orAborted(op, writing.signal, image.gif({ delay, loop: 0, effort: gifEffort }).toBuffer());
    return xmp === undefined ? gif : withXmp(gif, xmp);
  }
  const quality = writing.quality ?? defaultQuality;
  const animated = xmp === undefined ? image : image.withXmp(xmp);
  return orAborted(op, writing.signal, animated.webp({ delay, loop: 0, quality, smartSubsample: true }).toBuffer());
}

/** All frames of a gif or webp file; a picture that does not move is one frame. */
export interface Animation {
  readonly width: number;
  readonly height: number;
  /** ms of each frame. */
  readonly delays: readonly number[];
  readonly fps: number;
  /** Frames `first` up to `end`, RGB8, of the wanted size. */
  decode(first: number, end: number): Promise<Uint8Array[]>;
}

/** @throws FILE_ERROR, MEDIA_INVALID when the file is damaged or was cut off */
export async function openAnimation(
  op: string,
  path: string,
  format: "gif" | "webp",
  size: SizeOptions,
): Promise<Animation> {
  checkSize(op, size);
  const bytes = await readFile(path).catch((cause) => Promise.reject(fileError(op, path, cause)));
  const broken = (cause: unknown) => mediaInvalid(path, `cannot be read: ${reason(cause)}`, { cause });
  const inGif = format === "gif" ? readGif(bytes, path).numFrames : undefined;
  const input = { limitInputPixels: false } as const;
  const found = await sharp(bytes, { ...input, animated: true })
    .metadata()
    .catch((cause) => Promise.reject(broken(cause)));
  const numFrames = found.pages ?? 1;
  const from = { width: found.width, height: found.pageHeight ?? found.height };
  if (from.width * from.height > maxPixels) {
    throw mediaInvalid(path, `has frames of ${from.width}×${from.height}, expected at most ${maxPixels} pixels`);
  }
  if (inGif !== undefined && inGif !== numFrames) {
    throw mediaInvalid(path, `has ${inGif} frames, of which ${numFrames} can be decoded`);
  }
  const delays = found.delay ?? Array.from({ length: numFrames }, () => 0);
  const plan = planFit(from, size);
  async function decode(first: number, end: number): Promise<Uint8Array[]> {
    const pages = end - first;
    const opened = sharp(bytes, { ...input, page: first, pages });
    const data = await rgb(resized(opened, from, size))
      .toBuffer()
      .catch((cause) => Promise.reject(broken(cause)));
    const length = plan.width * plan.height * 3;
    if (data.length !== length * pages) throw mediaInvalid(path, `gave ${data.length} bytes for ${pages} frames`);
    return Array.from({ length: pages }, (_, i) => data.subarray(i * length, (i + 1) * length));
  }
  return { width: plan.width, height: plan.height, delays, fps: rateOfDelays(delays, format), decode };
}
