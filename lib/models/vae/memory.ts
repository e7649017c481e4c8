/** What encoding and decoding need, before anything is loaded, and the tiles that fit a limit. */
import { HunyuanError } from "../../runtime/errors.js";
import { bytesOf, type FloatDType } from "../../tensor/dtype.js";
import { sizeOf } from "../../tensor/shape.js";
import { latentFrames, type VaeConfig } from "./config.js";
import { Ledger } from "./ledger.js";
import { type ClipShape, type PassCost, rehearse } from "./rehearsal.js";
import { vaeSpec } from "./spec.js";
import {
  type AxisTiles,
  type Direction,
  outputLength,
  planTiles,
  type Tiling,
  type TilingOption,
  tilingOf,
} from "./tiling.js";

/** A clip in pixels: 4n + 1 frames, height and width multiples of 8. */
export interface ClipSize {
  readonly numFrames: number;
  readonly height: number;
  readonly width: number;
  /** Default 1. */
  readonly batch?: number | undefined;
}

export interface VaeEstimate {
  /** How the clip is cut; {} when it is not. */
  readonly tiling: Tiling;
  readonly tiles: number;
  /** The most bytes that are live at once, parameters and input included. */
  readonly peakBytes: number;
  /** Of encoder or decoder alone, and of the clip or latents that go in: parts of peakBytes. */
  readonly parameterBytes: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** Multiply-adds counted twice, as the library does them. */
  readonly flops: number;
}

export interface VaeEstimateOptions {
  readonly dtype: FloatDType;
  /** Default "auto". */
  readonly tiling?: TilingOption;
  /** Bytes that parameters, input and work may take, for "auto". Default: any number. */
  readonly memoryLimit?: number | undefined;
  /** Bytes that parameters take, where it is not the half that the direction needs in `dtype`. */
  readonly parameterBytes?: number | undefined;
}

/** Bytes of the parameters of one half, or of both. */
export function vaeParameterBytes(
  config: VaeConfig,
  dtype: FloatDType,
  part: "encoder" | "decoder" | "both" = "both",
): number {
  return vaeSpec(config, part).reduce((sum, { shape }) => sum + bytesOf(dtype, sizeOf(shape)), 0);
}

/**
 * Bytes and FLOPs of encoding or decoding a clip.
 *
 * @throws INVALID_ARGUMENT for tilings that are refused; OUT_OF_MEMORY when "auto" finds no tile that fits the limit
 * @example estimateVae(config, "decode", { numFrames: 129, height: 720, width: 1280 }, { dtype: "bf16", memoryLimit: 24e9 })
 */
export function estimateVae(
  config: VaeConfig,
  direction: Direction,
  size: ClipSize,
  options: VaeEstimateOptions,
): VaeEstimate {
  const { dtype, tiling: option = "auto", memoryLimit = Number.POSITIVE_INFINITY } = options;
  const half = direction === "decode" ? "decoder" : "encoder";
  const { parameterBytes = vaeParameterBytes(config, dtype, half) } = options;
  const input = inputShape(config, direction, size);
  const inputBytes = bytesOf(dtype, elements(input));
  const work = new TiledCost(config, direction, input, bytesOf(dtype, 1));
  const tiling =
    option === "auto" ? chooseTiling(work, memoryLimit - parameterBytes - inputBytes) : tilingOf(config, option);
  const { tiles, peak, flops, outputBytes } = work.of(tiling);
  const peakBytes = parameterBytes + inputBytes + peak;
  return { tiling, tiles, peakBytes, parameterBytes, inputBytes, outputBytes, flops };
}

const elements = ({ b, t, h, w, c }: ClipShape) => b * t * h * w * c;

function inputShape(config: VaeConfig, direction: Direction, { numFrames, height, width, batch = 1 }: ClipSize) {
  const { spatialRatio: ratio, inChannels, latentChannels } = config;
  return direction === "encode"
    ? { b: batch, t: numFrames, h: height, w: width, c: inChannels }
    : { b: batch, t: latentFrames(config, numFrames), h: height / ratio, w: width / ratio, c: latentChannels };
}

interface WorkCost {
  readonly tiles: number;
  /** Bytes besides parameters and input. */
  readonly peak: number;
  readonly flops: number;
  readonly outputBytes: number;
}

