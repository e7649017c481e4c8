/** Which shape an object has: it is laid over each shape of its own area and place, and the best overlap wins. */
import { type DemoShape, shapeNames } from "../demo/vocabulary.js";
import type { Sight } from "./segment.js";

/** Half sizes of a shape with the area of a circle of radius 1, centre of mass at the origin; y points down. */
const squareHalf = Math.sqrt(Math.PI) / 2;
/** Of an upright equilateral triangle the radius of the inscribed circle: its area is 3√3 ρ². */
const triangleInner = Math.sqrt(Math.PI / (3 * Math.sqrt(3)));
/** Of a cross with arms a third as wide as it is long: its area is 20/9 of its half length squared. */
const crossHalf = Math.sqrt((9 * Math.PI) / 20);

/** Signed distance to the edge, about, for unit area radius 1. */
const edges: Readonly<Record<DemoShape, (x: number, y: number) => number>> = {
  circle: (x, y) => Math.hypot(x, y) - 1,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - squareHalf,
  triangle: (x, y) => Math.max(y, (Math.sqrt(3) / 2) * Math.abs(x) - y / 2) - triangleInner,
  cross: (x, y) => {
    const [long, short] = [Math.max(Math.abs(x), Math.abs(y)), Math.min(Math.abs(x), Math.abs(y))];
    return Math.max(long - crossHalf, short - crossHalf / 3);
  },
};

/** Overlap of covers, ∑ min / ∑ max, below which an object has no shape that has a name. */
const leastOverlap = 0.75;
/** Frames that must agree with the whole. */
const leastAgreement = 0.6;

export type Overlaps = Readonly<Record<DemoShape, number>>;

export interface FoundShape {
  /** Undefined where none fits well, or frames disagree. */
  readonly name: DemoShape | undefined;
  /** Mean over frames of the best overlap with each shape. */
  readonly overlaps: Overlaps;
}

/** The shape of an object over all frames in which it is seen. */
export function findShape(sights: readonly Sight[], width: number): FoundShape {
  const each = sights.map((sight) => overlapsOf(sight, width));
  const mean = (shape: DemoShape) => each.reduce((sum, one) => sum + one[shape], 0) / Math.max(1, each.length);
  const overlaps = Object.fromEntries(shapeNames.map((shape) => [shape, mean(shape)])) as Record<DemoShape, number>;
  const best = bestOf(overlaps);
  const agreeing = each.filter((one) => bestOf(one) === best).length;
  const fits = overlaps[best] >= leastOverlap && agreeing >= leastAgreement * Math.max(1, each.length);
  return { name: fits ? best : undefined, overlaps };
}

function bestOf(overlaps: Overlaps): DemoShape {
  return [...shapeNames].sort((a, b) => overlaps[b] - overlaps[a])[0] as DemoShape;
}

const scales = [0.9, 0.96, 1.02, 1.08];
const shifts = [-0.8, 0, 0.8];

function overlapsOf(sight: Sight, width: number): Overlaps {
  const radius = Math.sqrt(sight.area / Math.PI);
  const found = shapeNames.map((shape) => {
    let best = 0;
    for (const scale of scales) {
      for (const dx of shifts) {
        for (const dy of shifts) {
          best = Math.max(best, overlap(sight, width, shape, sight.x + dx, sight.y + dy, radius * scale));
        }
      }
    }
    return [shape, best] as const;
  });
  return Object.fromEntries(found) as Record<DemoShape, number>;
}

/** ∑ min / ∑ max of the object's cover and that of a shape. */
function overlap(sight: Sight, width: number, shape: DemoShape, x: number, y: number, radius: number): number {
  const { cover, area } = sight;
  const height = cover.length / width;
  const edge = edges[shape];
  const reach = 1.6 * radius + 1;
  const [left, right] = [Math.max(0, Math.floor(x - reach)), Math.min(width, Math.ceil(x + reach))];
  const [top, bottom] = [Math.max(0, Math.floor(y - reach)), Math.min(height, Math.ceil(y + reach))];
  let [both, drawn] = [0, 0];
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const distance = radius * edge((column + 0.5 - x) / radius, (row + 0.5 - y) / radius);
      const share = Math.min(1, Math.max(0, 0.5 - distance));
      drawn += share;
      both += Math.min(share, cover[row * width + column] as number);
    }
  }
  return both / (area + drawn - both);
}
