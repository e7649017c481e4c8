/** A clip whose every frame is known, and how close another comes to it. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FrameSource, findVideoBackend, frameSource } from "../../lib/io/media/index.js";
import { type HunyuanError, isHunyuanError } from "../../lib/runtime/errors.js";

export interface ClipSize {
  readonly width: number;
  readonly height: number;
  readonly numFrames: number;
}

/** A red disc that goes from left to right over a ground that is dark on the left, blue on the right, greener below. */
export function discFrames({ width, height, numFrames }: ClipSize): Uint8Array[] {
  const radius = Math.min(width, height) / 5;
  return Array.from({ length: numFrames }, (_, n) => {
    const frame = new Uint8Array(width * height * 3);
    const centre = width * (0.15 + (0.7 * n) / Math.max(1, numFrames - 1));
    for (let i = 0; i < width * height; i++) {
      const x = i % width;
      const y = Math.floor(i / width);
      const disc = Math.min(1, Math.max(0, radius - Math.hypot(x - centre, y - height / 2) + 0.5));
      const ground = [30, 60 + (80 * y) / height, (200 * x) / width];
      frame.set(
        [230, 40, 20].map((value, c) => Math.round(value * disc + (ground[c] ?? 0) * (1 - disc))),
        i * 3,
      );
    }
    return frame;
  });
}

export function discClip(size: ClipSize, fps = 24): FrameSource {
  return frameSource(discFrames(size), { width: size.width, height: size.height, fps });
}

/** Copies of all frames. */
export async function allFrames(source: FrameSource): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for await (const frame of source.frames()) frames.push(frame.slice());
  return frames;
}

/** dB; Infinity for the same bytes. */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} bytes against ${b.length}`);
  let squares = 0;
  for (let i = 0; i < a.length; i++) squares += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
  return 10 * Math.log10((255 ** 2 * a.length) / squares);
}

export function worstPsnr(a: readonly Uint8Array[], b: readonly Uint8Array[]): number {
  if (a.length !== b.length) throw new Error(`${a.length} frames against ${b.length}`);
  return Math.min(...a.map((frame, i) => psnr(frame, b[i] ?? new Uint8Array())));
}

/** A fresh folder, gone at the end of the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hunyuan-media-test-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The error of a promise that must reject with one of ours; uvu cannot print `details`, so others are thrown plain. */
export async function refusal(promise: Promise<unknown>): Promise<HunyuanError> {
  try {
    await promise;
  } catch (error) {
    if (isHunyuanError(error)) return error;
    throw new Error(`not one of ours: ${error instanceof Error ? error.stack : String(error)}`);
  }
  throw new Error("nothing was thrown");
}

/** Temporary files that should not be there any more. */
export function leftovers(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith(".") || name.endsWith(".tmp"));
}

/** Whether a backend works on this machine; for tests that cannot run without. */
export async function hasBackend(name: "node-av" | "ffmpeg"): Promise<boolean> {
  return withBackend(name, async () => "backend" in (await findVideoBackend()));
}

export async function withBackend<T>(name: string, run: () => Promise<T>): Promise<T> {
  const before = process.env.HUNYUAN_VIDEO_BACKEND;
  process.env.HUNYUAN_VIDEO_BACKEND = name;
  try {
    return await run();
  } finally {
    if (before === undefined) delete process.env.HUNYUAN_VIDEO_BACKEND;
    else process.env.HUNYUAN_VIDEO_BACKEND = before;
  }
}
