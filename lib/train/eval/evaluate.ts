/**
 * Evaluation by pixels: clips are made for prompts, measured without knowing them, and the measurements compared with what
 * the prompts say. The measuring itself is measured too, on rendered clips, on their reconstructions and on shuffled captions.
 */
import { HunyuanError } from "../../runtime/errors.js";
import { demoClips } from "../demo/clips.js";
import { renderScene } from "../demo/render.js";
import { demoClip } from "../demo/scene.js";
import { checkClip, type RgbClip } from "./clip.js";
import { type Measurement, measureClip } from "./measure.js";
import type { EvalPrompt } from "./prompts.js";
import { type Criterion, chanceOf, judge, type Scores, scoresOf, shuffledScores, type Verdict } from "./score.js";

/** Makes the clip for a prompt; its place in the list serves as a seed. */
export type GenerateClip = (prompt: string, index: number, signal: AbortSignal | undefined) => Promise<RgbClip>;

/** A clip through the autoencoder and back. */
export type ReconstructClip = (clip: RgbClip, signal: AbortSignal | undefined) => Promise<RgbClip>;

export interface EvalProgress {
  readonly stage: "generate" | "rendered" | "reconstructed";
  readonly done: number;
  readonly total: number;
}

export interface EvaluateOptions {
  readonly prompts: readonly EvalPrompt[];
  /** Without it only the yardsticks are measured. */
  readonly generate?: GenerateClip | undefined;
  /** Without it the reconstructions are left out. */
  readonly reconstruct?: ReconstructClip | undefined;
  /** How many rendered clips the yardsticks are taken of. Default 64. */
  readonly yardsticks?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: EvalProgress) => void) | undefined;
  /** Sees every clip that was made, with what became of it. */
  readonly onClip?: ((clip: RgbClip, result: ClipResult) => void | Promise<void>) | undefined;
}

export interface ClipResult {
  readonly prompt: string;
  readonly heldOut: boolean | undefined;
  readonly expected: EvalPrompt["expected"];
  readonly measured: Measurement;
  readonly verdict: Verdict;
}

export interface PsnrFigures {
  readonly mean: number;
  readonly median: number;
  readonly worst: number;
}

export interface EvalReport {
  /** Undefined where nothing was generated. */
  readonly generated:
    | {
        readonly scores: Scores;
        /** Of the combinations that training saw, and of those it did not. */
        readonly seen: Scores;
        readonly heldOut: Scores;
        /** Of the same clips, with each other's captions. */
        readonly shuffled: Scores;
        /** What that should come to. */
        readonly chance: Readonly<Record<Criterion, number>>;
        readonly clips: readonly ClipResult[];
      }
    | undefined;
  readonly yardsticks: {
    readonly rendered: Scores;
    readonly renderedShuffled: Scores;
    readonly renderedChance: Readonly<Record<Criterion, number>>;
    readonly reconstructed: (Scores & { readonly psnr: PsnrFigures }) | undefined;
  };
}

const op = "evaluate";

/**
 * Evaluates a model.
 *
 * @throws ABORTED; INVALID_ARGUMENT for prompts that say nothing of colour, shape or motion; what `generate` throws
 * @example
 * const report = await evaluate({ prompts: demoPrompts({ count: 64 }), generate: (prompt, seed) => model.generate({ prompt, seed }) });
 * report.generated?.scores.colour.rate
 */
export async function evaluate(options: EvaluateOptions): Promise<EvalReport> {
  const { prompts, generate, seed = 0 } = options;
  const mute = prompts.find(({ expected }) => Object.values(expected).every((value) => value === undefined));
  if (mute !== undefined) {
    const message = `${op}: the prompt "${mute.prompt}" names no colour, shape or motion that could be measured`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: "prompts" });
  }
  const yardsticks = await measureYardsticks(options);
  const clips = generate === undefined ? undefined : await measureGenerated(options, generate);
  return { generated: clips && summaryOf(clips, seed), yardsticks };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new HunyuanError("ABORTED", `${op}: aborted by its signal`, { op }, { cause: signal.reason });
}

