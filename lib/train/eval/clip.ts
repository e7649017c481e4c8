/** A clip as evaluation looks at it: bytes, nothing of where they come from. */
import { invalid } from "../../runtime/check.js";

export interface RgbClip {
  /** RGB of each pixel, row after row, frame after frame. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly numFrames: number;
}

/** @throws INVALID_ARGUMENT unless the bytes are whole frames of that size */
export function checkClip(op: string, { data, width, height, numFrames }: RgbClip): void {
  const bytes = width * height * numFrames * 3;
  if (data instanceof Uint8Array && data.length === bytes && bytes > 0) return;
  throw invalid(
    op,
    "clip",
    `${data?.length} bytes`,
    `${bytes} (${numFrames} × ${height} × ${width} × 3), more than none`,
  );
}
