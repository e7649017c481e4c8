/** Draws demo clips: the distance to the shape's edge decides how much of a pixel it covers, so edges are smooth. */
import { type DemoScene, demoClip, type Placement, placementAt } from "./scene.js";
import { backgrounds, type DemoBackground, type DemoShape, rgbOf } from "./vocabulary.js";

/** Signed distance to the edge, negative inside, for a shape whose centre of mass is the origin. Pixels. */
type Distance = (x: number, y: number, radius: number) => number;

const half = Math.sqrt(3) / 2;

/** Corners are not rounded outside; a pixel wide, nobody sees it. */
const distances: Readonly<Record<DemoShape, Distance>> = {
  circle: (x, y, radius) => Math.hypot(x, y) - radius,
  square: (x, y, radius) => Math.max(Math.abs(x), Math.abs(y)) - 0.886 * radius,
  // Equilateral, upright: three lines at half the distance of the corners.
  triangle: (x, y, radius) => Math.max(y, half * Math.abs(x) - y / 2) - 0.7 * radius,
  cross: (x, y, radius) => {
    const [long, short] = Math.abs(x) > Math.abs(y) ? [Math.abs(x), Math.abs(y)] : [Math.abs(y), Math.abs(x)];
    return Math.max(long - 1.2 * radius, short - 0.4 * radius);
  },
};

export interface RenderOptions {
  /** Default 17: the way from the scene's start to its end takes as many frames. */
  readonly numFrames?: number;
}

/**
 * The frames of a clip as RGB bytes [numFrames, 64, 64, 3].
 *
 * @example
 * const scene = drawScene({ colour: "red", shape: "circle", motion: "left", background: "black" }, new Draws("clip", 1));
 * const bytes = renderScene(scene);
 */
export function renderScene(scene: DemoScene, { numFrames = demoClip.numFrames }: RenderOptions = {}): Uint8Array {
  const { width, height } = demoClip;
  const frameBytes = width * height * 3;
  const ground = renderGround(scene.background);
  const bytes = new Uint8Array(numFrames * frameBytes);
  for (let n = 0; n < numFrames; n++) {
    const frame = bytes.subarray(n * frameBytes, (n + 1) * frameBytes);
    frame.set(ground);
    drawShape(frame, scene, placementAt(scene, numFrames === 1 ? 0 : n / (numFrames - 1)));
  }
  return bytes;
}

function renderGround(background: DemoBackground): Uint8Array {
  const { width, height } = demoClip;
  const [top, bottom] = backgrounds[background];
  const bytes = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const colour = top.map((value, i) => Math.round(value + ((bottom[i] as number) - value) * (y / (height - 1))));
    for (let x = 0; x < width; x++) bytes.set(colour, (y * width + x) * 3);
  }
  return bytes;
}

function drawShape(frame: Uint8Array, { shape, colour }: DemoScene, { x, y, radius }: Placement): void {
  const { width, height } = demoClip;
  const distance = distances[shape];
  const rgb = rgbOf(colour);
  const reach = 1.5 * radius + 1;
  const range = (centre: number, end: number) =>
    [Math.max(0, Math.floor(centre - reach)), Math.min(end, Math.ceil(centre + reach))] as const;
  const [left, right] = range(x, width);
  const [top, bottom] = range(y, height);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const cover = Math.min(1, 0.5 - distance(column + 0.5 - x, row + 0.5 - y, radius));
      if (cover <= 0) continue;
      const at = (row * width + column) * 3;
      for (let i = 0; i < 3; i++) {
        const below = frame[at + i] as number;
        frame[at + i] = Math.round(below + ((rgb[i] as number) - below) * cover);
      }
    }
  }
}
