/**
 * Finished latents on disk, from the end of sampling until decoding has succeeded: hours of work survive a decoder that
 * runs out of memory, or a process that is killed. B videos, C channels, T latent frames, H × W latents.
 */
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, parse } from "node:path";
import { openCheckpoint } from "../io/checkpoint.js";
import type { Json } from "../io/media/metadata.js";
import { saveSafetensors } from "../io/safetensors-write.js";
import type { Checkpoint } from "../io/tensor-file.js";
import { cast } from "../ops/copy.js";
import { contiguous } from "../ops/layout.js";
import { permute } from "../ops/views.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { isFloat } from "../tensor/dtype.js";
import { fileTensor } from "../tensor/file.js";
import { scope } from "../tensor/scope.js";
import { showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";

/** What is known of a video besides its pixels. */
export interface VideoNotes {
  readonly prompt?: string | undefined;
  readonly negativePrompt?: string | undefined;
  readonly seed?: number | undefined;
  readonly fps: number;
  /** Whatever else it takes to make the same again. */
  readonly settings: { readonly [key: string]: Json | undefined };
}

const format = "hunyuan-native latents 1";
const tensorName = "latents";
let written = 0;

/** Where latents wait when nobody says otherwise. */
export function defaultLatentsFolder(): string {
  return join(tmpdir(), "hunyuan-native-latents");
}

/**
 * Writes latents [B, T, H, W, C] to a file, as [B, C, T, H, W], with what is needed to decode and to label them.
 *
 * @throws FILE_ERROR, ABORTED
 */
export async function writeLatents(
  path: string,
  latents: Tensor,
  notes: VideoNotes,
  signal?: AbortSignal,
): Promise<void> {
  using saved = scope(() => contiguous(permute(latents, [0, 4, 1, 2, 3])));
  const metadata = { format, notes: JSON.stringify(notes) };
  await saveSafetensors(path, new Map([[tensorName, saved]]), metadata, signal === undefined ? {} : { signal });
}

/**
 * The same under a name of its own in a folder, which is made if need be.
 *
 * @returns the file's path
 */
export async function saveLatents(
  folder: string,
  latents: Tensor,
  notes: VideoNotes,
  signal?: AbortSignal,
): Promise<string> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const message = `generate: latents cannot be kept in ${folder}: ${String(cause)}. Give another { latentsFolder }`;
    throw new HunyuanError("FILE_ERROR", message, { op: "generate", file: folder }, { cause });
  }
  const name = `${process.pid}-${Date.now()}-${written++}${notes.seed === undefined ? "" : `-seed${notes.seed}`}`;
  const path = join(folder, `${name}.safetensors`);
  await writeLatents(path, latents, notes, signal);
  return path;
}

/** Where the latents of one of several videos are kept: "a.safetensors", "a-1.safetensors", … */
export function keptPath(path: string, video: number, count: number): string {
  if (count === 1 || video === 0) return path;
  const { dir, name, ext } = parse(path);
  return join(dir, `${name}-${video}${ext}`);
}

/** Removes the file; one that is gone is no error. */
export async function removeLatents(path: string): Promise<void> {
  await rm(path, { force: true });
}

export interface StoredLatents {
  /** [B, T, H, W, C] in f32; the caller's. */
  readonly latents: Tensor<"f32">;
  readonly notes: StoredNotes;
}

/** Files of others do not say how fast their frames are. */
export type StoredNotes = Omit<VideoNotes, "fps"> & { readonly fps?: number | undefined };

/**
 * What a file of latents says of its video.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID
 */
export async function readNotes(path: string): Promise<StoredNotes> {
  return notesOf(await openCheckpoint(path));
}

/**
 * Latents from a safetensors file: one of this library's, or any with a tensor `latents` [B, C, T, H, W] that the
 * transformer gave.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID; ABORTED
 */
export async function readLatents(path: string, device: Device, signal?: AbortSignal): Promise<StoredLatents> {
  const checkpoint = await openCheckpoint(path);
  const entry = checkpoint.entries.get(tensorName);
  if (entry === undefined || entry.shape.length !== 5 || !isFloat(entry.dtype)) {
    const seen = entry === undefined ? "no such tensor" : `${entry.dtype} ${showShape(entry.shape)}`;
    const message = `${path}: expected a float tensor ${tensorName} [B, C, T, H, W], found ${seen}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: path, key: tensorName });
  }
  const { dtype, shape, file, offset, bytes } = entry;
  const latents = scope(() => {
    const read = fileTensor(device, dtype, shape, [{ file, offset, bytes }], { label: tensorName });
    return contiguous(permute(cast(read, "f32"), [0, 2, 3, 4, 1]));
  });
  try {
    await device.sync(signal === undefined ? {} : { signal });
  } catch (error) {
    latents.dispose();
    throw error;
  }
  return { latents, notes: notesOf(checkpoint) };
}

/** Anybody's text, so whatever does not fit is left out. */
function notesOf({ metadata }: Checkpoint): StoredNotes {
  let found: { readonly [key: string]: unknown } = {};
  try {
    const json: unknown = JSON.parse(metadata.get("notes") ?? "{}");
    if (typeof json === "object" && json !== null) found = { ...json };
  } catch {
    // Not ours.
  }
  const { prompt, negativePrompt, seed, fps, settings } = found;
  const isObject = typeof settings === "object" && settings !== null && !Array.isArray(settings);
  return {
    prompt: typeof prompt === "string" ? prompt : undefined,
    negativePrompt: typeof negativePrompt === "string" ? negativePrompt : undefined,
    seed: typeof seed === "number" ? seed : undefined,
    fps: typeof fps === "number" && fps > 0 ? fps : undefined,
    settings: isObject ? { ...settings } : {},
  };
}
