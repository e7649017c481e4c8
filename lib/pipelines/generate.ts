/** A request from words to videos: encode, sample, decode, each stage told of and each to be stopped. */
import type { ImageLatents } from "../diffusion/conditioning.js";
import { initialNoise, seedsOf } from "../diffusion/noise.js";
import { imageStart, sample } from "../diffusion/sampler.js";
import { ditVelocity } from "../diffusion/velocity.js";
import type { Json } from "../io/media/metadata.js";
import { noised } from "../models/dit/flow-matching.js";
import { invalid } from "../runtime/check.js";
import { HunyuanError, isHunyuanError } from "../runtime/errors.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import { decodeToBytes } from "./decode.js";
import { type EncodedPrompts, encodePixels, encodePrompts, type Prompt } from "./encode.js";
import { defaultStrength, type Plan, wordsOf } from "./generate-request.js";
import { keptPath, removeLatents, saveLatents, type VideoNotes, writeLatents } from "./latents-file.js";
import type { LoadedModel } from "./loaded-model.js";
import { imagePixels, videoPixels } from "./pixels.js";
import type { Previewer } from "./preview.js";
import { type OnProgress, Pace } from "./progress.js";
import { latentSize } from "./request.js";
import { Video } from "./video.js";

export interface GenerateRun {
  readonly signal: AbortSignal | undefined;
  readonly emit: OnProgress;
  readonly latentsFolder: string;
  /** Given when the request asks for previews. */
  readonly previewer: Previewer | undefined;
}

const op = "generate";

/**
 * The videos of a request, one after the other. Whatever happens, the device holds afterwards what it held before.
 *
 * @throws whatever a stage does; an error in decoding says where the finished latents are
 */
export async function generateVideos(model: LoadedModel, plan: Plan, run: GenerateRun): Promise<Video[]> {
  using given = await encodeGiven(model, plan, run);
  const videos: Video[] = [];
  for (const [index, seed] of seedsOf(plan.seed, plan.count).entries()) {
    const notes = notesOf(model, plan, seed, given);
    using latents = await sampleVideo(model, plan, given, seed, index, run);
    videos.push(await decodeKept(model, plan, latents, notes, index, run));
  }
  return videos;
}

/** What the request gives, encoded. */
class Given implements Disposable {
  readonly prompts: EncodedPrompts;
  /** Of the image or video, [1, T, H, W, C]. */
  readonly latents: Tensor<"f32"> | undefined;
  readonly numFrames: number;

  constructor(prompts: EncodedPrompts, latents: Tensor<"f32"> | undefined, numFrames: number) {
    this.prompts = prompts;
    this.latents = latents;
    this.numFrames = numFrames;
  }

  [Symbol.dispose](): void {
    this.prompts[Symbol.dispose]();
    this.latents?.dispose();
  }
}

async function encodeGiven(model: LoadedModel, plan: Plan, { signal, emit }: GenerateRun): Promise<Given> {
  const { request, negativePrompt } = plan;
  const { image, video, numFrames } = request;
  const steps = image === undefined && video === undefined ? 1 : 2;
  const prompts: Prompt[] = negativePrompt === undefined ? [request.prompt] : [request.prompt, negativePrompt];
  emit({ stage: "encode", part: "text", step: 0, steps });
  const encoded = await encodePrompts(op, model, prompts, numFrames === 1 ? "image" : "video", signal);
  emit({ stage: "encode", part: "text", step: 1, steps });
  try {
    const latents = await encodeGivenPixels(model, plan, signal);
    if (latents !== undefined) emit({ stage: "encode", part: image === undefined ? "video" : "image", step: 2, steps });
    const frames =
      video === undefined || latents === undefined ? numFrames : ((latents.shape[1] as number) - 1) * 4 + 1;
    return new Given(encoded, latents, frames);
  } catch (error) {
    encoded[Symbol.dispose]();
    throw error;
  }
}

/** Of a video as many frames as there are, up to those that were asked for. */
async function encodeGivenPixels(
  model: LoadedModel,
  { request }: Plan,
  signal: AbortSignal | undefined,
): Promise<Tensor<"f32"> | undefined> {
  const { image, video, width, height, numFrames, fps, tiling } = request;
  const { device } = model;
  if (image === undefined && video === undefined) return undefined;
  using pixels =
    image === undefined
      ? await videoPixels(
          op,
          video as NonNullable<typeof video>,
          { width, height },
          { device, signal, fps, maxFrames: numFrames },
        )
      : await imagePixels(op, image, { width, height }, { device, signal });
  return await encodePixels(model, pixels, { tiling, signal });
}

/** [1, T, H, W, C] of noise, or of noise with what is given in it. */
function startOf(model: LoadedModel, plan: Plan, given: Given, seed: number): Tensor<"f32"> {
  const { request, schedule, imageMode } = plan;
  const { frames, height, width } = latentSize({ ...request, numFrames: given.numFrames });
  const { device, opened } = model;
  const shape = [frames, height, width, opened.config.outChannels] as const;
  return scope(() => {
    const noise = initialNoise({ device, seeds: [seed], shape, rng: request.rng });
    if (given.latents === undefined) return noise;
    if (imageMode === undefined) return noised(given.latents, noise, schedule.sigmas[0] as number);
    return request.imageStability ? imageStart(noise, given.latents) : noise;
  });
}

