/** Clips to files and to bytes, in every format. */
import { appendFile, writeFile } from "node:fs/promises";
import { checkFunction, checkNumber, checkOptions, invalid } from "../../runtime/check.js";
import { fileError, throwIfAborted } from "./abort.js";
import { encodeAnimation } from "./animation.js";
import { writeAtomically, writeFolderAtomically, writeToBuffer } from "./atomic.js";
import { type VideoFormat, videoEncoder } from "./backend.js";
import { encodeSheet, planSheet, type SheetOptions } from "./contact-sheet.js";
import { defaultCrf, maxCrf } from "./encoder-settings.js";
import { evenSource } from "./even.js";
import { formatOf, type MediaFormat, type PictureFormat, pictureFormatOf } from "./format.js";
import { checkSource, type FrameSource, firstFrame } from "./frames.js";
import { completeMetadata, type MediaMetadata } from "./metadata.js";
import { xmpBox } from "./mp4-boxes.js";
import { encodePicture, type FrameWriting, isFrameName, rawPicture, writeFrames } from "./picture.js";
import { toXmp } from "./xmp.js";

export interface WriteProgress {
  /** Frames taken in so far; the last of them may still be on their way through the encoder. */
  readonly frame: number;
  readonly frames: number;
}

export interface WriteVideoOptions {
  /** Default: what the path ends in; a path without an extension is a folder of PNG frames. */
  readonly format?: MediaFormat | undefined;
  /** Frames per second. Default: the source's. */
  readonly fps?: number | undefined;
  /** mp4 0 … 51, default 17; webm 0 … 63, default 24. Lower is better and bigger. */
  readonly crf?: number | undefined;
  /** webp and jpg: 1 … 100, default 90. */
  readonly quality?: number | undefined;
  /** Default: software and the mark that the content was generated. `false`: none at all. */
  readonly metadata?: MediaMetadata | false | undefined;
  /** For the format `sheet`. */
  readonly sheet?: SheetOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: WriteProgress) => void) | undefined;
}

/** Everything checked, defaults put in. */
interface Writing extends FrameWriting {
  readonly op: string;
  readonly source: FrameSource;
  readonly format: MediaFormat;
  /** What `sheet` is written as; else nothing. */
  readonly sheetFormat: PictureFormat | undefined;
  readonly crf: number | undefined;
  readonly sheet: SheetOptions | undefined;
}

/**
 * Writes a clip. The file is there whole or not at all. mp4 (H.264) and webm (AV1) are 4:2:0 by BT.709: an odd width or
 * height grows by one, the last column or row repeated. GIF has at most 50 frames a second. A folder of frames that is
 * there already is replaced if it holds nothing else.
 *
 * @throws ENCODER_MISSING for mp4 and webm where neither node-av nor ffmpeg is installed; {@link checkEncoder} tells
 * before a long computation. INVALID_ARGUMENT, FILE_ERROR, ABORTED
 * @example
 * await writeVideo("cat.mp4", source, { crf: 15, metadata: { prompt: "a cat", seed: 42, settings: { steps: 50 } } });
 * await writeVideo("sheet.png", source, { format: "sheet", sheet: { frames: 9 } });
 */
export async function writeVideo(path: string, source: FrameSource, options: WriteVideoOptions = {}): Promise<void> {
  const op = "writeVideo";
  checkOptions(op, options);
  if (typeof path !== "string" || path === "") throw invalid(op, "path", path, "the path of a file or folder");
  const format = formatOf(op, path, options.format);
  const writing = checkWriting(op, source, { ...options, format }, () => pictureFormatOf(op, path));
  if (format === "frames") {
    await writeFolderAtomically(op, path, isFrameName, (folder) => writeFrames(op, folder, writing.source, writing));
  } else if (isVideo(format)) {
    await writeAtomically(op, path, (temporary) => encodeFile(temporary, format, writing));
  } else {
    const bytes = await encodeInMemory(writing);
    await writeAtomically(op, path, (temporary) => writeFile(temporary, bytes));
  }
}

