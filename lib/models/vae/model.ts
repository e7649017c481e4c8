/**
 * HunyuanVideo's causal 3D autoencoder: clips of 4n + 1 frames to latents of n + 1, an eighth as high and wide, and back.
 *
 * B batch, T H W frames, rows and columns, C channels; all tensors are [B, T, H, W, C].
 *
 * Source: Kong et al., "HunyuanVideo: A Systematic Framework For Large Video Generative Models" (arXiv 2412.03603), §4.1.
 */
import type { Params } from "../../nn/params.js";
import { div, mul } from "../../ops/pointwise.js";
import type { WaitOptions } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { checkTensor } from "../../tensor/check.js";
import { bytesOf, type FloatDType } from "../../tensor/dtype.js";
import { topOwner } from "../../tensor/ownership.js";
import { scope } from "../../tensor/scope.js";
import { showShape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Pass, Probe } from "./blocks.js";
import { checkVaeConfig, type VaeConfig } from "./config.js";
import { isRecorded } from "./convolution.js";
import { decodeLatents } from "./decoder.js";
import { encodeMoments } from "./encoder.js";
import { chooseTiling, TiledCost } from "./memory.js";
import { type Posterior, posteriorOf } from "./posterior.js";
import { Film } from "./tile-blend.js";
import { type TileProgress, tilePass } from "./tile-pass.js";
import {
  type Direction,
  nearestMultiples,
  outputLength,
  planTiles,
  type Tiling,
  type TilingOption,
  tilingOf,
} from "./tiling.js";

export interface VaeOptions {
  /** Default "off": what a gradient or a comparison wants. "auto" counts the memory that is live at the call. */
  readonly tiling?: TilingOption;
  /** Sees intermediates, under the conformance cases' names. */
  readonly probe?: Probe | undefined;
  /** Called after each block ("decoder.up_blocks.0", …) with what it gave, lent for the call and overwritten later. */
  readonly onBlock?: ((block: string, value: Tensor) => void) | undefined;
}

export interface VaeWaitOptions extends VaeOptions, WaitOptions {
  /** Default "auto". */
  readonly tiling?: TilingOption;
  /** Called when a tile has been through the model. */
  readonly onProgress?: ((progress: TileProgress) => void) | undefined;
}

/**
 * The autoencoder over parameters under the released names.
 *
 * @example
 * const vae = new CausalVae(vaePresets["884-16c-hy"], params);
 * const { mean } = vae.encode(video); // [1, 33, 256, 256, 3] in about −1 … 1
 * const again = await vae.decodeTiled(mean, { signal, onProgress: ({ tile, tiles }) => console.log(`${tile} of ${tiles}`) });
 */
export class CausalVae {
  readonly config: VaeConfig;
  readonly params: Params;

  /** @throws MODEL_UNSUPPORTED for a configuration that this library does not run */
  constructor(config: VaeConfig, params: Params) {
    checkVaeConfig(config);
    this.config = config;
    this.params = params;
  }

  /**
   * The distribution of the latents of a clip, or of an image (one frame).
   *
   * @param video [B, 4n + 1, H, W, 3], H and W multiples of 8, values in about −1 … 1; its type is that of the computation
   * @returns mean and logvar, [B, n + 1, H/8, W/8, 16]
   * @throws SHAPE_MISMATCH with the sizes to use, INVALID_ARGUMENT for a tiling that is refused
   */
  encode<D extends FloatDType>(video: Tensor<D>, options: VaeOptions = {}): Posterior<D> {
    const moments = this.#runNow("encode", video, options);
    return scope(() => posteriorOf(adopted(moments)));
  }

  /**
   * Pixels of latents, which are those of `encode`: unscaled, see {@link unscaleLatents}.
   *
   * @param z [B, T, H, W, 16]; its type is that of the computation
   * @returns [B, 4 (T − 1) + 1, 8 H, 8 W, 3], in about −1 … 1, not clamped
   * @throws SHAPE_MISMATCH, INVALID_ARGUMENT for a tiling that is refused
   */
  decode<D extends FloatDType>(z: Tensor<D>, options: VaeOptions = {}): Tensor<D> {
    return this.#runNow("decode", z, options);
  }

  /**
   * `encode` that waits for the device after each tile, so that it can be followed and stopped.
   *
   * @throws also ABORTED when the signal fires, OUT_OF_MEMORY when "auto" finds no tile that fits
   */
  async encodeTiled<D extends FloatDType>(video: Tensor<D>, options: VaeWaitOptions = {}): Promise<Posterior<D>> {
    const moments = await this.#runTiled("encode", video, options);
    return scope(() => posteriorOf(adopted(moments)));
  }

  /** `decode` that waits for the device after each tile; see {@link encodeTiled}. The result is its caller's. */
  decodeTiled<D extends FloatDType>(z: Tensor<D>, options: VaeWaitOptions = {}): Promise<Tensor<D>> {
    return this.#runTiled("decode", z, options);
  }

