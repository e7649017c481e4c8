/** Where the shape of a demo clip is at each moment. Pixels, x to the right and y down, from the corner of the first pixel. */
import type { Draws } from "../data/draws.js";
import type { DemoMotion, DemoShape, DemoSubject } from "./vocabulary.js";

/** Frames and sides of every demo clip. */
export const demoClip = { numFrames: 17, width: 64, height: 64, fps: 24 } as const;

/** Centre of mass and size of the shape. Shapes of one size cover about the same area: that of a circle of this radius. */
export interface Placement {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** How the shape goes. */
export interface DemoPath {
  /** In the first and in the last frame; in between they change evenly. */
  readonly from: Placement;
  readonly to: Placement;
  /** For `clockwise`: the way around a point, angles in radians from the right, growing clockwise. */
  readonly orbit?: {
    readonly x: number;
    readonly y: number;
    readonly distance: number;
    readonly angle: number;
    readonly sweep: number;
  };
}

/** A clip, exactly. */
export type DemoScene = DemoSubject & DemoPath;

/** How far a shape of radius 1 reaches from its centre of mass. */
const reaches: Readonly<Record<DemoShape, { readonly side: number; readonly up: number; readonly down: number }>> = {
  circle: { side: 1, up: 1, down: 1 },
  square: { side: 0.886, up: 0.886, down: 0.886 },
  triangle: { side: 1.213, up: 1.4, down: 0.7 },
  cross: { side: 1.2, up: 1.2, down: 1.2 },
};

/**
 * Radii, pixels. An autoencoder that makes one latent of 8 × 8 pixels loses the shape of smaller ones, and a small model
 * learns shape from those that cover several latents.
 */
const radii = {
  straight: [10, 13],
  clockwise: [9, 11],
  still: [10, 16],
  small: [8, 10],
  large: [15, 18],
} as const;
const margin = 1;
/** Places are multiples of this, pixels: a quarter as many ways for an edge to cross the 8 × 8 pixels of a latent. */
const grid = 4;

/** @param progress 0 in the first frame, 1 in the last */
export function placementAt({ from, to, orbit }: DemoScene, progress: number): Placement {
  const between = (a: number, b: number) => a + (b - a) * progress;
  const radius = between(from.radius, to.radius);
  if (orbit === undefined) return { x: between(from.x, to.x), y: between(from.y, to.y), radius };
  const angle = orbit.angle + orbit.sweep * progress;
  return { x: orbit.x + orbit.distance * Math.cos(angle), y: orbit.y + orbit.distance * Math.sin(angle), radius };
}

/** A clip of this subject, its place, size and speed drawn. The shape stays wholly inside. */
export function drawScene(subject: DemoSubject, draws: Draws): DemoScene {
  const { shape, motion } = subject;
  if (motion === "clockwise") return { ...subject, ...drawOrbit(shape, draws) };
  if (motion === "growing" || motion === "shrinking") {
    const small = draws.uniform(...radii.small);
    const large = draws.uniform(...radii.large);
    const { x, y } = drawPlace(shape, large, draws);
    const [first, last] = motion === "growing" ? [small, large] : [large, small];
    return { ...subject, from: { x, y, radius: first }, to: { x, y, radius: last } };
  }
  if (motion === "still") {
    const place = drawPlace(shape, draws.uniform(...radii.still), draws);
    return { ...subject, from: place, to: place };
  }
  return { ...subject, ...drawLine(shape, motion, draws) };
}

/** The range of centres at which the shape is inside. */
function room(shape: DemoShape, radius: number) {
  const { side, up, down } = reaches[shape];
  const { width, height } = demoClip;
  return {
    x: [margin + side * radius, width - margin - side * radius],
    y: [margin + up * radius, height - margin - down * radius],
  } as const;
}

/** A multiple of the grid within the range; the middle of the range where it holds none. */
function drawOnGrid([low, high]: readonly [number, number], draws: Draws): number {
  const [first, last] = [Math.ceil(low / grid), Math.floor(high / grid)];
  return first > last ? (low + high) / 2 : grid * (first + draws.below(last - first + 1));
}

function drawPlace(shape: DemoShape, radius: number, draws: Draws): Placement {
  const { x, y } = room(shape, radius);
  return { x: drawOnGrid(x, draws), y: drawOnGrid(y, draws), radius };
}

function drawLine(
  shape: DemoShape,
  motion: Exclude<DemoMotion, "clockwise" | "growing" | "shrinking" | "still">,
  draws: Draws,
): DemoPath {
  const radius = draws.uniform(...radii.straight);
  const place = drawPlace(shape, radius, draws);
  const axis = motion === "left" || motion === "right" ? "x" : "y";
  const [low, high] = room(shape, radius)[axis];
  const distance = drawOnGrid([16, high - low - grid], draws);
  const start = drawOnGrid([low, high - distance], draws);
  const [first, last] = motion === "right" || motion === "down" ? [start, start + distance] : [start + distance, start];
  return { from: { ...place, [axis]: first }, to: { ...place, [axis]: last } };
}

function drawOrbit(shape: DemoShape, draws: Draws): DemoPath {
  const radius = draws.uniform(...radii.clockwise);
  const { x, y } = room(shape, radius);
  const distance = draws.uniform(12, Math.min(16, (x[1] - x[0]) / 2, (y[1] - y[0]) / 2));
  const orbit = {
    x: drawOnGrid([x[0] + distance, x[1] - distance], draws),
    y: drawOnGrid([y[0] + distance, y[1] - distance], draws),
    distance,
    angle: draws.uniform(0, 2 * Math.PI),
    sweep: draws.uniform(1.25 * Math.PI, 1.75 * Math.PI),
  };
  const at = (angle: number) => ({
    x: orbit.x + distance * Math.cos(angle),
    y: orbit.y + distance * Math.sin(angle),
    radius,
  });
  return { from: at(orbit.angle), to: at(orbit.angle + orbit.sweep), orbit };
}
