/** Captions of demo clips: words for a subject, and the subject of words. */
import type { Draws } from "../data/draws.js";
import {
  backgroundNames,
  colours,
  type DemoColour,
  type DemoMotion,
  type DemoSubject,
  extraColours,
  shapeNames,
} from "./vocabulary.js";

/** After "a circle": as a sentence, and as a description. */
type Verb = readonly [finite: string, participle: string];

const verbs: Readonly<Record<DemoMotion, readonly Verb[]>> = {
  left: [
    ["moves left", "moving left"],
    ["slides to the left", "sliding to the left"],
    ["goes left", "going left"],
  ],
  right: [
    ["moves right", "moving right"],
    ["slides to the right", "sliding to the right"],
    ["goes right", "going right"],
  ],
  up: [
    ["moves up", "moving up"],
    ["rises", "rising"],
    ["goes up", "going up"],
  ],
  down: [
    ["moves down", "moving down"],
    ["falls", "falling"],
    ["goes down", "going down"],
  ],
  clockwise: [
    ["moves clockwise", "moving clockwise"],
    ["goes around clockwise", "going around clockwise"],
    ["orbits clockwise", "orbiting clockwise"],
  ],
  growing: [
    ["grows", "growing"],
    ["gets bigger", "getting bigger"],
    ["becomes larger", "becoming larger"],
  ],
  shrinking: [
    ["shrinks", "shrinking"],
    ["gets smaller", "getting smaller"],
    ["becomes smaller", "becoming smaller"],
  ],
  still: [
    ["stays still", "staying still"],
    ["does not move", "not moving"],
    ["stands still", "standing still"],
  ],
};

interface Words {
  readonly subject: string;
  readonly finite: string;
  readonly participle: string;
  readonly ground: string;
}

/** The first is the one that prompts of the documentation have. */
const templates: readonly ((words: Words) => string)[] = [
  ({ subject, finite, ground }) => `${subject} ${finite} on a ${ground} background`,
  ({ subject, finite, ground }) => `on a ${ground} background, ${subject} ${finite}`,
  ({ subject, participle, ground }) => `${subject} ${participle} on a ${ground} background`,
  ({ subject, finite, ground }) => `${subject} ${finite}, ${ground} background`,
  ({ subject, participle, ground }) => `video of ${subject} ${participle} on a ${ground} background`,
];

function wordsOf({ colour, shape, background }: DemoSubject, [finite, participle]: Verb, american: boolean): Words {
  const article = /^[aeiou]/.test(colour) ? "an" : "a";
  const ground = background === "grey" && american ? "gray" : background;
  return { subject: `${article} ${colour} ${shape}`, finite, participle, ground };
}

/** The plainest caption: "a red circle moves left on a black background". */
export function captionOf(subject: DemoSubject): string {
  const [verb] = verbs[subject.motion];
  return (templates[0] as (words: Words) => string)(wordsOf(subject, verb as Verb, false));
}

/** A caption in one of five forms, with one of three verbs. */
export function drawCaption(subject: DemoSubject, draws: Draws): string {
  const template = draws.pick(templates);
  return template(wordsOf(subject, draws.pick(verbs[subject.motion]), draws.uniform() < 0.3));
}

/** Every caption that can be drawn: what a tokenizer's vocabulary must cover. */
export function allCaptions(subject: DemoSubject): string[] {
  const spellings = subject.background === "grey" ? [false, true] : [false];
  return templates.flatMap((template) =>
    verbs[subject.motion].flatMap((verb) => spellings.map((american) => template(wordsOf(subject, verb, american)))),
  );
}

const motionPatterns: readonly (readonly [DemoMotion, RegExp])[] = [
  ["still", /\b(still|motionless|not (move|moving))\b/],
  ["clockwise", /\bclockwise\b/],
  ["growing", /\b(grow(s|ing)?|bigger|larger)\b/],
  ["shrinking", /\b(shrink(s|ing)?|smaller)\b/],
  ["left", /\bleft\b/],
  ["right", /\bright\b/],
  ["up", /\b(up|upwards?|ris(es|ing))\b/],
  ["down", /\b(down|downwards?|fall(s|ing)?)\b/],
];

/** What a caption in these or similar words says; what it does not say is left out. */
export function parseCaption(caption: string): Partial<DemoSubject> {
  const text = caption.toLowerCase().replaceAll("gray", "grey");
  const ground = new RegExp(`\\b(${backgroundNames.join("|")})\\b(?=( \\w+)? background|$)`).exec(text)?.[1];
  const colourList = [...Object.keys(colours), ...Object.keys(extraColours)].join("|");
  const colour = new RegExp(`\\b(${colourList})\\b`).exec(text)?.[1];
  const shape = shapeNames.find((name) => new RegExp(`\\b${name}\\b`).test(text));
  const motion = motionPatterns.find(([, pattern]) => pattern.test(text))?.[0];
  const background = backgroundNames.find((name) => name === ground);
  return {
    ...(colour === undefined ? {} : { colour: colour as DemoColour }),
    ...(shape === undefined ? {} : { shape }),
    ...(motion === undefined ? {} : { motion }),
    ...(background === undefined ? {} : { background }),
  };
}
