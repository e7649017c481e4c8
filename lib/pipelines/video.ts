/** A finished video: bytes in host memory, which outlive the model that made them. T frames of H × W pixels. */
import type { MediaFormat } from "../io/media/format.js";
import type { FrameSource } from "../io/media/frames.js";
import type { MediaMetadata } from "../io/media/metadata.js";
import { encodeVideo, type WriteVideoOptions, writeVideo } from "../io/media/write.js";
import { invalid } from "../runtime/check.js";
import { type Device, defaultDevice } from "../runtime/device.js";
import { fromBytes } from "../tensor/host.js";
import type { Tensor } from "../tensor/tensor.js";
import type { VideoNotes } from "./latents-file.js";

/**
 * What a request gives.
 *
 * @example
 * await video.save("cat.mp4");
 * for (const frame of video.frames()) console.log(frame.length); // width · height · 3
 */
export class Video implements FrameSource, Disposable {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  readonly numFrames: number;
  /** Frames per second. */
  readonly fps: number;
  readonly #data: Uint8Array;
  readonly #notes: VideoNotes;
  #tensor: Tensor<"u8"> | undefined;

  /** @param data RGB of each pixel, row after row, frame after frame */
  constructor(data: Uint8Array, size: { readonly width: number; readonly height: number }, notes: VideoNotes) {
    const { width, height } = size;
    const numFrames = data.length / (width * height * 3);
    if (!Number.isSafeInteger(numFrames)) {
      throw invalid("Video", "data", `${data.length} bytes`, `whole frames of ${width} × ${height} × 3`);
    }
    this.width = width;
    this.height = height;
    this.numFrames = numFrames;
    this.fps = notes.fps;
    this.#data = data;
    this.#notes = notes;
  }

  /** The seed that gives this video again, with the settings in `metadata`. */
  get seed(): number | undefined {
    return this.#notes.seed;
  }

  /** What is written into files beside the picture: prompt, seed, settings. */
  get metadata(): MediaMetadata {
    const { prompt, negativePrompt, seed, settings } = this.#notes;
    return {
      ...(prompt === undefined ? {} : { prompt }),
      ...(negativePrompt === undefined ? {} : { negativePrompt }),
      ...(seed === undefined ? {} : { seed }),
      settings,
    };
  }

  /** All bytes: RGB of each pixel, row after row, frame after frame. */
  get data(): Uint8Array {
    return this.#data;
  }

  /**
   * The bytes as a tensor [T, H, W, 3] on the process's CPU device. Made when first asked for, and ended by `dispose()`;
   * for another device use {@link toTensor}.
   */
  get tensor(): Tensor<"u8"> {
    if (this.#tensor === undefined || this.#tensor.disposed) {
      this.#tensor = this.toTensor();
      this.#tensor.moveTo(undefined);
    }
    return this.#tensor;
  }

  /** The bytes as a tensor [T, H, W, 3] of the caller's. */
  toTensor(device: Device = defaultDevice()): Tensor<"u8"> {
    const { numFrames, height, width } = this;
    return fromBytes(this.#data, { dtype: "u8", shape: [numFrames, height, width, 3], device });
  }

  /** Each frame's bytes; views of `data`, not copies. */
  *frames(): Generator<Uint8Array, void, void> {
    const size = this.width * this.height * 3;
    for (let at = 0; at < this.#data.length; at += size) yield this.#data.subarray(at, at + size);
  }

  /**
   * Writes a file, or a folder of frames; what it is, the path's ending says: .mp4, .webm, .gif, .webp, .png (one frame),
   * none (frames). The file says that its content was generated, with prompt, seed and settings, unless `metadata` is false.
   *
   * @throws ENCODER_MISSING, FILE_ERROR, INVALID_ARGUMENT, ABORTED
   */
  async save(path: string, options: WriteVideoOptions = {}): Promise<void> {
    await writeVideo(path, this, { ...options, metadata: options.metadata ?? this.metadata });
  }

  /** The bytes of such a file. @throws as {@link save} */
  async toBuffer(
    format: Exclude<MediaFormat, "frames">,
    options: Omit<WriteVideoOptions, "format"> = {},
  ): Promise<Buffer> {
    return await encodeVideo(this, { ...options, format, metadata: options.metadata ?? this.metadata });
  }

  /** Ends `tensor`, if it was asked for. The bytes stay. */
  dispose(): void {
    this.#tensor?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
