/** What a request gives as pictures and videos, as pixels on the device: −1 … 1, [1, T, H, W, 3]. */
import type { FrameSource, Picture } from "../io/media/frames.js";
import { readImage } from "../io/media/picture.js";
import { readVideo } from "../io/media/read.js";
import { concat } from "../ops/concat.js";
import { cast } from "../ops/copy.js";
import { reshape, slice } from "../ops/views.js";
import { invalid } from "../runtime/check.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { isFloat } from "../tensor/dtype.js";
import { tensor, fromBytes as tensorOfBytes } from "../tensor/host.js";
import { scope } from "../tensor/scope.js";
import { showShape } from "../tensor/shape.js";
import { Tensor } from "../tensor/tensor.js";
import { fromBytes } from "./video-bytes.js";

/**
 * A picture: a file's path, a file's bytes, RGB bytes of the right size, or a tensor [H, W, 3] (u8, or floats in −1 … 1).
 * Files are scaled and cut around their centre.
 */
export type ImageInput = string | Uint8Array | Picture | Tensor;

/** A video: a file's path, frames of the right size, or a tensor [T, H, W, 3] (u8, or floats in −1 … 1). */
export type VideoInput = string | FrameSource | Tensor;

export interface PixelSize {
  readonly width: number;
  readonly height: number;
}

interface Reading {
  readonly device: Device;
  readonly signal: AbortSignal | undefined;
}

/** @throws INVALID_ARGUMENT, MEDIA_INVALID, DECODER_MISSING, FILE_ERROR, ABORTED */
export async function imagePixels(
  op: string,
  image: ImageInput,
  size: PixelSize,
  { device, signal }: Reading,
): Promise<Tensor<"f32">> {
  if (image instanceof Tensor) return pixelsOf(op, "image", image, size, 3, device);
  const isFile = typeof image === "string" || image instanceof Uint8Array;
  const { width, height, data } = isFile
    ? await readImage(image, { ...size, fit: "cover", ...waiting(signal) })
    : image;
  checkSize(op, "image", { width, height }, size);
  return scope(() => fromBytes(tensorOfBytes(data, { dtype: "u8", shape: [1, 1, height, width, 3], device })));
}

export interface VideoReading extends Reading {
  readonly fps: number;
  /** The most frames that are read. */
  readonly maxFrames: number;
}

/**
 * As many frames as there are, at most `maxFrames`, and of those 4 n + 1.
 *
 * @throws as {@link imagePixels}
 */
export async function videoPixels(
  op: string,
  video: VideoInput,
  size: PixelSize,
  reading: VideoReading,
): Promise<Tensor<"f32">> {
  const { device, signal, fps, maxFrames } = reading;
  if (video instanceof Tensor) {
    const frames = usableFrames(op, video.shape[0] ?? 0, maxFrames);
    return pixelsOf(op, "video", video, size, 4, device, frames);
  }
  const source =
    typeof video === "string"
      ? await readVideo(video, { ...size, fit: "cover", fps, maxFrames, ...waiting(signal) })
      : video;
  checkSize(op, "video", source, size);
  const frames = usableFrames(op, source.numFrames, maxFrames);
  const parts: Tensor<"f32">[] = [];
  try {
    for await (const frame of source.frames()) {
      const shape = [1, 1, size.height, size.width, 3];
      parts.push(scope(() => fromBytes(tensorOfBytes(frame, { dtype: "u8", shape, device }))));
      // Uploads wait in host memory, of which the device keeps little.
      await device.sync(waiting(signal));
      if (parts.length === frames) break;
    }
    if (parts.length < frames) throw invalid(op, "video", `${parts.length} frames`, `${frames}, as its numFrames says`);
    return scope(() => concat(parts, 1));
  } finally {
    for (const part of parts) part.dispose();
  }
}

/**
 * The size at which a video is read: as asked for, or its own, rounded down to what the model takes.
 *
 * @throws INVALID_ARGUMENT for sizes that are no multiples of 16
 */
export async function videoSize(
  op: string,
  video: VideoInput,
  asked: { readonly width?: number; readonly height?: number },
): Promise<PixelSize> {
  for (const side of ["width", "height"] as const) {
    const value = asked[side];
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0 && value % 16 === 0)) {
      throw invalid(op, side, value, "a multiple of 16");
    }
  }
  const own = await ownSize(video);
  const fitting = (value: number) => Math.max(16, Math.floor(value / 16) * 16);
  return { width: asked.width ?? fitting(own.width), height: asked.height ?? fitting(own.height) };
}

async function ownSize(video: VideoInput): Promise<PixelSize> {
  if (video instanceof Tensor) return { height: video.shape.at(-3) ?? 0, width: video.shape.at(-2) ?? 0 };
  return typeof video === "string" ? await readVideo(video) : video;
}

/** The most frames, of those there are, that the autoencoder takes: 4 n + 1. */
function usableFrames(op: string, there: number, most: number): number {
  if (there < 1) throw invalid(op, "video", `${there} frames`, "at least one");
  return Math.floor((Math.min(there, most) - 1) / 4) * 4 + 1;
}

function checkSize(op: string, argument: string, seen: PixelSize, { width, height }: PixelSize): void {
  if (seen.width === width && seen.height === height) return;
  throw invalid(
    op,
    argument,
    `${seen.width} × ${seen.height}`,
    `${width} × ${height}, the size of the video to be made`,
  );
}

async function pixelsOf(
  op: string,
  argument: string,
  given: Tensor,
  { width, height }: PixelSize,
  rank: 3 | 4,
  device: Device,
  frames = 1,
): Promise<Tensor<"f32">> {
  const { shape, dtype } = given;
  const fits = shape.length === rank && shape.at(-3) === height && shape.at(-2) === width && shape.at(-1) === 3;
  if (!fits || !(dtype === "u8" || isFloat(dtype))) {
    const expected = `u8 or floats ${rank === 3 ? "" : "[T, "}${rank === 3 ? "[" : ""}${height}, ${width}, 3]`;
    const message = `${op}: ${argument} is ${dtype} ${showShape(shape)}, expected ${expected}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument });
  }
  const here = given.device === device ? given.alias() : await movedTo(given, device);
  try {
    return scope(() => {
      const taken = rank === 3 ? here : slice(here, 0, 0, frames);
      const pixels = dtype === "u8" ? fromBytes(taken as Tensor<"u8">) : cast(taken, "f32");
      return reshape(pixels, [1, frames, height, width, 3]).alias();
    });
  } finally {
    here.dispose();
  }
}

async function movedTo(given: Tensor, device: Device): Promise<Tensor> {
  return tensor(await given.read(), { dtype: given.dtype, shape: given.shape, device });
}

const waiting = (signal: AbortSignal | undefined) => (signal === undefined ? {} : { signal });