  /**
   * The clip of `decodeTiled` in parts, in order, each as soon as it is final: what a video file takes, with no room for
   * the whole of it on the device. The parts are their caller's to dispose of.
   *
   * @example for await (const frames of vae.decodeFrames(z)) { await writer.write(await frames.read()); frames.dispose(); }
   */
  async *decodeFrames<D extends FloatDType>(
    z: Tensor<D>,
    options: VaeWaitOptions = {},
  ): AsyncGenerator<Tensor<D>, void, void> {
    const ready: Tensor<D>[] = [];
    const tiling = await this.#settledTiling("decode", z, options);
    const steps = this.#steps("decode", z, tiling, options, (frames) => {
      const part = frames.alias();
      part.moveTo(undefined);
      ready.push(part);
    });
    try {
      for (let step = steps.next(); !step.done; step = steps.next()) {
        await this.#settle(step.value, z, options);
        for (let part = ready.shift(); part !== undefined; part = ready.shift()) yield part;
      }
      // The last frames become final after the last tile.
      for (let part = ready.shift(); part !== undefined; part = ready.shift()) yield part;
    } finally {
      steps.return();
      for (const part of ready) part.dispose();
    }
  }

  /** Latents as the transformer takes them: times the scaling factor. */
  scaleLatents<D extends FloatDType>(z: Tensor<D>): Tensor<D> {
    return mul(z, this.config.scalingFactor);
  }

  /** Latents as `decode` takes them. */
  unscaleLatents<D extends FloatDType>(latents: Tensor<D>): Tensor<D> {
    return div(latents, this.config.scalingFactor);
  }

  dispose(): void {
    this.params.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #runNow<D extends FloatDType>(direction: Direction, x: Tensor<D>, options: VaeOptions): Tensor<D> {
    checkInput(this.config, direction, x);
    const tiling = this.#tilingFor(direction, x, options.tiling ?? "off");
    using film = new Film<D>(this.#outputFrames(direction, x), isRecorded(this.params, x));
    const steps = this.#steps(direction, x, tiling, options, (frames) => film.add(frames));
    for (const _ of steps);
    return film.finish();
  }

  async #runTiled<D extends FloatDType>(
    direction: Direction,
    x: Tensor<D>,
    options: VaeWaitOptions,
  ): Promise<Tensor<D>> {
    const tiling = await this.#settledTiling(direction, x, options);
    using film = new Film<D>(this.#outputFrames(direction, x), isRecorded(this.params, x));
    const steps = this.#steps(direction, x, tiling, options, (frames) => film.add(frames));
    try {
      for (let step = steps.next(); !step.done; step = steps.next()) await this.#settle(step.value, x, options);
    } finally {
      steps.return();
    }
    return film.finish();
  }

  /** Waits until the tile is through, then tells of it. */
  async #settle(progress: TileProgress, x: Tensor, { signal, onProgress }: VaeWaitOptions): Promise<void> {
    await x.device.sync(signal === undefined ? {} : { signal });
    onProgress?.(progress);
  }

  async #settledTiling(direction: Direction, x: Tensor<FloatDType>, options: VaeWaitOptions): Promise<Tiling> {
    checkInput(this.config, direction, x);
    const { tiling = "auto", signal } = options;
    if (tiling === "auto") {
      // What is queued before may still be about to allocate or to free, and a cached block may be larger than asked for.
      await x.device.sync(signal === undefined ? {} : { signal });
      x.device.trim();
    }
    return this.#tilingFor(direction, x, tiling);
  }

  #tilingFor(direction: Direction, x: Tensor<FloatDType>, option: TilingOption): Tiling {
    if (option !== "auto") return tilingOf(this.config, option);
    const [b = 0, t = 0, h = 0, w = 0, c = 0] = x.shape;
    const { limit, live } = x.device.memory();
    return chooseTiling(new TiledCost(this.config, direction, { b, t, h, w, c }, bytesOf(x.dtype, 1)), limit - live);
  }

  #outputFrames(direction: Direction, x: Tensor): number {
    return outputLength(this.config, direction, "frames", x.shape[1] ?? 0);
  }

  #steps<D extends FloatDType>(
    direction: Direction,
    input: Tensor<D>,
    tiling: Tiling,
    { probe, onBlock }: VaeOptions,
    emit: (frames: Tensor<D>) => void,
  ): Generator<TileProgress, void, void> {
    const { config, params } = this;
    const recorded = isRecorded(params, input);
    const pass: Pass = { config, recorded, probe, onBlock };
    const [t = 0, h = 0, w = 0] = input.shape.slice(1);
    const space = (n: number) => outputLength(config, direction, "space", n);
    const half = direction === "decode" ? decodeLatents : encodeMoments;
    return tilePass({
      plan: planTiles(config, tiling, direction, [t, h, w]),
      input,
      size: [space(h), space(w)],
      recorded,
      run: (tile) => half(pass, params, tile),
      emit,
    });
  }
}

/** A tensor of nobody's, taken into the scope that is open. */
function adopted<T extends Tensor>(tensor: T): T {
  tensor.moveTo(topOwner());
  return tensor;
}

/**
 * Throws unless that is a clip that the model takes.
 *
 * @throws SHAPE_MISMATCH with the sizes to use
 */
function checkInput(config: VaeConfig, direction: Direction, x: Tensor): void {
  const name = direction === "encode" ? "video" : "z";
  checkTensor(direction, name, x);
  const { inChannels, latentChannels, spatialRatio, temporalRatio } = config;
  const channels = direction === "encode" ? inChannels : latentChannels;
  const refuse = (problem: string) => {
    const message = `${direction}: ${name} is ${showShape(x.shape)}: ${problem}`;
    return new HunyuanError("SHAPE_MISMATCH", message, { op: direction, argument: name, shapes: [x.shape] });
  };
  if (x.rank !== 5 || x.shape[4] !== channels) throw refuse(`expected [B, T, H, W, ${channels}]`);
  const [b = 0, t = 0, h = 0, w = 0] = x.shape;
  if (b * t * h * w === 0) throw refuse("there is nothing in it");
  if (direction === "decode") return;
  if ((t - 1) % temporalRatio !== 0) throw refuse(`use ${nearestMultiples(t, temporalRatio, 1)} frames, not ${t}`);
  for (const [axis, size] of [
    ["height", h],
    ["width", w],
  ] as const) {
    if (size % spatialRatio !== 0)
      throw refuse(`use a ${axis} of ${nearestMultiples(size, spatialRatio)}, not ${size}`);
  }
}
