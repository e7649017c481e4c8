/** Clips out of files: video through FFmpeg, animations and folders of pictures through sharp. */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { checkNumber, checkOptions } from "../../runtime/check.js";
import { fileError, mediaInvalid, throwIfAborted } from "./abort.js";
import { type Animation, openAnimation } from "./animation.js";
import { videoDecoder } from "./backend.js";
import { readWebmTags } from "./ebml.js";
import { checkSize, fitFilters, planFit, type SizeOptions } from "./fit.js";
import { kindOfFile } from "./format.js";
import { type FrameSource, maxPixels, type Picture } from "./frames.js";
import { readMp4Texts } from "./mp4-boxes.js";
import { readImage } from "./picture.js";
import { pickFrames, rateOfTimes } from "./timing.js";

export interface ReadVideoOptions extends SizeOptions {
  /** At most so many frames. Default: all. */
  readonly maxFrames?: number | undefined;
  /** Frames are left out or repeated so that they run at this rate. Default: every frame, at the file's rate. */
  readonly fps?: number | undefined;
  /** Seconds from the first frame. Default 0. */
  readonly start?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What pickFrames takes. */
interface Selection {
  readonly indexes: readonly number[];
  readonly fps: number;
}

/** Frames of an animation that are decoded at once: some, because each start decodes from the first. */
const decodeAtOnceBytes = 64 * 2 ** 20;
const pictureName = /\.(png|jpe?g|webp)$/i;
const folderRate = 24;

/**
 * Opens a clip: mp4, mov, webm, mkv and avi (these need node-av or ffmpeg), gif and webp; a picture is a clip of one
 * frame, and a folder of pictures one in the order of their names, at 24 frames a second. What the file is decides, not its
 * name. Frames are decoded when they are asked for; each is the caller's to keep. With a size, frames are scaled and cut around their centre
 * (`fit`).
 *
 * @throws MEDIA_INVALID when the file is none of these, is damaged, was cut off, or `start` is behind its end;
 * DECODER_MISSING, FILE_ERROR, ABORTED, INVALID_ARGUMENT. `frames()` too rejects with MEDIA_INVALID.
 * @example
 * const source = await readVideo("walk.mp4", { width: 1280, height: 720, fps: 24, maxFrames: 129 });
 * for await (const frame of source.frames()) use(frame);
 */
export async function readVideo(path: string, options: ReadVideoOptions = {}): Promise<FrameSource> {
  const op = "readVideo";
  checkOptions(op, options);
  checkSize(op, options);
  const { maxFrames, fps, start, signal } = options;
  if (maxFrames !== undefined) checkNumber(op, "maxFrames", maxFrames, { whole: true, min: 1 });
  if (fps !== undefined) checkNumber(op, "fps", fps, { above: 0, max: 1000 });
  if (start !== undefined) checkNumber(op, "start", start, { min: 0 });
  throwIfAborted(op, signal);
  const kind = await kindOfFile(op, path);
  if (kind === "folder") return readFolder(op, path, options);
  if (kind === "gif" || kind === "webp") return animationSource(op, path, kind, options);
  if (kind === "png" || kind === "jpg" || kind === "picture") {
    const picture = await readImage(path, options);
    return lazySource(
      picture,
      select(path, [0], 1 / (fps ?? folderRate), fps ?? folderRate, options),
      async () => picture,
    );
  }
  return videoSource(op, path, kind, options);
}

function select(
  path: string,
  times: readonly number[],
  frameSeconds: number,
  rate: number,
  { fps, start = 0, maxFrames = Infinity }: ReadVideoOptions,
): Selection {
  const indexes = pickFrames(times, frameSeconds, { fps, start, maxFrames: Math.min(maxFrames, 1_000_000) });
  if (indexes.length > 0) return { indexes, fps: fps ?? rate };
  throw mediaInvalid(path, times.length === 0 ? "holds no frame" : `has no frame at ${start} s or later`);
}

async function videoSource(
  op: string,
  path: string,
  kind: "mp4" | "webm" | "avi",
  options: ReadVideoOptions,
): Promise<FrameSource> {
  const { signal } = options;
  await checkWhole(op, path, kind);
  const backend = await videoDecoder(op, kind);
  const probe = await backend.probe(path, signal);
  const rate = rateOfTimes(probe.times, probe.tick, probe.nominalRate);
  const { indexes, fps } = select(path, probe.times, 1 / rate, rate, options);
  const plan = planFit(probe, options);
  const { inner } = plan;
  if (Math.max(plan.width * plan.height, inner.width * inner.height) > maxPixels) {
    const problem = `has frames of ${probe.width}×${probe.height}, which take ${inner.width}×${inner.height} pixels`;
    throw mediaInvalid(path, `${problem} to fill ${plan.width}×${plan.height}, expected at most ${maxPixels} in all`);
  }
  const filters = fitFilters(plan);
  async function* frames(): AsyncGenerator<Uint8Array, void, undefined> {
    const [first = 0] = indexes;
    const last = indexes.at(-1) ?? first;
    const size = { width: plan.width, height: plan.height };
    const decoded = backend.decode({ path, filters, ...size, first, last, signal });
    yield* pickedFrames(path, decoded, first, indexes);
  }
  return { width: plan.width, height: plan.height, fps, numFrames: indexes.length, frames };
}

/** The structure of the file, before a decoder sees it: decoders take the beginning of a file for the whole. */
async function checkWhole(op: string, path: string, kind: "mp4" | "webm" | "avi"): Promise<void> {
  try {
    await using file = await open(path, "r");
    if (kind === "mp4") await readMp4Texts(path, file);
    if (kind === "webm") await readWebmTags(path, file);
  } catch (cause) {
    throw fileError(op, path, cause);
  }
}

/** Of frames `first`, `first + 1` … those at `indexes`, which rise and may repeat. */
async function* pickedFrames(
  path: string,
  decoded: AsyncIterable<Uint8Array>,
  first: number,
  indexes: readonly number[],
): AsyncGenerator<Uint8Array, void, undefined> {
  let place = 0;
  let index = first;
  for await (const frame of decoded) {
    for (let times = 0; indexes[place] === index; times++, place++) yield times === 0 ? frame : frame.slice();
    index++;
    if (place === indexes.length) return;
  }
  if (place < indexes.length) {
    throw mediaInvalid(path, `gave ${index} frames, its index promises more: the file is damaged`);
  }
}

async function animationSource(
  op: string,
  path: string,
  format: "gif" | "webp",
  options: ReadVideoOptions,
): Promise<FrameSource> {
  const animation = await openAnimation(op, path, format, options);
  throwIfAborted(op, options.signal);
  const { delays, width, height } = animation;
  let elapsed = 0;
  const times = delays.map((delay) => {
    const time = elapsed / 1000;
    elapsed += delay > 0 ? delay : 1000 / animation.fps;
    return time;
  });
  const lastSeconds = elapsed / 1000 - (times.at(-1) ?? 0);
  const { indexes, fps } = select(path, times, lastSeconds, animation.fps, options);
  const decoded = () => animationFrames(op, animation, indexes[0] ?? 0, indexes.at(-1) ?? 0, options.signal);
  const frames = () => pickedFrames(path, decoded(), indexes[0] ?? 0, indexes);
  return { width, height, fps, numFrames: indexes.length, frames };
}

async function* animationFrames(
  op: string,
  animation: Animation,
  first: number,
  last: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const atOnce = Math.max(1, Math.floor(decodeAtOnceBytes / (animation.width * animation.height * 3)));
  for (let from = first; from <= last; from += atOnce) {
    throwIfAborted(op, signal);
    yield* await animation.decode(from, Math.min(from + atOnce, last + 1));
  }
}

async function readFolder(op: string, folder: string, options: ReadVideoOptions): Promise<FrameSource> {
  const all = await readdir(folder).catch((cause) => Promise.reject(fileError(op, folder, cause)));
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const files = all.filter((name) => pictureName.test(name) && !name.startsWith(".")).sort(compare);
  const times = files.map((_, i) => i / folderRate);
  const selection = select(folder, times, 1 / folderRate, folderRate, options);
  const [start = 0] = selection.indexes;
  const first = await readImage(join(folder, files[start] ?? ""), options);
  const { signal } = options;
  return lazySource(first, selection, async (index) => {
    const path = join(folder, files[index] ?? "");
    const picture = await readImage(path, { ...options, signal });
    if (picture.width === first.width && picture.height === first.height) return picture;
    const sizes = `${picture.width}×${picture.height}, the first of the folder ${first.width}×${first.height}`;
    throw mediaInvalid(path, `has ${sizes}; give width and height to bring all to one size`);
  });
}

function lazySource(
  { width, height }: Picture,
  { indexes, fps }: Selection,
  read: (index: number) => Promise<Picture>,
): FrameSource {
  async function* frames(): AsyncGenerator<Uint8Array, void, undefined> {
    for (const index of indexes) yield (await read(index)).data.slice();
  }
  return { width, height, fps, numFrames: indexes.length, frames };
}