async function sampleVideo(
  model: LoadedModel,
  plan: Plan,
  given: Given,
  seed: number,
  video: number,
  { signal, emit, previewer }: GenerateRun,
): Promise<Tensor<"f32">> {
  const { request, schedule, guidance, trueCfgScale, imageMode } = plan;
  const { dit, device, dtypes } = model;
  using start = startOf(model, plan, given, seed);
  const prompt = given.prompts.at(0);
  if (prompt === undefined) throw invalid(op, "prompt", undefined, "one");
  const image: ImageLatents | undefined =
    imageMode === undefined || given.latents === undefined ? undefined : { latents: given.latents, mode: imageMode };
  const pace = new Pace();
  const steps = schedule.timesteps.length;
  emit({ stage: "sample", video, step: 0, steps, sigma: schedule.sigmas[0] as number });
  const rope = dit.ropeTables(start.shape, device);
  try {
    return await sample(
      start,
      {
        model: ditVelocity(dit, dtypes.dit, rope),
        schedule,
        prompt,
        negative: given.prompts.at(1),
        guidance,
        trueCfgScale,
        guidanceRescale: request.guidanceRescale,
        batchedCfg: request.batchedCfg,
        image,
      },
      {
        signal,
        async onStep({ index, sigma, denoised }) {
          const preview = await previewer?.show(denoised, signal);
          const step = index + 1;
          const etaMs = pace.eta(step, steps);
          emit({ stage: "sample", video, step, steps, sigma, etaMs, ...(preview === undefined ? {} : { preview }) });
        },
      },
    );
  } finally {
    rope.cos.dispose();
    rope.sin.dispose();
  }
}

/** Decodes latents that are on disk meanwhile. */
async function decodeKept(
  model: LoadedModel,
  { request, count }: Plan,
  latents: Tensor<"f32">,
  notes: VideoNotes,
  video: number,
  { signal, emit, latentsFolder }: GenerateRun,
): Promise<Video> {
  const { latentsPath } = request;
  const kept = latentsPath === undefined ? undefined : keptPath(latentsPath, video, count);
  if (kept !== undefined) await writeLatents(kept, latents, notes, signal);
  // A disk without room must not cost a video that may well decode.
  const saved = kept ?? (await saveLatents(latentsFolder, latents, notes, signal).catch(notAborted));
  const pace = new Pace();
  try {
    emit({ stage: "decode", video, step: 0, steps: 1 });
    const data = await decodeToBytes(model.vae, latents, {
      dtype: model.dtypes.vae,
      tiling: request.tiling,
      signal,
      onTile: (step, steps) => emit({ stage: "decode", video, step, steps, etaMs: pace.eta(step, steps) }),
    });
    if (kept === undefined && typeof saved === "string") await removeLatents(saved);
    return new Video(data, request, notes);
  } catch (error) {
    throw withLatents(error, saved);
  }
}

function notAborted(error: unknown): HunyuanError {
  if (isHunyuanError(error) && error.code !== "ABORTED") return error;
  throw error;
}

/** The same error, saying where the latents are. */
function withLatents(error: unknown, saved: string | HunyuanError): unknown {
  if (!isHunyuanError(error)) return error;
  const where =
    typeof saved === "string"
      ? `The finished latents are in ${saved}: "hunyuan decode" or decodeLatents() makes the video of them`
      : `The finished latents could not be saved: ${saved.message}`;
  return new HunyuanError(error.code, `${error.message}. ${where}`, error.details, { cause: error });
}

/** What a file says of a video, and what decoding latents alone needs to know. */
function notesOf(model: LoadedModel, plan: Plan, seed: number, given: Given): VideoNotes {
  const { request, guidance, trueCfgScale, negativePrompt, imageMode, schedule } = plan;
  const { width, height, fps, flowShift, rng, guidanceRescale } = request;
  const steps = schedule.timesteps.length;
  const settings: { [key: string]: Json | undefined } = {
    model: model.parts.root.split(/[\\/]/).at(-1),
    dtype: model.dtypes.dit,
    width,
    height,
    numFrames: given.numFrames,
    steps,
    guidanceScale: guidance,
    trueCfgScale,
    guidanceRescale: guidanceRescale === 0 ? undefined : guidanceRescale,
    flowShift: request.sigmas === undefined && request.schedule === "flow" ? flowShift : undefined,
    schedule: request.sigmas === undefined ? request.schedule : "custom",
    sigmas: request.sigmas,
    rng,
    imageMode,
    strength: request.video === undefined ? undefined : (request.strength ?? defaultStrength),
  };
  const told = Object.entries(settings).filter(([, value]) => value !== undefined);
  return {
    prompt: wordsOf(request.prompt),
    negativePrompt: negativePrompt === undefined ? undefined : wordsOf(negativePrompt),
    seed,
    fps,
    settings: Object.fromEntries(told),
  };
}
