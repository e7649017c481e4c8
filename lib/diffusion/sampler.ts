/**
 * Sampling: Euler steps along the velocity that the model predicts, from noise to latents, in f32 whatever the model
 * computes in. B videos, T latent frames, H × W latents, C channels.
 */

import { concat } from "../ops/concat.js";
import { full } from "../ops/fill.js";
import { cast } from "../ops/layout.js";
import { add, div, mul, sub } from "../ops/pointwise.js";
import { variance } from "../ops/reduce.js";
import { sqrt } from "../ops/unary.js";
import { slice, split } from "../ops/views.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import {
  type Conditioning,
  type ImageLatents,
  joinConditioning,
  withFirstFrame,
  withImageChannels,
} from "./conditioning.js";
import { spread } from "./finite.js";
import type { Schedule } from "./schedule.js";
import type { OnBlock, VelocityModel } from "./velocity.js";

export type { OnBlock, VelocityInput, VelocityModel } from "./velocity.js";

export interface SamplerOptions {
  readonly model: VelocityModel;
  readonly schedule: Schedule;
  readonly prompt: Conditioning;
  /** The scale that models with embedded guidance take as an input. */
  readonly guidance?: number | undefined;
  /** True classifier-free guidance: u + scale · (c − u), with u from this prompt. */
  readonly negative?: Conditioning | undefined;
  /** Default 1, which asks the model once and needs no `negative`. */
  readonly trueCfgScale?: number | undefined;
  /** How far the guided velocity is brought back to the spread of the unguided one, 0 … 1 (arXiv 2305.08891, §3.4). Default 0. */
  readonly guidanceRescale?: number | undefined;
  /** Both forwards of true guidance in one batch: more memory, larger matrices. Default false: one after the other. */
  readonly batchedCfg?: boolean | undefined;
  readonly image?: ImageLatents | undefined;
}

export interface SampleStep {
  /** From 0. */
  readonly index: number;
  readonly steps: number;
  /** The noise level that the step came to. */
  readonly sigma: number;
  /** Borrowed for the call: what the latents are now. */
  readonly latents: Tensor<"f32">;
  /** Borrowed for the call: the model's guess of the finished latents. */
  readonly denoised: Tensor<"f32">;
}

export interface SampleRun {
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((step: SampleStep) => void | Promise<void>) | undefined;
}

const guidanceScale = 1000;
const f32 = Math.fround;

/** x + v · (next − sigma), in f32. */
export function eulerStep(x: Tensor<"f32">, velocity: Tensor<FloatDType>, sigma: number, next: number): Tensor<"f32"> {
  return scope(() => add(x, mul(cast(velocity, "f32"), f32(f32(next) - f32(sigma)))));
}

/**
 * Latents to start image-to-video from: noise with a trace of the image in every frame, which keeps the motion calm.
 *
 * @param noise [B, T, H, W, C]
 * @param image [B, 1, H, W, C]
 */
export function imageStart(noise: Tensor<"f32">, image: Tensor<"f32">): Tensor<"f32"> {
  const t = f32(0.999);
  return scope(() => add(mul(noise, t), mul(image, f32(1 - t))));
}

/** The velocity with all guidance in it, f32; x has the image in its place already. */
function velocityAt(
  x: Tensor<"f32">,
  timestep: number,
  options: SamplerOptions,
  onBlock: OnBlock | undefined,
): Tensor<"f32"> {
  const { model, prompt, negative, guidance, trueCfgScale = 1, guidanceRescale = 0, batchedCfg = false } = options;
  const ask = (latents: Tensor<"f32">, conditioning: Conditioning) => {
    const batch = [latents.shape[0] as number];
    const { device } = latents;
    const scale =
      guidance === undefined ? {} : { guidance: full(batch, f32(f32(guidance) * guidanceScale), { device }) };
    return scope(() =>
      cast(
        model({
          ...conditioning,
          ...scale,
          latents,
          timestep: full(batch, timestep, { device }),
          ...(onBlock === undefined ? {} : { onBlock }),
        }),
        "f32",
      ),
    );
  };
  if (trueCfgScale === 1 || negative === undefined) return ask(x, prompt);
  const [unguided, prompted] = batchedCfg
    ? (split(ask(concat([x, x], 0), joinConditioning(negative, prompt)), 2, 0) as [Tensor<"f32">, Tensor<"f32">])
    : [ask(x, negative), ask(x, prompt)];
  const guided = add(unguided, mul(sub(prompted, unguided), trueCfgScale));
  return guidanceRescale === 0 ? guided : rescaled(guided, prompted, guidanceRescale);
}

/** `guided` brought towards the spread that `prompted` has, each sample by itself. */
function rescaled(guided: Tensor<"f32">, prompted: Tensor<"f32">, amount: number): Tensor<"f32"> {
  const options = { axes: [1, 2, 3, 4], keepDims: true };
  const ratio = sqrt(div(variance(prompted, options), variance(guided, options)));
  return mul(guided, add(mul(ratio, amount), 1 - amount));
}

