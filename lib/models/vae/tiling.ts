/** How a clip is cut into tiles, in pixels and frames: the published settings, custom ones, and which are refused. */
import { HunyuanError } from "../../runtime/errors.js";
import { decodedFrames, type VaeConfig } from "./config.js";

/** Tiles along one axis, in pixels or frames: how long they are, and how far from one to the next. */
export interface AxisTiles {
  /** Frames: this many and one more, which every tile but the first drops after the model. */
  readonly tile: number;
  /** Multiples of the compression ratio, as is `tile`. What tiles share, tile − stride, is blended linearly. */
  readonly stride: number;
}

/**
 * Axes without an entry are not cut. Frames are cut where a clip has more than a tile of them; then, inside each piece,
 * height and width where either is larger than its tile.
 */
export interface Tiling {
  readonly frames?: AxisTiles | undefined;
  readonly height?: AxisTiles | undefined;
  readonly width?: AxisTiles | undefined;
}

const squares = { height: { tile: 256, stride: 192 }, width: { tile: 256, stride: 192 } } as const;

/** The published settings. GroupNorm sees a tile at a time, so each gives other pictures than the others, and than none. */
export const tilingProfiles = {
  /** The original's `enable_tiling()`: 65 frames of 256 × 256. */
  hunyuan: { frames: { tile: 64, stride: 48 }, ...squares },
  /** diffusers' `enable_tiling()`: 17 frames of 256 × 256. */
  diffusers: { frames: { tile: 16, stride: 12 }, ...squares },
  /** diffusers without `enable_tiling()`, which still goes by 17 frames. */
  diffusersFramewise: { frames: { tile: 16, stride: 12 } },
} as const satisfies { readonly [name: string]: Tiling };

/**
 * "off": in one piece. "auto": in one piece where that fits the device's memory limit, else in the largest tiles that do.
 * Otherwise a published profile by name, or settings.
 */
export type TilingOption = "auto" | "off" | keyof typeof tilingProfiles | Tiling;

/** What a name or settings say; "auto" is left to who knows the memory. @throws INVALID_ARGUMENT */
export function tilingOf(config: VaeConfig, option: Exclude<TilingOption, "auto">): Tiling {
  if (option === "off") return {};
  const tiling = typeof option === "string" ? tilingProfiles[option] : option;
  if (typeof tiling !== "object" || tiling === null) {
    const names = ["auto", "off", ...Object.keys(tilingProfiles)].join(", ");
    throw refused(`tiling is ${String(option)}, expected ${names} or settings`);
  }
  checkTiling(config, tiling);
  return tiling;
}

/**
 * Throws when settings would give a clip of the wrong size, or none.
 *
 * @throws INVALID_ARGUMENT with the nearest sizes that would do
 */
export function checkTiling({ spatialRatio, temporalRatio }: VaeConfig, tiling: Tiling): void {
  const ratios = { frames: temporalRatio, height: spatialRatio, width: spatialRatio };
  for (const axis of ["frames", "height", "width"] as const) {
    const tiles = tiling[axis];
    if (tiles === undefined) continue;
    const ratio = ratios[axis];
    for (const what of ["tile", "stride"] as const) {
      const value = tiles[what];
      if (Number.isSafeInteger(value) && value >= ratio && value % ratio === 0) continue;
      throw refused(
        `${axis}.${what} is ${value}, which is no whole number of latents; use ${nearestMultiples(value, ratio)}`,
      );
    }
    if (tiles.stride > tiles.tile) {
      throw refused(`${axis}.stride is ${tiles.stride}, which leaves gaps between tiles of ${tiles.tile}`);
    }
  }
}

/** "248 or 256 (a multiple of 8)". */
export function nearestMultiples(value: number, step: number, first = 0): string {
  const rule = first === 0 ? `a multiple of ${step}` : `${step}n + ${first}`;
  const below = Math.floor((value - first) / step) * step + first;
  const least = first === 0 ? step : first;
  if (!Number.isFinite(below) || below < least) return `${least} (${rule})`;
  return `${below} or ${below + step} (${rule})`;
}

function refused(message: string): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `autoencoder: ${message}`, { op: "autoencoder", argument: "tiling" });
}

/** The original's settings by its own names, in pixels, frames and latents. */
export type ReferenceTiling = {
  readonly [K in
    | "tile_sample_min_size"
    | "tile_latent_min_size"
    | "tile_sample_min_tsize"
    | "tile_latent_min_tsize"
    // The part of a tile that it shares with the next.
    | "tile_overlap_factor"]?: unknown;
};

/**
 * The original's settings in ours.
 *
 * @throws INVALID_ARGUMENT where the original would return a clip of another size: a latent tile times (1 − overlap) must
 * be whole, and a tile of pixels be a tile of latents times the ratio.
 * @example tilingOfReference(config, JSON.parse(text).config)
 */
