/** What the encoders are told, the same through node-av and through the ffmpeg program. */
import { availableParallelism } from "node:os";
import type { VideoFormat } from "./backend.js";
import { type MediaMetadata, metadataJson } from "./metadata.js";

/** crf where nothing is said: losses that are hard to see. Lower is better and bigger. */
export const defaultCrf: Readonly<Record<VideoFormat, number>> = { mp4: 17, webm: 24 };
export const maxCrf: Readonly<Record<VideoFormat, number>> = { mp4: 51, webm: 63 };

/** One core stays free for the event loop: the encoders take what they get, and then a timer fires 60 ms late. */
const threads = Math.max(1, availableParallelism() - 1);

/** Private options by FFmpeg's name of the encoder. */
export function encoderOptions(encoder: string, crf: number): Record<string, string> {
  switch (encoder) {
    case "libx264":
      return { crf: String(crf), preset: "medium", threads: String(threads) };
    case "libsvtav1":
      return { crf: String(crf), preset: "8", "svtav1-params": `lp=${Math.min(threads, 6)}` };
    case "libaom-av1":
      return { crf: String(crf), "cpu-used": "6", threads: String(threads), "row-mt": "1", "b:v": "0" };
    default:
      // Encoders without crf (openh264, rav1e, those of graphics cards): a rate instead of a quality.
      return { "b:v": "8M" };
  }
}

/** By which names the containers keep metadata: JSON in the comment, the prompt where players show it. */
export function containerTags(op: string, format: VideoFormat, metadata: MediaMetadata): Record<string, string> {
  const { prompt, digitalSourceType } = metadata;
  return {
    comment: metadataJson(op, metadata),
    ...(prompt === undefined ? {} : { description: prompt.replaceAll("\0", "") }),
    // mp4 has it as XMP; Matroska has no place for XMP, but any name for a tag.
    ...(format === "webm" && digitalSourceType !== undefined ? { DIGITAL_SOURCE_TYPE: digitalSourceType } : {}),
  };
}
