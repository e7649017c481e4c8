/** One picture with frames of a clip in a grid, in reading order. */
import sharp, { type OverlayOptions } from "sharp";
import { checkNumber } from "../../runtime/check.js";
import { orAborted, throwIfAborted } from "./abort.js";
import type { PictureFormat } from "./format.js";
import { checkedFrames, type FrameSource, maxPixels } from "./frames.js";
import { encodePicture, type FrameWriting, rawPicture } from "./picture.js";

export interface SheetOptions {
  /** How many frames are shown, spread over the clip, first and last among them. Default 16, or all where there are fewer. */
  readonly frames?: number | undefined;
  /** Default: as many as make the grid about square. */
  readonly columns?: number | undefined;
  /** Width of one frame in pixels; height by proportion. Default 320, or the clip's width where that is less. */
  readonly cellWidth?: number | undefined;
  /** Pixels between the frames and around them. Default 4. */
  readonly gap?: number | undefined;
}

interface Grid {
  /** Which frames. */
  readonly shown: readonly number[];
  readonly columns: number;
  readonly rows: number;
  readonly cell: { readonly width: number; readonly height: number };
  readonly gap: number;
}

/** @throws INVALID_ARGUMENT when the options do not fit the clip, or the sheet would have more than 64 megapixels */
export function planSheet(op: string, source: FrameSource, options: SheetOptions = {}): Grid {
  const { gap = 4, cellWidth = Math.min(320, source.width) } = options;
  const count = Math.min(options.frames ?? 16, source.numFrames);
  checkNumber(op, "sheet.frames", options.frames ?? count, { whole: true, min: 1, max: 10_000 });
  checkNumber(op, "sheet.gap", gap, { whole: true, min: 0, max: 1000 });
  checkNumber(op, "sheet.cellWidth", cellWidth, { whole: true, min: 1, max: 16384 });
  const columns = Math.min(options.columns ?? Math.ceil(Math.sqrt(count)), count);
  checkNumber(op, "sheet.columns", options.columns ?? columns, { whole: true, min: 1 });
  const cell = { width: cellWidth, height: Math.max(1, Math.round((source.height * cellWidth) / source.width)) };
  const rows = Math.ceil(count / columns);
  const { width, height } = sheetSize({ columns, rows, cell, gap });
  checkNumber(op, "sheet's pixels", width * height, { max: maxPixels });
  const step = count > 1 ? (source.numFrames - 1) / (count - 1) : 0;
  return { shown: Array.from({ length: count }, (_, i) => Math.round(i * step)), columns, rows, cell, gap };
}

function sheetSize({ columns, rows, cell, gap }: Omit<Grid, "shown">): { width: number; height: number } {
  return { width: columns * (cell.width + gap) + gap, height: rows * (cell.height + gap) + gap };
}

/** The bytes of the sheet. */
export async function encodeSheet(
  op: string,
  source: FrameSource,
  format: PictureFormat,
  writing: FrameWriting & { readonly sheet: SheetOptions | undefined },
): Promise<Buffer> {
  const { signal, onFrame } = writing;
  const grid = planSheet(op, source, writing.sheet);
  const cells: OverlayOptions[] = [];
  let index = 0;
  for await (const frame of checkedFrames(op, source)) {
    throwIfAborted(op, signal);
    // Indexes rise, so the place of a frame is where the list has come to.
    if (grid.shown[cells.length] === index) cells.push(await cellOf(grid, source, frame, cells.length));
    index++;
    onFrame(index);
  }
  const { width, height } = sheetSize(grid);
  const canvas = sharp({ create: { width, height, channels: 3, background: "#202020" } }).composite(cells);
  return orAborted(op, signal, encodePicture(op, canvas, format, writing));
}

async function cellOf(grid: Grid, source: FrameSource, frame: Uint8Array, place: number): Promise<OverlayOptions> {
  const { cell, gap, columns } = grid;
  const small = rawPicture(source, frame).resize(cell.width, cell.height, { fit: "fill" });
  return {
    input: await small.raw().toBuffer(),
    raw: { width: cell.width, height: cell.height, channels: 3 },
    left: gap + (place % columns) * (cell.width + gap),
    top: gap + Math.floor(place / columns) * (cell.height + gap),
  };
}