export function tilingOfReference(config: VaeConfig, given: ReferenceTiling): Tiling {
  const number = (key: keyof ReferenceTiling): number => {
    const value = given[key];
    if (typeof value === "number") return value;
    throw refused(`${key} is ${String(value)}, expected a number`);
  };
  const overlap = number("tile_overlap_factor");
  if (!(overlap >= 0 && overlap < 1)) throw refused(`tile_overlap_factor is ${overlap}, expected 0 ≤ factor < 1`);
  const axis = (suffix: "size" | "tsize", ratio: number): AxisTiles => {
    const tile = number(`tile_sample_min_${suffix}`);
    const latent = number(`tile_latent_min_${suffix}`);
    if (!Number.isSafeInteger(latent) || latent < 1 || tile !== latent * ratio) {
      const wanted = `${latent * ratio}, ${ratio} times tile_latent_min_${suffix} ${latent}`;
      throw refused(`tile_sample_min_${suffix} is ${tile}, expected ${wanted}`);
    }
    const stride = latent * (1 - overlap);
    // 10 · (1 − 0.1) is a hair beside 9 in floating point.
    const whole = Math.round(stride);
    if (Math.abs(stride - whole) > 1e-9 || whole < 1) {
      const fitting = wholeStrides(latent, overlap);
      throw refused(
        `tile_latent_min_${suffix} ${latent} with tile_overlap_factor ${overlap} gives tiles every ${stride} latents; ` +
          (fitting === "" ? "no size up to twice that gives a whole number, use another factor" : `use ${fitting}`),
      );
    }
    return { tile, stride: whole * ratio };
  };
  const space = axis("size", config.spatialRatio);
  return { frames: axis("tsize", config.temporalRatio), height: space, width: space };
}

/** The nearest latent tiles, below and above, whose stride is whole. */
function wholeStrides(latent: number, overlap: number): string {
  const fits = (n: number) =>
    n * (1 - overlap) >= 1 && Math.abs(n * (1 - overlap) - Math.round(n * (1 - overlap))) < 1e-9;
  const sizes = Array.from({ length: 2 * latent }, (_, i) => i + 1).filter(fits);
  const below = sizes.filter((n) => n < latent).at(-1);
  const above = sizes.find((n) => n > latent);
  return [below, above].filter((n) => n !== undefined).join(" or ");
}

// --- where the tiles lie ---------------------------------------------------------------------------------------------

/** Which way a clip goes through the model: latents to pixels, or pixels to latents. */
export type Direction = "decode" | "encode";

/** A tile along one axis: what it reads, in elements of the input. */
export interface Window {
  readonly start: number;
  readonly length: number;
}

/** One axis cut: windows of the input, and how their outputs are put together, in elements of the output. */
export interface AxisPlan {
  readonly windows: readonly Window[];
  /** How much of a tile may be mixed with the one before it. */
  readonly blend: number;
  /** How much of each tile is kept, its first elements; of a first tile of frames one more. */
  readonly limit: number;
}

export interface TilePlan {
  readonly frames: AxisPlan;
  readonly height: AxisPlan;
  readonly width: AxisPlan;
  /** How often the model runs. */
  readonly tiles: number;
}

const whole = (size: number): AxisPlan => ({ windows: [{ start: 0, length: size }], blend: 0, limit: Infinity });

/**
 * The tiles of a clip of that size in elements of the input, [T, H, W].
 *
 * A tile of frames that holds nothing but the frame that it would drop is left out.
 */
export function planTiles(
  { spatialRatio, temporalRatio }: VaeConfig,
  { frames, height, width }: Tiling,
  direction: Direction,
  [t, h, w]: readonly [t: number, h: number, w: number],
): TilePlan {
  const inInput = (tiles: AxisTiles, ratio: number) => (direction === "encode" ? tiles.tile : tiles.tile / ratio);
  const cut = (size: number, tiles: AxisTiles | undefined, ratio: number, carried: number): AxisPlan => {
    if (tiles === undefined) return whole(size);
    const [into, out] = direction === "encode" ? [1, ratio] : [ratio, 1];
    const stride = tiles.stride / into;
    const length = tiles.tile / into + carried;
    const windows = Array.from({ length: Math.ceil((size - carried) / stride) }, (_, i) => ({
      start: i * stride,
      length: Math.min(length, size - i * stride),
    }));
    return { windows, blend: (tiles.tile - tiles.stride) / out, limit: tiles.stride / out };
  };
  const inTime = frames !== undefined && t > inInput(frames, temporalRatio);
  const inSpace =
    (height !== undefined && h > inInput(height, spatialRatio)) ||
    (width !== undefined && w > inInput(width, spatialRatio));
  const plan = {
    frames: cut(t, inTime ? frames : undefined, temporalRatio, 1),
    height: cut(h, inSpace ? height : undefined, spatialRatio, 0),
    width: cut(w, inSpace ? width : undefined, spatialRatio, 0),
  };
  return { ...plan, tiles: plan.frames.windows.length * plan.height.windows.length * plan.width.windows.length };
}

/** How large the model's output of a window is: latents of pixels, or pixels of latents. */
export function outputLength(
  config: VaeConfig,
  direction: Direction,
  axis: "frames" | "space",
  length: number,
): number {
  const { spatialRatio, temporalRatio } = config;
  if (axis === "space") return direction === "decode" ? length * spatialRatio : Math.ceil(length / spatialRatio);
  return direction === "decode" ? decodedFrames(config, length) : Math.ceil((length - 1) / temporalRatio) + 1;
}