/** What a clip of one size costs under any tiling; the steps are those of tile-pass.ts. */
export class TiledCost {
  readonly config: VaeConfig;
  readonly direction: Direction;
  readonly input: ClipShape;
  readonly #bytes: number;
  readonly #passes = new Map<string, PassCost>();

  constructor(config: VaeConfig, direction: Direction, input: ClipShape, bytes: number) {
    this.config = config;
    this.direction = direction;
    this.input = input;
    this.#bytes = bytes;
  }

  #pass(t: number, h: number, w: number): PassCost {
    const key = `${t},${h},${w}`;
    let cost = this.#passes.get(key);
    if (cost === undefined) {
      cost = rehearse(this.config, this.direction, { ...this.input, t, h, w }, this.#bytes);
      this.#passes.set(key, cost);
    }
    return cost;
  }

  /** Bytes that a tile of so many pixels takes at the very least. */
  leastOf(volume: number): number {
    return 3 * this.input.b * volume * (this.config.blockChannels[0] ?? 0) * this.#bytes;
  }

  /** Bytes that the largest tile takes by itself: less than all of them, and found much faster. */
  ofOneTile(tiling: Tiling): number {
    const { t, h, w } = this.input;
    const { frames, height, width } = planTiles(this.config, tiling, this.direction, [t, h, w]);
    const [first, row, column] = [frames, height, width].map(({ windows }) => windows[0]?.length ?? 0);
    return this.#pass(first as number, row as number, column as number).peak;
  }