/** One step: the latents it comes to, and the velocity it went along. */
export function sampleStep(
  latents: Tensor<"f32">,
  index: number,
  options: SamplerOptions,
  onBlock?: OnBlock,
): { readonly latents: Tensor<"f32">; readonly velocity: Tensor<"f32"> } {
  const { schedule, image } = options;
  const [sigma, next] = schedule.sigmas.slice(index, index + 2) as [number, number];
  const timestep = schedule.timesteps[index] as number;
  return scope(() => {
    if (image?.mode !== "token_replace") {
      const input = image === undefined ? latents : withImageChannels(latents, image.latents);
      const velocity = velocityAt(input, timestep, options, onBlock);
      return { latents: eulerStep(latents, velocity, sigma, next), velocity };
    }
    // The first frame is the image before and after: only the frames behind it move.
    const input = withFirstFrame(latents, image.latents);
    const velocity = velocityAt(input, timestep, options, onBlock);
    const moved = eulerStep(slice(input, 1, 1), slice(velocity, 1, 1), sigma, next);
    return { latents: concat([image.latents, moved], 1), velocity };
  });
}

/**
 * Takes all steps of the schedule, waiting for each: at most one is queued, and an abort costs one op's time.
 *
 * @param start [B, T, H, W, C] at the schedule's first noise level; borrowed
 * @returns the finished latents, which belong to the caller
 * @throws ABORTED; NOT_FINITE naming the block, when a step gives NaN or infinity
 */
export async function sample(
  start: Tensor<"f32">,
  options: SamplerOptions,
  { signal, onStep }: SampleRun = {},
): Promise<Tensor<"f32">> {
  const { sigmas, timesteps } = options.schedule;
  let latents = start;
  try {
    for (let index = 0; index < timesteps.length; index++) {
      const next = await finiteStep(latents, index, options, signal);
      if (latents !== start) latents.dispose();
      latents = next.latents;
      try {
        await onStep?.({ index, steps: timesteps.length, sigma: sigmas[index + 1] as number, ...next });
      } finally {
        next.denoised.dispose();
      }
    }
  } catch (error) {
    if (latents !== start) latents.dispose();
    throw error;
  }
  return latents;
}

async function finiteStep(
  latents: Tensor<"f32">,
  index: number,
  options: SamplerOptions,
  signal: AbortSignal | undefined,
): Promise<Pick<SampleStep, "latents" | "denoised">> {
  const { mark, ...next } = scope(() => {
    const { latents: moved, velocity } = sampleStep(latents, index, options);
    const sigma = options.schedule.sigmas[index] as number;
    return { latents: moved, denoised: sub(latents, mul(velocity, sigma)), mark: spread(moved) };
  });
  const drop = () => {
    next.latents.dispose();
    next.denoised.dispose();
  };
  try {
    const finite = Number.isFinite(await mark.item(signal === undefined ? {} : { signal }));
    if (finite) return next;
  } catch (error) {
    drop();
    throw error;
  } finally {
    mark.dispose();
  }
  drop();
  throw await notFinite(latents, index, options, signal);
}

/** The rows that are read, of the sample with the most: what stands in the others does not matter. */
function validRows({ text, textLengths }: Conditioning): Tensor<FloatDType> {
  return slice(text, 1, 0, Math.max(1, ...textLengths));
}

/** Takes the step again, looking at what each part of the model gives. */
async function notFinite(
  latents: Tensor<"f32">,
  index: number,
  options: SamplerOptions,
  signal: AbortSignal | undefined,
): Promise<HunyuanError<"NOT_FINITE">> {
  const seen: { readonly name: string; readonly mark: Tensor }[] = [];
  const watch = (name: string, values: readonly Tensor[]) => {
    for (const value of values) {
      const mark = spread(value as Tensor<FloatDType>);
      // Blocks have scopes of their own, which would end it with them.
      mark.moveTo(undefined);
      seen.push({ name, mark });
    }
  };
  let block = "the Euler step";
  try {
    scope(() => {
      watch("the text encoder's states", [validRows(options.prompt)]);
      watch("the pooled text", [options.prompt.pooled]);
      watch("the velocity", [sampleStep(latents, index, options, watch).velocity]);
    });
    for (const { name, mark } of seen) {
      const finite = Number.isFinite(await mark.item(signal === undefined ? {} : { signal }));
      if (finite) continue;
      block = name;
      break;
    }
  } finally {
    for (const { mark } of seen) mark.dispose();
  }
  const where = `step ${index + 1} of ${options.schedule.timesteps.length}`;
  return new HunyuanError(
    "NOT_FINITE",
    `sample: NaN or infinity in ${where}, first in ${block}. Damaged weights or a type too narrow for them do this: ` +
      'run "hunyuan inspect" on the checkpoint, or use dtype "bf16" or "f32"',
    { block },
  );
}
