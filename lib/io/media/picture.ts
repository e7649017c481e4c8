/** Single pictures, in and out, through sharp. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp, { type Sharp } from "sharp";
import { checkNumber, checkOptions, invalid } from "../../runtime/check.js";
import { fileError, mediaInvalid, orAborted, reason, throwIfAborted } from "./abort.js";
import { writeAtomically } from "./atomic.js";
import { checkSize, planFit, type SizeOptions } from "./fit.js";
import { type PictureFormat, pictureFormatOf } from "./format.js";
import { checkedFrames, type FrameSource, maxPixels, type Picture } from "./frames.js";
import { completeMetadata, type MediaMetadata } from "./metadata.js";
import { toXmp } from "./xmp.js";

/** What one segment of a JPEG file holds, less its names. */
const maxJpegXmp = 65_000;
export const defaultQuality = 90;

/** Chained onto sharp: the format, and metadata as XMP. */
export function encodePicture(
  op: string,
  image: Sharp,
  format: PictureFormat,
  { quality = defaultQuality, metadata }: { quality?: number | undefined; metadata: MediaMetadata | undefined },
): Promise<Buffer> {
  let result = image;
  if (metadata !== undefined) {
    const xmp = toXmp(op, metadata);
    if (format === "jpg" && Buffer.byteLength(xmp) > maxJpegXmp) {
      throw invalid(op, "metadata", `${Buffer.byteLength(xmp)} bytes`, `at most ${maxJpegXmp} in a JPEG file`);
    }
    result = result.withXmp(xmp);
  }
  if (format === "png") return result.png().toBuffer();
  if (format === "webp") return result.webp({ quality, smartSubsample: true }).toBuffer();
  return result.jpeg({ quality, chromaSubsampling: "4:4:4" }).toBuffer();
}

export function rawPicture({ width, height }: { width: number; height: number }, data: Uint8Array): Sharp {
  return sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: maxPixels });
}

export interface WritePictureOptions {
  /** Default: what the path ends in. */
  readonly format?: PictureFormat | undefined;
  /** 1 … 100 for jpg and webp. Default 90. */
  readonly quality?: number | undefined;
  /** Default: the mark that the content was generated. `false`: none. */
  readonly metadata?: MediaMetadata | false | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes one picture as png, jpg or webp, whole or not at all.
 *
 * @throws INVALID_ARGUMENT, FILE_ERROR, ABORTED
 * @example
 * await writeImage("cat.png", { width: 64, height: 48, data }, { metadata: { prompt: "a cat", seed: 42 } });
 */
export async function writeImage(path: string, picture: Picture, options: WritePictureOptions = {}): Promise<void> {
  const op = "writeImage";
  checkOptions(op, options);
  const bytes = await encodeImage(picture, { ...options, format: options.format ?? pictureFormatOf(op, path) });
  await writeAtomically(op, path, (temporary) => writeFile(temporary, bytes));
}

/** The bytes of a png, jpg or webp file. Throws as {@link writeImage} does. */
export async function encodeImage(
  picture: Picture,
  options: WritePictureOptions & { readonly format: PictureFormat },
): Promise<Buffer> {
  const op = "encodeImage";
  const { format, quality, signal } = options;
  if (quality !== undefined) checkNumber(op, "quality", quality, { whole: true, min: 1, max: 100 });
  const metadata = completeMetadata(op, options.metadata);
  const { width, height, data } = picture;
  checkSize(op, { width, height });
  if (!(data instanceof Uint8Array) || data.length !== width * height * 3) {
    throw invalid(op, "data", data?.length, `a Uint8Array of ${width * height * 3} bytes (${width}×${height} RGB)`);
  }
  return orAborted(op, signal, encodePicture(op, rawPicture(picture, data), format, { quality, metadata }));
}

export interface ReadImageOptions extends SizeOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a picture (png, jpeg, webp, gif, avif, tiff) as RGB8: turned as its EXIF data says, colours in sRGB, without its
 * transparency, of an animation the first frame. With a size it is scaled and, by default, cut around its centre.
 *
 * @throws MEDIA_INVALID when it is no picture, is damaged, or has more than 64 megapixels; FILE_ERROR, ABORTED
 * @example
 * const { data } = await readImage("first-frame.jpg", { width: 1280, height: 720 });
 */
export async function readImage(from: string | Uint8Array, options: ReadImageOptions = {}): Promise<Picture> {
  const op = "readImage";
  checkOptions(op, options);
  checkSize(op, options);
  const { signal } = options;
  throwIfAborted(op, signal);
  const path = typeof from === "string" ? from : undefined;
  const bytes =
    typeof from === "string" ? await readFile(from).catch((e) => Promise.reject(fileError(op, from, e))) : from;
  return orAborted(op, signal, decodePicture(bytes, path, options));
}

async function decodePicture(bytes: Uint8Array, path: string | undefined, options: SizeOptions): Promise<Picture> {
  try {
    const input = sharp(bytes, { limitInputPixels: maxPixels });
    const { autoOrient } = await input.metadata();
    const image = resized(input.autoOrient(), autoOrient, options);
    const { data, info } = await rgb(image).toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data };
  } catch (cause) {
    throw mediaInvalid(path, `is no picture that can be read: ${reason(cause)}`, { cause });
  }
}

/** sRGB bytes, three a pixel, of whatever the picture had. */
export function rgb(image: Sharp): Sharp {
  return image.toColourspace("srgb").removeAlpha().raw({ depth: "uchar" });
}

/** The picture in the size that is asked for; cubic, with as many neighbours as the scale needs. */
export function resized(image: Sharp, from: { width: number; height: number }, options: SizeOptions): Sharp {
  if (options.width === undefined && options.height === undefined) return image;
  const { width, height } = planFit(from, options);
  const { fit = "cover" } = options;
  return image.resize(width, height, { fit, kernel: "cubic", position: "centre", background: "black" });
}

const framePattern = /^frame-\d{5,}\.png$/;
export const isFrameName = (name: string): boolean => framePattern.test(name);

/** `frame-00000.png` … in a folder. */
export async function writeFrames(
  op: string,
  folder: string,
  source: FrameSource,
  { metadata, signal, onFrame }: Pick<FrameWriting, "metadata" | "signal" | "onFrame">,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  let index = 0;
  for await (const frame of checkedFrames(op, source)) {
    throwIfAborted(op, signal);
    const bytes = await encodePicture(op, rawPicture(source, frame), "png", { metadata });
    await writeFile(join(folder, `frame-${String(index).padStart(5, "0")}.png`), bytes);
    index++;
    onFrame(index);
  }
}

/** How frames are written, all checked and with defaults put in. */
export interface FrameWriting {
  readonly quality: number | undefined;
  readonly metadata: MediaMetadata | undefined;
  readonly signal: AbortSignal | undefined;
  /** Called with the number of frames that were taken in. */
  readonly onFrame: (frames: number) => void;
}
