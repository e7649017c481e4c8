/** A folder with the tiny model for a test file, gone when its process ends; and the smallest request that shows something. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { HunyuanVideo, type LoadOptions, type Video } from "../../lib/index.js";
import { type TinyModelOptions, writeTinyModel } from "./tiny-model.js";

/** A folder of its own, removed at the end of the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hunyuan-test-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function tinyFolder(options: TinyModelOptions = {}): string {
  const folder = join(temporaryFolder(), "tiny");
  writeTinyModel(folder, options);
  return folder;
}

export const smallRequest = {
  prompt: "a cat walks",
  width: 64,
  height: 48,
  numFrames: 9,
  numInferenceSteps: 4,
  seed: 7,
} as const;

/** In f32, with its latents beside it. */
export function loadTiny(source: string, options: LoadOptions = {}): Promise<HunyuanVideo> {
  const beside = isAbsolute(source) ? dirname(source) : temporaryFolder();
  return HunyuanVideo.load(source, { dtype: "f32", latentsFolder: join(beside, "latents"), ...options });
}

/** What a model holds on its device, when nothing runs. */
export async function restingMemory({ device }: HunyuanVideo): Promise<{ live: number; tensors: number }> {
  await device.sync();
  const { live, tensors } = device.memory();
  return { live, tensors };
}

export const sameBytes = (a: Video, b: Video): boolean => Buffer.compare(a.data, b.data) === 0;
