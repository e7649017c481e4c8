/** Video files through the ffmpeg program: raw frames out of its stdout. */
import { mediaInvalid, throwIfAborted } from "./abort.js";
import type { DecodeJob, VideoProbe } from "./backend.js";
import { containersRead, maxVideoFrames, pixelAspect } from "./decoder-limits.js";
import { fileUrl } from "./ffmpeg.js";
import { lastWords, runFfmpeg, textOf } from "./ffmpeg-process.js";
import { maxPixels } from "./frames.js";

const op = "readVideo";
/** A line of the list of packets takes about fifty bytes. */
const maxListBytes = 80 * maxVideoFrames;
const discarded = 4;

function inputArguments(path: string): string[] {
  // A playlist in a file with a video's name must not open other files or addresses.
  return ["-protocol_whitelist", "file,pipe", "-format_whitelist", containersRead, "-i", fileUrl(path)];
}

/** Size, turn and time stamps out of the list of packets with checksums that ffmpeg prints; nothing is decoded. */
export async function probeWithFfmpeg(path: string, signal: AbortSignal | undefined): Promise<VideoProbe> {
  throwIfAborted(op, signal);
  const list = ["-map", "0:v:0", "-c", "copy", "-copyts", "-f", "framecrc", "pipe:1"];
  const { code, said, text } = await textOf(runFfmpeg(["-v", "info", ...inputArguments(path), ...list]), maxListBytes);
  throwIfAborted(op, signal);
  if (code !== 0) throw mediaInvalid(path, `ffmpeg could not read it: ${lastWords(said)}`);
  const [, num = "0", den = "1"] = /^#tb 0: (\d+)\/(\d+)$/m.exec(text) ?? [];
  const [, width = "0", height = "0"] = /^#dimensions 0: (\d+)x(\d+)$/m.exec(text) ?? [];
  const [, across = "0", down = "1"] = /^#sar 0: (\d+)\/(\d+)$/m.exec(text) ?? [];
  if (Number(width) * Number(height) > maxPixels || Number(width) * Number(height) === 0) {
    throw mediaInvalid(path, `has frames of ${width}×${height}, expected at most ${maxPixels} pixels`);
  }
  const tick = Number(num) / Number(den);
  const shown = {
    width: Math.max(1, Math.round(Number(width) * pixelAspect(Number(across), Number(down)))),
    height: Number(height),
  };
  const [, angle = "0"] = /displaymatrix: rotation of (-?\d+)/.exec(said) ?? [];
  const lying = Math.abs(Math.round(Number(angle) / 90)) % 2 === 1;
  const [, rate] = /, ([\d.]+) fps,/.exec(said) ?? [];
  return {
    width: lying ? shown.height : shown.width,
    height: lying ? shown.width : shown.height,
    rotation: 0,
    times: packetTimes(text, tick),
    tick,
    nominalRate: rate === undefined ? undefined : Number(rate),
  };
}

function packetTimes(list: string, tick: number): number[] {
  const times: number[] = [];
  for (const line of list.split("\n")) {
    const [, stamp, , , , ...more] = line.split(",").slice(1);
    if (line.startsWith("#") || stamp === undefined) continue;
    const flags = more.map((item) => /F=0x([0-9a-f]+)/i.exec(item)?.[1]).find((item) => item !== undefined);
    if (flags !== undefined && Number.parseInt(flags, 16) & discarded) continue;
    times.push(Number(stamp) * tick);
  }
  return times.sort((a, b) => a - b);
}

/** @param everyFrameOnce the arguments by which this ffmpeg neither repeats nor drops frames */
export async function* decodeWithFfmpeg(
  job: DecodeJob,
  everyFrameOnce: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { path, first, last, signal } = job;
  const bytes = job.width * job.height * 3;
  const filters = `select='between(n,${first},${last})',${job.filters}`;
  const output = ["-map", "0:v:0", "-vf", filters, ...everyFrameOnce, "-frames:v", String(last - first + 1)];
  const raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"];
  const run = runFfmpeg([
    "-v",
    "error",
    "-xerror",
    "-err_detect",
    "explode",
    ...inputArguments(path),
    ...output,
    ...raw,
  ]);
  run.stdin.end();
  const stop = () => run.kill();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    let frame = Buffer.alloc(bytes);
    let filled = 0;
    for await (const part of run.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < part.length; ) {
        const taken = part.copy(frame, filled, at);
        filled += taken;
        at += taken;
        if (filled < bytes) continue;
        throwIfAborted(op, signal);
        yield frame;
        frame = Buffer.alloc(bytes);
        filled = 0;
      }
    }
    throwIfAborted(op, signal);
    const { code, said } = await run.ended;
    if (code !== 0) throw mediaInvalid(path, `ffmpeg could not decode it: ${lastWords(said)}`);
  } finally {
    signal?.removeEventListener("abort", stop);
    run.kill();
  }
}
