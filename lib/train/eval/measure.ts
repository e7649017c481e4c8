/** What a clip shows, measured from its pixels alone: no caption is known here. */
import type { DemoColour, DemoMotion, DemoShape } from "../demo/vocabulary.js";
import { checkClip, type RgbClip } from "./clip.js";
import { type NamedColour, nameColour } from "./colour.js";
import { findMotion, type Movement } from "./motion.js";
import { type Rgb, type Sight, segment } from "./segment.js";
import { findShape, type Overlaps } from "./shape.js";

export interface Measurement {
  readonly colour: DemoColour | undefined;
  readonly shape: DemoShape | undefined;
  readonly motion: DemoMotion | "counterclockwise" | undefined;
  /** What the names were told from. */
  readonly details: {
    /** Of the object; undefined where there is none. */
    readonly rgb: Rgb | undefined;
    readonly named: NamedColour | undefined;
    readonly overlaps: Overlaps | undefined;
    readonly movement: Movement | undefined;
    /** Share of the frames in which the object is seen. */
    readonly seen: number;
    /** Share of the frames in which there is little beside it. */
    readonly alone: number;
  };
}

/** An object that is missing from more of the frames shows no motion. */
const leastSeen = 0.9;
/** Other things may be so large, by the object's area, before it is not alone; and in so many of the frames it must be. */
const mostClutter = 0.25;
const leastAlone = 0.7;
/** Frames that the shape is told from: laying shapes over each other is most of the work. */
const shapeFrames = 9;

/** At most `count` of the items, evenly. */
function spread<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.round((i * (items.length - 1)) / (count - 1))] as T);
}

/**
 * Measures colour, shape and motion of the one object in a clip. What cannot be told for certain is undefined: nothing or
 * several things to be seen, a colour between two names, a shape like none, a way that is neither straight nor round.
 *
 * @throws INVALID_ARGUMENT unless the bytes are whole frames
 * @example measureClip({ data: video.data, width: 64, height: 64, numFrames: 17 }).motion // "left"
 */
export function measureClip(clip: RgbClip): Measurement {
  checkClip("measureClip", clip);
  const { width, height, numFrames } = clip;
  const { colour: rgb, sights } = segment(clip);
  const found = sights.filter((sight): sight is Sight => sight !== undefined);
  const seen = found.length / numFrames;
  const alone = found.filter(({ clutter }) => clutter <= mostClutter).length / Math.max(1, found.length);
  if (rgb === undefined || found.length === 0) {
    const details = { rgb, named: undefined, overlaps: undefined, movement: undefined, seen, alone };
    return { colour: undefined, shape: undefined, motion: undefined, details };
  }
  const named = nameColour(rgb);
  const { name: shape, overlaps } = findShape(spread(found, shapeFrames), width);
  const movement = findMotion(found, width, height);
  const single = alone >= leastAlone;
  return {
    colour: named.name,
    shape: single ? shape : undefined,
    motion: single && seen >= leastSeen ? movement.name : undefined,
    details: { rgb, named, overlaps, movement, seen, alone },
  };
}
