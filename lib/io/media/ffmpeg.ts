/** Encoding and decoding through the ffmpeg program, where node-av is not installed. */
import { resolve } from "node:path";
import { reason } from "./abort.js";
import type { VideoBackend } from "./backend.js";
import { ffmpegProgram, lastWords, runFfmpeg, textOf } from "./ffmpeg-process.js";

/** Rejects when there is no ffmpeg program, or it does not run. */
export async function ffmpegBackend(): Promise<VideoBackend> {
  const run = runFfmpeg(["-version"]);
  const { code, said, text } = await textOf(run, 2 ** 20).catch((error: unknown) => {
    throw new Error(`${ffmpegProgram()}: ${reason(error)}`);
  });
  if (code !== 0) throw new Error(`${ffmpegProgram()} ended with ${code}: ${lastWords(said)}`);
  const [{ encodeWithFfmpeg }, { probeWithFfmpeg, decodeWithFfmpeg }] = await Promise.all([
    import("./ffmpeg-encode.js"),
    import("./ffmpeg-decode.js"),
  ]);
  return {
    name: "ffmpeg",
    description: text.split("\n", 1)[0]?.slice(0, 100) ?? "ffmpeg",
    encode: encodeWithFfmpeg,
    probe: probeWithFfmpeg,
    decode: (job) => decodeWithFfmpeg(job, everyFrameOnce(text)),
  };
}

/** How this version is told to neither repeat nor drop frames: 5.1 renamed the option. */
function everyFrameOnce(versionText: string): string[] {
  const [, major = "9", minor = "0"] = /^ffmpeg version n?(\d{1,2})\.(\d+)/.exec(versionText) ?? [];
  const old = Number(major) < 5 || (Number(major) === 5 && Number(minor) < 1);
  return old ? ["-vsync", "0"] : ["-fps_mode", "passthrough"];
}

/** A path as ffmpeg takes it: never an option, never an address. */
export function fileUrl(path: string): string {
  return `file:${resolve(path)}`;
}
