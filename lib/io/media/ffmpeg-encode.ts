/** mp4 and webm through the ffmpeg program: raw frames into its stdin. */
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { HunyuanError } from "../../runtime/errors.js";
import { throwIfAborted } from "./abort.js";
import type { EncodeJob, VideoFormat } from "./backend.js";
import { containerTags, encoderOptions } from "./encoder-settings.js";
import { fileUrl } from "./ffmpeg.js";
import { lastWords, type Run, runFfmpeg, textOf } from "./ffmpeg-process.js";
import { checkedFrames } from "./frames.js";
import { rateFraction } from "./timing.js";

const op = "encode";

/** In the order of preference: what a build has differs. */
const encodersOf: Readonly<Record<VideoFormat, readonly string[]>> = {
  mp4: ["libx264", "libopenh264", "h264_videotoolbox", "h264_nvenc", "h264_qsv", "h264_mf"],
  webm: ["libsvtav1", "libaom-av1", "librav1e"],
};

export async function encodeWithFfmpeg(job: EncodeJob): Promise<void> {
  const { path, format, source, metadata, signal } = job;
  const encoder = await chooseEncoder(format);
  // Not as arguments: those have a limit, and others on the machine can see them.
  const tags = `${path}.tags`;
  await writeFile(tags, ffmetadata(metadata === undefined ? {} : containerTags(op, format, metadata)), { mode: 0o600 });
  const run = runFfmpeg(encodeArguments(job, encoder, tags));
  try {
    let index = 0;
    for await (const frame of checkedFrames(op, source)) {
      throwIfAborted(op, signal);
      if (!(await writeFrame(run, frame))) break;
      index++;
      job.onFrame(index);
    }
    run.stdin.end();
    await endOrAbort(run, path, signal);
  } finally {
    run.kill();
    await rm(tags, { force: true });
  }
}

/** False when the program does not take more. */
async function writeFrame(run: Run, frame: Uint8Array): Promise<boolean> {
  if (run.stdin.destroyed) return false;
  // The source may fill its buffer again as soon as it is asked for the next frame: the pipe gets a copy.
  if (run.stdin.write(Buffer.from(frame))) return true;
  return Promise.race([
    once(run.stdin, "drain").then(
      () => true,
      () => false,
    ),
    run.ended.then(
      () => false,
      () => false,
    ),
  ]);
}

async function endOrAbort(run: Run, path: string, signal: AbortSignal | undefined): Promise<void> {
  const stop = () => run.kill();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    if (signal?.aborted) stop();
    const { code, said } = await run.ended;
    throwIfAborted(op, signal);
    if (code === 0) return;
    const message = `${op}: ffmpeg ended with ${code}: ${lastWords(said)}`;
    throw new HunyuanError("FILE_ERROR", message, { op, file: path });
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

async function chooseEncoder(format: VideoFormat): Promise<string> {
  const { text } = await textOf(runFfmpeg(["-v", "error", "-encoders"]), 2 ** 20);
  const names = new Set(text.split("\n").map((line) => line.trim().split(/\s+/)[1]));
  const found = encodersOf[format].find((name) => names.has(name));
  if (found !== undefined) return found;
  const message = `${op}: this ffmpeg has none of ${encodersOf[format].join(", ")}; npm install node-av, or write .webp or .gif`;
  throw new HunyuanError("ENCODER_MISSING", message, { format });
}

function encodeArguments({ path, format, source, crf }: EncodeJob, encoder: string, tags: string): string[] {
  const { num, den } = rateFraction(source.fps);
  const colours = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"];
  const scale = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
  return [
    ...["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", `${source.width}x${source.height}`],
    ...[
      "-r",
      `${num}/${den}`,
      "-i",
      "pipe:0",
      "-f",
      "ffmetadata",
      "-i",
      fileUrl(tags),
      "-map",
      "0:v",
      "-map_metadata",
      "1",
    ],
    ...["-vf", `${scale},format=yuv420p`, "-c:v", encoder],
    ...Object.entries(encoderOptions(encoder, crf)).flatMap(([name, value]) => [`-${name}`, value]),
    ...colours,
    ...(format === "mp4" ? ["-movflags", "+faststart"] : []),
    ...["-f", format, fileUrl(path)],
  ];
}

/** FFmpeg's text form of tags. */
function ffmetadata(tags: Readonly<Record<string, string>>): string {
  const lines = Object.entries(tags).map(([name, value]) => `${name}=${value.replace(/[=;#\\\n]/g, "\\$&")}`);
  return [";FFMETADATA1", ...lines, ""].join("\n");
}
