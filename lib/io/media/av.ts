/** node-av, loaded when it is first needed: an optional dependency of this package. */
import type { VideoBackend } from "./backend.js";

type Library = typeof import("node-av/lib");
type Constants = typeof import("node-av/constants");

export interface Av {
  readonly lib: Library;
  readonly constants: Constants;
}

/**
 * Only `node-av/lib`, FFmpeg's own calls: its high-level classes need Node 22. Each call that works on data runs on a
 * thread of the pool.
 */
async function load(): Promise<Av> {
  const [lib, constants] = await Promise.all([import("node-av/lib"), import("node-av/constants")]);
  // FFmpeg and its encoders write to stderr by default; someone who has set a level keeps it.
  if (lib.Log.getLevel() === constants.AV_LOG_INFO) lib.Log.setLevel(constants.AV_LOG_QUIET);
  // SVT-AV1 has a log of its own, which it sets up by this variable.
  process.env.SVT_LOG ??= "0";
  return { lib, constants };
}

let loading: Promise<Av> | undefined;

function av(): Promise<Av> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** Rejects when node-av is not installed, or its binary does not load here. */
export async function nodeAvBackend(): Promise<VideoBackend> {
  const loaded = await av();
  const [{ encodeWithAv }, { probeWithAv, decodeWithAv }] = await Promise.all([
    import("./av-encode.js"),
    import("./av-decode.js"),
  ]);
  return {
    name: "node-av",
    description: `node-av with FFmpeg ${loaded.lib.getFFmpegInfo().version}`,
    encode: (job) => encodeWithAv(loaded, job),
    probe: (path, signal) => probeWithAv(loaded, path, signal),
    decode: (job) => decodeWithAv(loaded, job),
  };
}
