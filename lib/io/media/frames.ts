/** Pictures as plain bytes: RGB8, row after row from the top, without padding. */
import { checkNumber, invalid } from "../../runtime/check.js";

/** One picture: `data` holds `width × height × 3` bytes. */
export interface Picture {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** R, G, B of each pixel, row after row from the top. */
  readonly data: Uint8Array;
}

/**
 * A clip. A frame that `frames()` gives need only stay as it is until the next one is asked for, so a source may fill
 * one buffer again and again; who wants to keep a frame copies it.
 */
export interface FrameSource {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Frames per second. */
  readonly fps: number;
  /** How many frames `frames()` gives. */
  readonly numFrames: number;
  /** The frames in order, each `width × height × 3` bytes. Each call starts anew. */
  frames(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

const maxSide = 16384;
/** 64 megapixels: twice 8K. Above that a size is a mistake or an attack. */
export const maxPixels = 2 ** 26;
const maxFrames = 1_000_000;

/**
 * A clip of frames that are in memory.
 *
 * @throws INVALID_ARGUMENT when a size, the rate or a frame's length does not fit
 * @example
 * const source = frameSource([red, green], { width: 64, height: 48, fps: 24 });
 */
export function frameSource(
  frames: readonly Uint8Array[],
  { width, height, fps }: { readonly width: number; readonly height: number; readonly fps: number },
): FrameSource {
  const source: FrameSource = { width, height, fps, numFrames: frames.length, frames: () => frames };
  checkSource("frameSource", source);
  for (const [index, frame] of frames.entries()) checkFrame("frameSource", source, frame, index);
  return source;
}

/** Throws INVALID_ARGUMENT unless size, rate and count are ones that can be written. */
export function checkSource(op: string, source: FrameSource): void {
  const { width, height, fps, numFrames } = source;
  checkNumber(op, "width", width, { whole: true, min: 1, max: maxSide });
  checkNumber(op, "height", height, { whole: true, min: 1, max: maxSide });
  if (width * height > maxPixels) throw invalid(op, "width × height", width * height, `at most ${maxPixels}`);
  checkNumber(op, "fps", fps, { above: 0, max: 1000 });
  checkNumber(op, "numFrames", numFrames, { whole: true, min: 1, max: maxFrames });
}

export function checkFrame(
  op: string,
  source: FrameSource,
  frame: unknown,
  index: number,
): asserts frame is Uint8Array {
  const bytes = source.width * source.height * 3;
  if (frame instanceof Uint8Array && frame.length === bytes) return;
  const seen = frame instanceof Uint8Array ? `${frame.length} bytes` : frame;
  throw invalid(op, `frame ${index}`, seen, `a Uint8Array of ${bytes} bytes (${source.width}×${source.height} RGB)`);
}

/** The frames of a source, each checked; throws INVALID_ARGUMENT when there are fewer or more than it promised. */
export async function* checkedFrames(op: string, source: FrameSource): AsyncGenerator<Uint8Array, void, undefined> {
  let index = 0;
  for await (const frame of source.frames()) {
    if (index >= source.numFrames) break;
    checkFrame(op, source, frame, index);
    index++;
    yield frame;
  }
  if (index < source.numFrames) throw invalid(op, "frames", index, `${source.numFrames}, as numFrames says`);
}

/** The first frame as a picture of its own. */
export async function firstFrame(op: string, source: FrameSource): Promise<Picture> {
  for await (const frame of checkedFrames(op, source)) {
    return { width: source.width, height: source.height, data: frame.slice() };
  }
  throw invalid(op, "frames", 0, "at least one");
}
