/** Prompts to evaluate a model with. */
import { Draws } from "../data/draws.js";
import { demoClips } from "../demo/clips.js";
import type { DemoColour } from "../demo/vocabulary.js";
import { isHeldOut } from "../demo/vocabulary.js";
import { type Expectation, expectationOf } from "./score.js";

export interface EvalPrompt {
  readonly prompt: string;
  readonly expected: Expectation;
  /** Whether its combination of colour, shape and motion is kept out of training; undefined where it has none. */
  readonly heldOut: boolean | undefined;
}

export interface EvalPromptsOptions {
  /** Half of them, rounded up, are combinations that training never saw. Default 64. */
  readonly count?: number;
  /** Default 0. */
  readonly seed?: number;
  /** All of this colour instead; one that training has not may be among them. */
  readonly colour?: DemoColour | undefined;
}

/** A prompt as a user writes it. What it says of colour, shape and motion is what is scored. */
export function evalPrompt(prompt: string): EvalPrompt {
  const expected = expectationOf(prompt);
  const { colour, shape, motion } = expected;
  const whole = colour !== undefined && shape !== undefined && motion !== undefined;
  return { prompt, expected, heldOut: whole ? isHeldOut({ colour, shape, motion }) : undefined };
}

/**
 * Prompts over all colours, shapes and motions, evenly; seen and held-out combinations in turn.
 *
 * @example demoPrompts({ count: 64, seed: 1 }).filter(({ heldOut }) => heldOut).length // 32
 */
export function demoPrompts({ count = 64, seed = 0, colour }: EvalPromptsOptions = {}): readonly EvalPrompt[] {
  if (colour !== undefined) return colouredPrompts(colour, count, seed);
  const draw = (which: "training" | "held out", wanted: number) =>
    demoClips({ count: wanted, seed, which, weights: {} }).map(({ captions }) => evalPrompt(captions[0] ?? ""));
  const [unseen, seen] = [draw("held out", Math.ceil(count / 2)), draw("training", Math.floor(count / 2))];
  return unseen.flatMap((prompt, i) => [prompt, ...seen.slice(i, i + 1)]);
}

/** The captions of other clips with their colour's word replaced. */
function colouredPrompts(colour: DemoColour, count: number, seed: number): readonly EvalPrompt[] {
  const clips = demoClips({ count, seed, which: "all", weights: {} });
  return new Draws("coloured prompts", seed).shuffled(clips).map(({ scene, captions }) => {
    const article = /^[aeiou]/.test(colour) ? "an" : "a";
    const [caption = ""] = captions;
    return evalPrompt(caption.replace(new RegExp(`\\ban? ${scene.colour}\\b`), `${article} ${colour}`));
  });
}
