/**
 * The one object of a clip against its background, found without knowing what it should be. Background and colour are those
 * of the whole clip; every threshold is relative to their distance, so that faint objects are found as bright ones are.
 */
import type { RgbClip } from "./clip.js";

export type Rgb = readonly [red: number, green: number, blue: number];

/** What is seen of the object in a frame. Pixels, x to the right and y down, from the corner of the first pixel. */
export interface Sight {
  /** How much of each pixel the object covers, 0 … 1, row after row; 0 outside of the object. */
  readonly cover: Float32Array;
  /** Sum of the covers. */
  readonly area: number;
  /** Centre of mass. */
  readonly x: number;
  readonly y: number;
  /** Area of everything else that differs from the background, as a share of the object's. */
  readonly clutter: number;
}

export interface Segmentation {
  /** The object's colour; undefined where the clip shows nothing but background. */
  readonly colour: Rgb | undefined;
  /** For each frame; undefined where the object is not in it. */
  readonly sights: readonly (Sight | undefined)[];
}

/** Below this distance from the background (of 441) nobody sees an object. */
const faintest = 36;
/** The object's core has at least this share of the largest distances. */
const coreShare = 0.75;
/** Part of a frame that the largest distances are looked for in: less than the smallest object covers. */
const brightest = 0.985;
/** Components that are smaller (for a frame of 64 × 64) are specks. */
const speck = 6 / 4096;

/** @param clip whose object stays away from the left and the right edge for most of the time */
export function segment(clip: RgbClip): Segmentation {
  const ground = backgroundRows(clip);
  const distances = distancesFrom(clip, ground);
  const colour = objectColour(clip, distances);
  const { width, height, numFrames } = clip;
  if (colour === undefined) return { colour, sights: Array.from({ length: numFrames }, () => undefined) };
  const pixels = width * height;
  const sights = Array.from({ length: numFrames }, (_, n) => {
    const frame = clip.data.subarray(n * pixels * 3, (n + 1) * pixels * 3);
    return sightOf(frame, distances.subarray(n * pixels, (n + 1) * pixels), { width, height, ground, colour });
  });
  return { colour, sights };
}

/** Median of some numbers; reorders them. */
export function median(values: number[] | Float64Array): number {
  if (values.length === 0) return Number.NaN;
  values.sort((a, b) => a - b);
  const middle = (values.length - 1) / 2;
  return ((values[Math.floor(middle)] as number) + (values[Math.ceil(middle)] as number)) / 2;
}

/** The background's colour in each row [height, 3]: what the columns at both edges have over the whole clip. */
function backgroundRows({ data, width, height, numFrames }: RgbClip): Float32Array {
  const columns = [0, 1, width - 2, width - 1].filter((x, i, all) => x >= 0 && all.indexOf(x) === i);
  const rows = new Float32Array(height * 3);
  for (let y = 0; y < height; y++) {
    for (let channel = 0; channel < 3; channel++) {
      const values = new Float64Array(numFrames * columns.length);
      for (let n = 0, i = 0; n < numFrames; n++) {
        for (const x of columns) values[i++] = data[((n * height + y) * width + x) * 3 + channel] as number;
      }
      rows[y * 3 + channel] = median(values);
    }
  }
  return rows.map((_, at) => {
    const y = Math.floor(at / 3);
    const near: number[] = [];
    for (let row = Math.max(0, y - 2); row <= Math.min(height - 1, y + 2); row++)
      near.push(rows[row * 3 + (at % 3)] as number);
    return median(near);
  });
}

/** Of every pixel from its row's background. */
function distancesFrom({ data, width, height }: RgbClip, ground: Float32Array): Float32Array {
  const distances = new Float32Array(data.length / 3);
  for (let i = 0; i < distances.length; i++) {
    const y = Math.floor(i / width) % height;
    distances[i] = Math.hypot(
      (data[3 * i] as number) - (ground[3 * y] as number),
      (data[3 * i + 1] as number) - (ground[3 * y + 1] as number),
      (data[3 * i + 2] as number) - (ground[3 * y + 2] as number),
    );
  }
  return distances;
}