  of(tiling: Tiling): WorkCost {
    const { config, direction, input } = this;
    const plan = planTiles(config, tiling, direction, [input.t, input.h, input.w]);
    const ledger = new Ledger();
    const [height, width] = [input.h, input.w].map((n) => outputLength(config, direction, "space", n));
    const frames = outputLength(config, direction, "frames", input.t);
    const channels = direction === "decode" ? config.outChannels : 2 * config.latentChannels;
    const ofFrames = (count: number) =>
      input.b * count * (height as number) * (width as number) * channels * this.#bytes;
    let edge = ledger.take(0);
    plan.frames.windows.forEach(({ length }, i) => {
      const clip = this.#clip(ledger, length, plan.height, plan.width);
      const own = clip.frames - (i === 0 ? 0 : 1);
      const shared = i === 0 ? 0 : Math.min(own, plan.frames.blend);
      ledger.borrow((ofFrames(shared) / this.#bytes) * mixBytes);
      // The film is there from the first finished frames on.
      if (i === 0 && plan.frames.windows.length > 1) ledger.take(ofFrames(frames));
      const last = i + 1 === plan.frames.windows.length;
      const next = ledger.take(last ? 0 : ofFrames(Math.min(own, plan.frames.blend)));
      ledger.give(edge, { bytes: clip.bytes });
      edge = next;
    });
    return { tiles: plan.tiles, peak: ledger.peak, flops: ledger.flops, outputBytes: ofFrames(frames) };
  }

  /** One window of frames, tile by tile; what it made stays on the ledger. */
  #clip(ledger: Ledger, t: number, rows: ReturnType<typeof planTiles>["height"], columns: typeof rows) {
    const { b, c } = this.#pass(t, rows.windows[0]?.length ?? 0, columns.windows[0]?.length ?? 0).output;
    const frames = outputLength(this.config, this.direction, "frames", t);
    const space = (n: number) => outputLength(this.config, this.direction, "space", n);
    const bytesOfPart = (h: number, w: number) => b * frames * h * w * c * this.#bytes;
    const single = rows.windows.length * columns.windows.length === 1;
    const wholeBytes = bytesOfPart(space(this.input.h), space(this.input.w));
    let whole = 0;
    const above = columns.windows.map(() => ledger.take(0));
    let left = ledger.take(0);
    rows.windows.forEach((row, i) => {
      columns.windows.forEach((column, j) => {
        const pass = this.#pass(t, row.length, column.length);
        ledger.flops += pass.flops;
        ledger.borrow(pass.peak);
        const [h, w] = [space(row.length), space(column.length)];
        const tile = ledger.take(bytesOfPart(h, w));
        if (single) {
          whole = tile.bytes;
          return;
        }
        const shared = Math.max(
          i > 0 ? bytesOfPart(Math.min(h, rows.blend), w) : 0,
          j > 0 ? bytesOfPart(h, Math.min(w, columns.blend)) : 0,
        );
        ledger.borrow((shared / this.#bytes) * mixBytes);
        if (whole === 0) whole = ledger.take(wholeBytes).bytes;
        const lastRow = i + 1 === rows.windows.length;
        const below = ledger.take(lastRow ? 0 : bytesOfPart(Math.min(h, rows.blend), w));
        const right = ledger.take(j + 1 === columns.windows.length ? 0 : bytesOfPart(h, Math.min(w, columns.blend)));
        ledger.give(tile, left, above[j] ?? below);
        above[j] = below;
        left = right;
      });
    });
    return { frames, bytes: whole };
  }
}

/** Falling part, rising part and their sum, f32, for each element that two tiles share. */
const mixBytes = 3 * 4;

// --- "auto" ----------------------------------------------------------------------------------------------------------

/** Latents by which the sizes that "auto" tries differ. */
const steps = { frames: 1, space: 4 } as const;

/** From the best to what must do: no smaller than the published tiles, then shorter ones, then any. */
const floors = [
  { frames: 64, space: 256 },
  { frames: 16, space: 256 },
  { frames: 16, space: 0 },
] as const;

/** Of tiles whose sizes differ by no more than this, those are taken that do least twice. */
const nearlyAsLarge = 7 / 8;

/** What is left free for blocks that the allocator rounds up and for kernels' smallest scratch. */
const slack = { part: 0.01, bytes: 2 ** 20 } as const;

/** A quarter is shared with the next tile, or a little more where that is no whole number of latents. */
const withQuarterShared = (tile: number, ratio: number): AxisTiles => ({
  tile,
  stride: Math.floor((tile / ratio) * 0.75) * ratio,
});

/**
 * {} where everything fits at once, else the settings with the largest tile that fits, a quarter of it shared or a little
 * more.
 *
 * @throws OUT_OF_MEMORY when nothing fits
 */
export function chooseTiling(work: TiledCost, available: number): Tiling {
  const room = available * (1 - slack.part) - slack.bytes;
  const untiled = work.of({});
  if (untiled.peak <= room) return {};
  for (const floor of floors) {
    let largest = 0;
    let best: { readonly tiling: Tiling; readonly flops: number } | undefined;
    for (const { tiling, volume } of [...candidates(work, floor)].sort((a, b) => b.volume - a.volume)) {
      if (volume < largest * nearlyAsLarge) break;
      // Three clips of the width next to the pixels are live at once in either direction, whatever else is.
      if (work.leastOf(volume) > room || work.ofOneTile(tiling) > room) continue;
      const { peak, flops } = work.of(tiling);
      if (peak > room) continue;
      largest = Math.max(largest, volume);
      if (best === undefined || flops < best.flops) best = { tiling, flops };
    }
    if (best !== undefined) return best.tiling;
  }
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const message =
    `${work.direction}: ${mib(untiled.peak)} are needed at once, and the smallest tiles do not fit either: ` +
    `${mib(Math.max(0, available))} of the memory limit are free; raise the limit or dispose of other tensors`;
  throw new HunyuanError("OUT_OF_MEMORY", message, { op: work.direction });
}

/** Settings no smaller than a floor, which holds for axes that are cut. */
function* candidates({ config, direction, input }: TiledCost, floor: (typeof floors)[number]) {
  const { spatialRatio, temporalRatio } = config;
  const [ratioT, ratioS] = direction === "decode" ? [temporalRatio, spatialRatio] : [1, 1];
  const [t, h, w] = [(input.t - 1) * ratioT + 1, input.h * ratioS, input.w * ratioS];
  const sizes = (extent: number, step: number, least: number) => {
    const found: number[] = [];
    for (let size = step; size < extent; size += step) if (size >= least) found.push(size);
    return [...found, extent];
  };
  // A tile of n frames reads n + 1.
  for (const frames of sizes(t - 1, steps.frames * temporalRatio, floor.frames)) {
    for (const side of sizes(Math.max(h, w), steps.space * spatialRatio, floor.space)) {
      const tiling: Tiling = {
        ...(frames < t - 1 ? { frames: withQuarterShared(frames, temporalRatio) } : {}),
        ...(side < h ? { height: withQuarterShared(side, spatialRatio) } : {}),
        ...(side < w ? { width: withQuarterShared(side, spatialRatio) } : {}),
      };
      yield { tiling, volume: (frames + 1) * Math.min(side, h) * Math.min(side, w) };
    }
  }
}
