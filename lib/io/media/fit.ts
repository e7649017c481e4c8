/** How a picture comes to a size that was asked for. */
import { checkNumber, checkOneOf } from "../../runtime/check.js";
import { maxPixels } from "./frames.js";

/**
 * - `cover` keeps the proportions and cuts away what juts out, equally on both sides: what image-to-video wants;
 * - `contain` keeps the proportions and fills up with black;
 * - `fill` stretches.
 */
export const fits = ["cover", "contain", "fill"] as const;
export type Fit = (typeof fits)[number];

export interface SizeOptions {
  /** Pixels. One side alone: the other by the picture's proportions. Default: as it is. */
  readonly width?: number | undefined;
  /** Pixels. */
  readonly height?: number | undefined;
  /** Default `cover`. */
  readonly fit?: Fit | undefined;
}

/** The way from a picture of one size to one of another: scale to `inner`, then cut or pad to `width × height`. */
export interface FitPlan {
  readonly width: number;
  readonly height: number;
  readonly inner: { readonly width: number; readonly height: number };
}

export function checkSize(op: string, { width, height, fit }: SizeOptions): void {
  if (width !== undefined) checkNumber(op, "width", width, { whole: true, min: 1, max: 16384 });
  if (height !== undefined) checkNumber(op, "height", height, { whole: true, min: 1, max: 16384 });
  checkNumber(op, "width × height", (width ?? 1) * (height ?? 1), { max: maxPixels });
  if (fit !== undefined) checkOneOf(op, "fit", fit, fits);
}

export function planFit(from: { width: number; height: number }, options: SizeOptions): FitPlan {
  const scale = (side: number) => Math.max(1, Math.round(side));
  const width = options.width ?? scale(from.width * ((options.height ?? from.height) / from.height));
  const height = options.height ?? scale(from.height * (width / from.width));
  const { fit = "cover" } = options;
  if (fit === "fill") return { width, height, inner: { width, height } };
  const ratios = [width / from.width, height / from.height] as const;
  const ratio = fit === "cover" ? Math.max(...ratios) : Math.min(...ratios);
  const side = (length: number, target: number) =>
    fit === "cover" ? Math.max(target, scale(length * ratio)) : Math.min(target, scale(length * ratio));
  return { width, height, inner: { width: side(from.width, width), height: side(from.height, height) } };
}

/** The same as FFmpeg's filters, ending in RGB. */
export function fitFilters({ width, height, inner }: FitPlan): string {
  const filters = [
    `scale=${inner.width}:${inner.height}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp`,
    "format=rgb24",
  ];
  if (inner.width > width || inner.height > height) filters.push(`crop=${width}:${height}`);
  if (inner.width < width || inner.height < height) filters.push(`pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2`);
  return filters.join(",");
}
