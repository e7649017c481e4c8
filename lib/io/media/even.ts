/** Even sides for H.264 and AV1 in 4:2:0, which has one colour value for 2 × 2 pixels. */
import { checkedFrames, type FrameSource, maxPixels } from "./frames.js";

/**
 * The source with even width and height: an odd side gets one more column or row, which repeats the last. Nothing is
 * cut away; the file is one pixel wider or higher than what was given.
 */
export function evenSource(source: FrameSource): FrameSource {
  const width = source.width + (source.width % 2);
  const height = source.height + (source.height % 2);
  if ((width === source.width && height === source.height) || width * height > maxPixels) return source;
  const padded = new Uint8Array(width * height * 3);
  async function* frames() {
    for await (const frame of checkedFrames("encode", source)) {
      padFrame(padded, width, frame, source.width, source.height);
      yield padded;
    }
  }
  return { width, height, fps: source.fps, numFrames: source.numFrames, frames };
}

function padFrame(into: Uint8Array, width: number, frame: Uint8Array, fromWidth: number, fromHeight: number): void {
  const row = fromWidth * 3;
  for (let y = 0; y < fromHeight; y++) {
    into.set(frame.subarray(y * row, (y + 1) * row), y * width * 3);
    if (width > fromWidth) into.copyWithin(y * width * 3 + row, y * width * 3 + row - 3, y * width * 3 + row);
  }
  const last = (fromHeight - 1) * width * 3;
  if (into.length > fromHeight * width * 3) into.copyWithin(fromHeight * width * 3, last, last + width * 3);
}