async function measureGenerated(options: EvaluateOptions, generate: GenerateClip): Promise<readonly ClipResult[]> {
  const { prompts, signal, onProgress, onClip } = options;
  const results: ClipResult[] = [];
  for (const [i, { prompt, expected, heldOut }] of prompts.entries()) {
    throwIfAborted(signal);
    const clip = await generate(prompt, i, signal);
    const measured = measureClip(clip);
    const result = { prompt, heldOut, expected, measured, verdict: judge(measured, expected) };
    results.push(result);
    await onClip?.(clip, result);
    onProgress?.({ stage: "generate", done: i + 1, total: prompts.length });
  }
  return results;
}

function summaryOf(clips: readonly ClipResult[], seed: number): NonNullable<EvalReport["generated"]> {
  const where = (heldOut: boolean) => clips.filter((clip) => clip.heldOut === heldOut).map(({ verdict }) => verdict);
  const expected = clips.map((clip) => clip.expected);
  return {
    scores: scoresOf(clips.map(({ verdict }) => verdict)),
    seen: scoresOf(where(false)),
    heldOut: scoresOf(where(true)),
    shuffled: shuffledScores(
      clips.map(({ measured }) => measured),
      expected,
      { seed },
    ),
    chance: chanceOf(expected),
    clips,
  };
}

async function measureYardsticks(options: EvaluateOptions): Promise<EvalReport["yardsticks"]> {
  const { yardsticks: count = 64, seed = 0, reconstruct, signal, onProgress } = options;
  const { width, height, numFrames } = demoClip;
  const measured: Measurement[] = [];
  const again: Verdict[] = [];
  const decibels: number[] = [];
  const scenes = demoClips({ count, seed: seed + 1, which: "held out", weights: {} }).map(({ scene }) => scene);
  for (const [i, scene] of scenes.entries()) {
    throwIfAborted(signal);
    // Lets timers and signals through: measuring is work of this thread.
    await new Promise(setImmediate);
    const clip = { data: renderScene(scene), width, height, numFrames };
    measured.push(measureClip(clip));
    onProgress?.({ stage: reconstruct === undefined ? "rendered" : "reconstructed", done: i + 1, total: count });
    if (reconstruct === undefined) continue;
    const copy = await reconstruct(clip, signal);
    again.push(judge(measureClip(copy), scene));
    decibels.push(psnrOfClips(copy, clip));
  }
  return {
    rendered: scoresOf(measured.map((one, i) => judge(one, scenes[i] ?? {}))),
    renderedShuffled: shuffledScores(measured, scenes, { seed }),
    renderedChance: chanceOf(scenes),
    reconstructed: reconstruct === undefined ? undefined : { ...scoresOf(again), psnr: figuresOf(decibels) },
  };
}

/**
 * Peak signal-to-noise ratio of bytes, in decibels; at most 100, since a perfect copy's would be infinite.
 *
 * @throws INVALID_ARGUMENT for clips of two sizes
 */
export function psnrOfClips(copy: RgbClip, clip: RgbClip): number {
  checkClip("psnrOfClips", copy);
  if (copy.data.length !== clip.data.length || copy.width !== clip.width) {
    const [a, b] = [copy, clip].map(({ width, height, numFrames }) => `${numFrames} × ${height} × ${width}`);
    throw new HunyuanError("INVALID_ARGUMENT", `psnrOfClips: one clip is ${a}, the other ${b}`, {
      op: "psnrOfClips",
      argument: "copy",
    });
  }
  let sum = 0;
  for (let i = 0; i < clip.data.length; i++) sum += ((copy.data[i] as number) - (clip.data[i] as number)) ** 2;
  return Math.min(100, 10 * Math.log10(255 ** 2 / (sum / clip.data.length)));
}

function figuresOf(decibels: readonly number[]): PsnrFigures {
  const sorted = [...decibels].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return {
    mean: decibels.reduce((a, b) => a + b, 0) / Math.max(1, decibels.length),
    median: ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2,
    worst: sorted[0] ?? 0,
  };
}
