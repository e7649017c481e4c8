/** Clips as pictures: a few frames of each side by side. */
import { encodeImage } from "../../io/media/picture.js";
import type { RgbClip } from "./clip.js";

export interface StripOptions {
  /** Frames that are shown, spread over the clip, first and last among them. Default 5. */
  readonly frames?: number;
  /** Each pixel becomes so many in both directions. Default 1. */
  readonly zoom?: number;
}

const gap = 2;

/** A picture of some frames of a clip in a row. RGB, two grey pixels between frames. */
export function stripOf(
  clip: RgbClip,
  { frames = 5, zoom = 1 }: StripOptions = {},
): {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
} {
  const count = Math.min(frames, clip.numFrames);
  const [cellWidth, height] = [clip.width * zoom, clip.height * zoom];
  const width = count * cellWidth + (count - 1) * gap;
  const data = new Uint8Array(width * height * 3).fill(96);
  for (let cell = 0; cell < count; cell++) {
    const frame = count === 1 ? 0 : Math.round((cell * (clip.numFrames - 1)) / (count - 1));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < cellWidth; x++) {
        const from = ((frame * clip.height + Math.floor(y / zoom)) * clip.width + Math.floor(x / zoom)) * 3;
        data.set(clip.data.subarray(from, from + 3), (y * width + cell * (cellWidth + gap) + x) * 3);
      }
    }
  }
  return { width, height, data };
}

/** The same as a `data:` address of a PNG, for pages that stand alone. */
export async function stripAddress(clip: RgbClip, options: StripOptions = {}): Promise<string> {
  const png = await encodeImage(stripOf(clip, options), { format: "png", metadata: false });
  return `data:image/png;base64,${png.toString("base64")}`;
}

/** Strips of clips of one size under each other in `columns` columns, as one PNG: a contact sheet. */
export async function contactSheet(
  clips: readonly RgbClip[],
  { columns = 4, ...options }: StripOptions & { readonly columns?: number } = {},
): Promise<Buffer> {
  const strips = clips.map((clip) => stripOf(clip, options));
  const cell = {
    width: Math.max(1, ...strips.map((s) => s.width)),
    height: Math.max(1, ...strips.map((s) => s.height)),
  };
  const across = Math.min(columns, Math.max(1, strips.length));
  const rows = Math.max(1, Math.ceil(strips.length / across));
  const space = 4 * gap;
  const width = across * (cell.width + space) + space;
  const height = rows * (cell.height + space) + space;
  const data = new Uint8Array(width * height * 3).fill(32);
  for (const [i, strip] of strips.entries()) {
    const left = space + (i % across) * (cell.width + space);
    const top = space + Math.floor(i / across) * (cell.height + space);
    for (let y = 0; y < strip.height; y++) {
      const row = strip.data.subarray(y * strip.width * 3, (y + 1) * strip.width * 3);
      data.set(row, ((top + y) * width + left) * 3);
    }
  }
  return encodeImage({ width, height, data }, { format: "png", metadata: false });
}