/**
 * The bytes of a file of any format but `frames`; a `sheet` is a png. Throws as {@link writeVideo} does.
 *
 * @example
 * response.setHeader("content-type", "image/webp");
 * response.end(await encodeVideo(source, { format: "webp" }));
 */
export async function encodeVideo(
  source: FrameSource,
  options: WriteVideoOptions & { readonly format: Exclude<MediaFormat, "frames"> },
): Promise<Buffer> {
  const op = "encodeVideo";
  checkOptions(op, options);
  const format = formatOf(op, "", options.format);
  if (format === "frames") throw invalid(op, "format", format, "a format that is one file");
  const writing = checkWriting(op, source, { ...options, format }, () => "png");
  if (isVideo(format)) return writeToBuffer(op, (temporary) => encodeFile(temporary, format, writing));
  return encodeInMemory(writing);
}

/**
 * Whether a format, or a path's, can be written here: to be asked before hours are spent on a clip.
 *
 * @throws ENCODER_MISSING with what to install; INVALID_ARGUMENT
 */
export async function checkEncoder(path: string, format?: MediaFormat): Promise<void> {
  const wanted = formatOf("checkEncoder", path, format);
  if (isVideo(wanted)) await videoEncoder("checkEncoder", wanted);
}

function isVideo(format: MediaFormat): format is VideoFormat {
  return format === "mp4" || format === "webm";
}

function checkWriting(
  op: string,
  given: FrameSource,
  options: WriteVideoOptions & { readonly format: MediaFormat },
  sheetFormat: () => PictureFormat,
): Writing {
  const { format, crf, quality, sheet, signal, onProgress } = options;
  const { width, height, numFrames, fps } = given;
  const source: FrameSource = { width, height, numFrames, fps: options.fps ?? fps, frames: () => given.frames() };
  checkSource(op, source);
  if (crf !== undefined) checkNumber(op, "crf", crf, { min: 0, max: format === "webm" ? maxCrf.webm : maxCrf.mp4 });
  if (quality !== undefined) checkNumber(op, "quality", quality, { whole: true, min: 1, max: 100 });
  if (onProgress !== undefined) checkFunction(op, "onProgress", onProgress);
  const metadata = completeMetadata(op, options.metadata);
  if ((format === "png" || format === "jpg") && numFrames !== 1) {
    throw invalid(op, "numFrames", numFrames, `1 for ${format}; format "frames" or "sheet" takes more`);
  }
  if (format === "sheet") planSheet(op, source, sheet);
  throwIfAborted(op, signal);
  const onFrame = (frame: number) => onProgress?.({ frame, frames: numFrames });
  return {
    ...{ op, source, format, crf, quality, sheet, metadata, signal, onFrame },
    sheetFormat: format === "sheet" ? sheetFormat() : undefined,
  };
}

async function encodeFile(path: string, format: VideoFormat, writing: Writing): Promise<void> {
  const { op, source, metadata, signal, onFrame } = writing;
  const backend = await videoEncoder(op, format);
  const crf = writing.crf ?? defaultCrf[format];
  await backend.encode({ path, format, source: evenSource(source), crf, metadata, signal, onFrame });
  throwIfAborted(op, signal);
  // Behind everything else: no offset in the file changes.
  if (format === "mp4" && metadata !== undefined) await appendFile(path, xmpBox(toXmp(op, metadata)));
}

async function encodeInMemory(writing: Writing): Promise<Buffer> {
  try {
    return await encodeBytes(writing);
  } catch (error) {
    // What the encoders in sharp refuse: webp has at most 16383 pixels a side.
    throw fileError(writing.op, `a ${writing.format} of ${writing.source.width}×${writing.source.height}`, error);
  }
}

async function encodeBytes(writing: Writing): Promise<Buffer> {
  const { op, source, format } = writing;
  if (format === "gif" || format === "webp") return encodeAnimation(op, source, format, writing);
  if (writing.sheetFormat !== undefined) return encodeSheet(op, source, writing.sheetFormat, writing);
  const { data } = await firstFrame(op, source);
  const bytes = await encodePicture(op, rawPicture(source, data), format === "jpg" ? "jpg" : "png", writing);
  writing.onFrame(1);
  return bytes;
}