/** Median of the pixels that differ most. */
function objectColour({ data }: RgbClip, distances: Float32Array): Rgb | undefined {
  const sorted = distances.slice().sort();
  const large = sorted[Math.floor(brightest * (sorted.length - 1))] as number;
  if (large < faintest) return undefined;
  const core: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < distances.length; i++) {
    if ((distances[i] as number) < coreShare * large) continue;
    for (const channel of [0, 1, 2] as const) core[channel].push(data[3 * i + channel] as number);
  }
  return [median(core[0]), median(core[1]), median(core[2])];
}

interface Scene {
  readonly width: number;
  readonly height: number;
  readonly ground: Float32Array;
  readonly colour: Rgb;
}

function sightOf(frame: Uint8Array, distances: Float32Array, scene: Scene): Sight | undefined {
  const { width, height, ground, colour } = scene;
  const contrast = Float32Array.from({ length: height }, (_, y) =>
    Math.hypot(...colour.map((value, i) => value - (ground[3 * y + i] as number))),
  );
  const mask = new Uint8Array(width * height);
  for (let i = 0; i < mask.length; i++) {
    const needed = Math.max(faintest / 2, 0.5 * (contrast[Math.floor(i / width)] as number));
    if ((distances[i] as number) >= needed) mask[i] = 1;
  }
  const { labels, sizes } = components(mask, width);
  const largest = sizes.indexOf(Math.max(...sizes));
  const size = sizes[largest];
  if (size === undefined || size < speck * width * height) return undefined;
  const others = sizes.reduce((sum, other, i) => sum + (i !== largest && other >= speck * mask.length ? other : 0), 0);
  const near = dilated(labels, largest + 1, width, height);
  const cover = new Float32Array(width * height);
  let [area, x, y] = [0, 0, 0];
  for (let i = 0; i < cover.length; i++) {
    if (near[i] === 0) continue;
    const row = Math.floor(i / width);
    const share = coverOf(frame, i, ground, row, colour, contrast[row] as number);
    cover[i] = share;
    area += share;
    x += share * ((i % width) + 0.5);
    y += share * (row + 0.5);
  }
  return area < 1 ? undefined : { cover, area, x: x / area, y: y / area, clutter: others / size };
}

/** Where a pixel lies between background (0) and object (1). */
function coverOf(
  frame: Uint8Array,
  i: number,
  ground: Float32Array,
  row: number,
  colour: Rgb,
  contrast: number,
): number {
  let dot = 0;
  for (let channel = 0; channel < 3; channel++) {
    const below = ground[3 * row + channel] as number;
    dot += ((frame[3 * i + channel] as number) - below) * ((colour[channel] as number) - below);
  }
  return Math.min(1, Math.max(0, dot / Math.max(1, contrast * contrast)));
}

/** Areas that hang together, over edges: their labels from 1 and their sizes. */
function components(mask: Uint8Array, width: number): { labels: Int32Array; sizes: number[] } {
  const labels = new Int32Array(mask.length);
  const sizes: number[] = [];
  const stack: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0 || labels[start] !== 0) continue;
    const label = sizes.length + 1;
    let size = 0;
    labels[start] = label;
    stack.push(start);
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      size++;
      const column = i % width;
      const nexts = [column > 0 ? i - 1 : -1, column < width - 1 ? i + 1 : -1, i - width, i + width];
      for (const next of nexts) {
        if (next < 0 || next >= mask.length || mask[next] === 0 || labels[next] !== 0) continue;
        labels[next] = label;
        stack.push(next);
      }
    }
    sizes.push(size);
  }
  return { labels, sizes };
}

/** The component and two pixels around it, where its edge fades out. */
function dilated(labels: Int32Array, label: number, width: number, height: number): Uint8Array {
  const near = new Uint8Array(labels.length);
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] !== label) continue;
    const [column, row] = [i % width, Math.floor(i / width)];
    for (let y = Math.max(0, row - 2); y <= Math.min(height - 1, row + 2); y++) {
      near.fill(1, y * width + Math.max(0, column - 2), y * width + Math.min(width, column + 3));
    }
  }
  return near;
}
