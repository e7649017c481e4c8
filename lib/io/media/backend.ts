/**
 * What encodes and decodes mp4 and webm: node-av (FFmpeg in this process) where it is installed, else the `ffmpeg`
 * program. Neither is needed for gif, webp and pictures.
 */
import { HunyuanError } from "../../runtime/errors.js";
import { reason } from "./abort.js";
import { nodeAvBackend } from "./av.js";
import { ffmpegBackend } from "./ffmpeg.js";
import type { FrameSource } from "./frames.js";
import type { MediaMetadata } from "./metadata.js";

export type VideoFormat = "mp4" | "webm";

/** One file to write. */
export interface EncodeJob {
  readonly path: string;
  readonly format: VideoFormat;
  /** Both sides even: 4:2:0 has one colour value for 2 × 2 pixels. */
  readonly source: FrameSource;
  readonly crf: number;
  readonly metadata: MediaMetadata | undefined;
  readonly signal: AbortSignal | undefined;
  /** Called with the number of frames that were taken in. */
  readonly onFrame: (frames: number) => void;
}

/** What a video holds, by its container: nothing is decoded for it. */
export interface VideoProbe {
  /** Pixels as shown: turned as the file says, pixels made square. */
  readonly width: number;
  readonly height: number;
  /** Clockwise, to be done by the filter chain; 0 where the decoder turns by itself. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** When each frame is shown, in seconds, rising. */
  readonly times: readonly number[];
  /** What times are rounded to, in seconds. */
  readonly tick: number;
  /** Frames per second as the file claims. */
  readonly nominalRate: number | undefined;
}

export interface DecodeJob {
  readonly path: string;
  /** FFmpeg's filters that lead to RGB of the wanted size. */
  readonly filters: string;
  readonly width: number;
  readonly height: number;
  /** Index of the first and the last frame that is needed. */
  readonly first: number;
  readonly last: number;
  readonly signal: AbortSignal | undefined;
}

export interface VideoBackend {
  readonly name: "node-av" | "ffmpeg";
  /** For messages: name and version. */
  readonly description: string;
  encode(job: EncodeJob): Promise<void>;
  probe(path: string, signal: AbortSignal | undefined): Promise<VideoProbe>;
  /** Frames `first` to `last` in the order they are shown, RGB8. A decoder that fails rejects with MEDIA_INVALID. */
  decode(job: DecodeJob): AsyncIterable<Uint8Array>;
}

/** A backend, or why there is none. */
export type Availability = { readonly backend: VideoBackend } | { readonly missing: string };

/** Sets which is used: `node-av`, `ffmpeg` or `none`. Without it the first of the two that works. */
export const backendVariable = "HUNYUAN_VIDEO_BACKEND";

const loaders: Readonly<Record<string, () => Promise<VideoBackend>>> = {
  "node-av": nodeAvBackend,
  ffmpeg: ffmpegBackend,
};

/** Which backend there is. Looked up anew each time: installing ffmpeg helps a process that runs already. */
export async function findVideoBackend(): Promise<Availability> {
  const wanted = process.env[backendVariable];
  if (wanted === "none") return { missing: `${backendVariable} is "none"` };
  const names = wanted === undefined || wanted === "" ? Object.keys(loaders) : [wanted];
  const missing: string[] = [];
  for (const name of names) {
    const load = loaders[name];
    if (load === undefined) return { missing: `${backendVariable} is "${name}", expected node-av, ffmpeg or none` };
    try {
      return { backend: await load() };
    } catch (error) {
      missing.push(`${name}: ${reason(error)}`);
    }
  }
  return { missing: missing.join("; ") };
}

const advice = "npm install node-av, or put ffmpeg on the PATH (apt install ffmpeg, brew install ffmpeg)";

/** @throws ENCODER_MISSING with what to install */
export async function videoEncoder(op: string, format: VideoFormat): Promise<VideoBackend> {
  const found = await findVideoBackend();
  if ("backend" in found) return found.backend;
  const message = `${op}: nothing here encodes ${format}: ${advice}; or write .gif or .webp, which need neither (${found.missing})`;
  throw new HunyuanError("ENCODER_MISSING", message, { format });
}

/** @throws DECODER_MISSING with what to install */
export async function videoDecoder(op: string, format: string): Promise<VideoBackend> {
  const found = await findVideoBackend();
  if ("backend" in found) return found.backend;
  const message = `${op}: nothing here decodes ${format}: ${advice}; gif, webp and pictures need neither (${found.missing})`;
  throw new HunyuanError("DECODER_MISSING", message, { format });
}
