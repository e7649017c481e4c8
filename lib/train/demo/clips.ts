/** Which clips a demo data set is made of. */
import { Draws } from "../data/draws.js";
import { drawCaption } from "./captions.js";
import { type DemoScene, drawScene } from "./scene.js";
import {
  backgroundNames,
  combinations,
  type DemoColour,
  type DemoMotion,
  type DemoShape,
  type DemoSubject,
  type HexColour,
} from "./vocabulary.js";

export interface DemoClip {
  readonly scene: DemoScene;
  /** Different words for the same thing. */
  readonly captions: readonly string[];
}

export interface DemoClipsOptions {
  readonly count: number;
  readonly seed: number;
  /** Which combinations of colour, shape and motion. Default `training`. */
  readonly which?: "all" | "training" | "held out";
  /**
   * How often each motion and each shape comes, as whole numbers; a combination as often as its two multiplied. Default
   * {@link clipWeights}; all alike for evaluation: {}.
   */
  readonly weights?: Readonly<Partial<Record<DemoMotion | DemoShape, number>>>;
  /**
   * All clips in this colour, which may be one that the demo model never saw: to teach it one. "any": each in a colour of
   * its own, from all there are, for an autoencoder that is to carry them. Default: colours as they come.
   */
  readonly colour?: DemoColour | "any" | undefined;
}

/** What is harder to learn comes more often. */
export const clipWeights = {
  left: 2,
  right: 2,
  up: 2,
  down: 2,
  clockwise: 4,
  growing: 3,
  shrinking: 3,
  still: 2,
  circle: 2,
  square: 3,
  triangle: 2,
  cross: 4,
} as const satisfies Readonly<Record<DemoMotion | DemoShape, number>>;

const captionsPerClip = 4;

/** Clip `index` depends on the options and its index only. Combinations and backgrounds come evenly. */
export function demoClips(options: DemoClipsOptions): DemoClip[] {
  const { count, seed, which = "training", weights = clipWeights, colour } = options;
  const wanted: readonly Omit<DemoSubject, "background">[] = combinations(which).flatMap((one) =>
    Array.from({ length: (weights[one.motion] ?? 1) * (weights[one.shape] ?? 1) }, () => one),
  );
  const clips: DemoClip[] = [];
  for (let round = 0; clips.length < count; round++) {
    const order = new Draws("demo order", seed, round).shuffled(wanted.map((one, i) => ({ one, i })));
    for (const { one, i } of order.slice(0, count - clips.length)) {
      // Each place of the list meets every background in five rounds.
      const background = backgroundNames[(i + round) % backgroundNames.length] as DemoSubject["background"];
      const name = `${which} ${clips.length}`;
      const given = colour === "any" ? drawColour(new Draws("demo colour", seed, name)) : colour;
      const subject = { ...one, background, ...(given === undefined ? {} : { colour: given }) };
      clips.push(demoClipOf(subject, seed, name));
    }
  }
  return clips;
}

function drawColour(draws: Draws): HexColour {
  return `#${draws
    .below(2 ** 24)
    .toString(16)
    .padStart(6, "0")}`;
}

/** One clip of a subject. */
export function demoClipOf(subject: DemoSubject, seed: number, name: string | number): DemoClip {
  const draws = new Draws("demo clip", seed, name);
  const scene = drawScene(subject, draws);
  const captions = new Set<string>();
  while (captions.size < captionsPerClip) captions.add(drawCaption(subject, draws));
  return { scene, captions: [...captions] };
}
