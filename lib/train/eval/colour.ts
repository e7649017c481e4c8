/** Names for colours, by distance as eyes see it. */
import { colours, type DemoColour, extraColours } from "../demo/vocabulary.js";
import type { Rgb } from "./segment.js";

/** Farther than this (CIE 1976 ΔE) from every named colour, a colour has no name. Named ones are at least 30 apart. */
const farthest = 28;
/** The nearest name must be clearly the nearest: at most this share of the distance to the next one. */
const clearly = 0.8;

const named = Object.entries({ ...colours, ...extraColours }).map(([name, rgb]) => ({
  name: name as DemoColour,
  lab: labOf(rgb),
}));

export interface NamedColour {
  /** Undefined where no name fits, or two do. */
  readonly name: DemoColour | undefined;
  /** The nearest name, fitting or not. */
  readonly nearest: DemoColour;
  /** ΔE from it. */
  readonly distance: number;
}

/** @example nameColour([225, 30, 35]).name // "red" */
export function nameColour(rgb: Rgb): NamedColour {
  const lab = labOf(rgb);
  const [first, second] = named
    .map(({ name, lab: other }) => ({ name, distance: Math.hypot(...lab.map((v, i) => v - (other[i] as number))) }))
    .sort((a, b) => a.distance - b.distance);
  if (first === undefined || second === undefined) throw new RangeError("there are no named colours");
  const fits = first.distance <= farthest && first.distance <= clearly * second.distance;
  return { name: fits ? first.name : undefined, nearest: first.name, distance: first.distance };
}

/** sRGB in 0 … 255 to CIE L*a*b*, D65 (IEC 61966-2-1, CIE 15). */
export function labOf(rgb: Rgb): readonly [lightness: number, a: number, b: number] {
  const [r, g, b] = rgb.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const f = (t: number) => (t > (6 / 29) ** 3 ? Math.cbrt(t) : t / (3 * (6 / 29) ** 2) + 4 / 29);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}
