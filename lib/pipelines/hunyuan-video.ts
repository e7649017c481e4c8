/** The model as a user holds it: words in, videos out. */
import { type DownloadProgress, downloadModel } from "../io/hub.js";
import type { ModelDefaults } from "../models/defaults.js";
import type { DitConfig } from "../models/dit/config.js";
import type { PromptEmbeddings } from "../models/text/embeddings.js";
import type { EncodePromptOptions } from "../models/text/encode.js";
import type { TilingOption } from "../models/vae/tiling.js";
import { contiguous } from "../ops/layout.js";
import { permute } from "../ops/views.js";
import { invalid } from "../runtime/check.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import { type DecodeLatentsOptions, decodeStored } from "./decode-latents.js";
import { encodePixels } from "./encode.js";
import { type Estimate, type EstimateRequest, estimateRequest } from "./estimate.js";
import { generateVideos } from "./generate.js";
import { checkRequest, type GenerateRequest, planRequest } from "./generate-request.js";
import { defaultLatentsFolder } from "./latents-file.js";
import { type CheckedLoadOptions, type ComputeDType, checkLoadOptions, type LoadOptions } from "./load-options.js";
import { LoadedModel } from "./loaded-model.js";
import { type LoadedLora, type LoraOptions, Loras } from "./loras.js";
import { type VideoInput, videoPixels, videoSize } from "./pixels.js";
import { Previewer } from "./preview.js";
import { Generation, type OnProgress } from "./progress.js";
import { RequestQueue } from "./request-queue.js";
import { resolveSource } from "./source.js";
import { releasedText } from "./text-files.js";
import type { Video } from "./video.js";

export interface GenerateOptions {
  /** Aborting ends the request within one op's time and leaves the model as it was. */
  readonly signal?: AbortSignal | undefined;
  /** The events that going through the result gives. What it throws ends the request. */
  readonly onProgress?: OnProgress | undefined;
}

export interface EncodeVideoOptions {
  /** Pixels, a multiple of 16. Default: the video's own, rounded down. */
  readonly width?: number;
  readonly height?: number;
  /** Files are read at this rate. Default: the model's own, 24 for the released one. */
  readonly fps?: number;
  /** Of these 4 n + 1 are used. Default: all. */
  readonly maxFrames?: number;
  /** Default "auto". */
  readonly tiling?: TilingOption;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A HunyuanVideo: transformer, autoencoder, and text encoders while they are needed. Requests run one at a time, in the
 * order in which they come.
 *
 * @example
 * await using model = await HunyuanVideo.load("./HunyuanVideo", { dtype: "bf16" });
 * const video = await model.generate({ prompt: "A cat walks on the grass, realistic style.", seed: 42 });
 * await video.save("cat.mp4");
 */
export class HunyuanVideo implements AsyncDisposable {
  readonly #model: LoadedModel;
  readonly #latentsFolder: string;
  readonly #loras: Loras;
  readonly #queue = new RequestQueue();
  readonly #ending = new AbortController();
  #end: Promise<void> | undefined;

  private constructor(model: LoadedModel, options: CheckedLoadOptions) {
    this.#model = model;
    this.#loras = new Loras(model);
    this.#latentsFolder = options.latentsFolder ?? defaultLatentsFolder();
  }

  /**
   * Loads a model: a folder in Tencent's, diffusers' or ComfyUI's layout, a transformer's file with the others around it,
   * or a repository of the hub, which is downloaded first. An existing path, or anything that starts with `.`, `/` or `~`,
   * is local; else "owner/name" or "owner/name@revision".
   *
   * Without a source: the demo model that comes with the package, which makes small clips of moving shapes.
   *
   * @example
   * await using demo = await HunyuanVideo.load();
   * await (await demo.generate({ prompt: "a red circle moves left on a black background" })).save("clip.mp4");
   * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED, FILE_ERROR, DOWNLOAD_FAILED, DEVICE_UNAVAILABLE, OUT_OF_MEMORY, ABORTED,
   * INVALID_ARGUMENT; nothing stays in memory then
   */
  static load(source?: string, options?: LoadOptions): Promise<HunyuanVideo>;
  static load(options: LoadOptions): Promise<HunyuanVideo>;
  static async load(first?: string | LoadOptions, second: LoadOptions = {}): Promise<HunyuanVideo> {
    const onlyOptions = typeof first === "object" && first !== null;
    const given = checkLoadOptions(onlyOptions ? first : second);
    const where = await resolveSource(onlyOptions ? undefined : first);
    const folder = where.kind === "folder" ? where.path : await download(where.id, where.revision, given);
    return new HunyuanVideo(await LoadedModel.open(folder, given), given);
  }

  /**
   * What a request will take with a released model, stage by stage, before anything is loaded.
   *
   * @throws INVALID_ARGUMENT
   * @example HunyuanVideo.estimate({ width: 960, height: 544, numFrames: 129 }).peakBytes / 2 ** 30
   */
  static estimate(request: EstimateRequest = {}): Estimate {
    return estimateRequest(request);
  }

  /** The same with this model, its types and its device's memory limit. */
  estimate(request: Omit<EstimateRequest, "variant"> = {}): Estimate {
    const { opened, vae, textConfigs, dtypes, offload, keepsTextEncoders, device, defaults } = this.#model;
    const own = {
      dtype: dtypes.dit,
      vaeDtype: dtypes.vae,
      textDtype: dtypes.text,
      offload,
      keepTextEncoders: keepsTextEncoders,
      memoryLimit: device.memory().limit,
    };
    const models = { dit: opened.config, vae: vae.config, text: textConfigs ?? releasedText, defaults };
    return estimateRequest({ ...own, ...request }, models);
  }

  get device(): Device {
    return this.#model.device;
  }

  /** What the transformer is. */
  get config(): DitConfig {
    return this.#model.opened.config;
  }

  /**
   * What requests to this model take where they say nothing: what its folder states in hunyuan.json, and for the rest the
   * released model's 1280 × 720 pixels, 129 frames at 24 a second, 50 steps, shift 7 and guidance 6.
   */
  get defaults(): ModelDefaults {
    return this.#model.defaults;
  }

  /** What transformer, autoencoder and text encoders compute in. */
  get dtypes(): { readonly dit: ComputeDType; readonly vae: ComputeDType; readonly text: ComputeDType } {
    return this.#model.dtypes;
  }

  /** Requests that wait or run. */
  get pending(): number {
    return this.#queue.length;
  }

  /**
   * Makes a video; with `numVideos` several, as an array. The result is awaited, or gone through event by event: queued,
   * encode, sample (with noise level, time left and, if asked for, a preview), decode, done.
   *
   * Finished latents wait on disk until they are decoded: an error in decoding says where.
   *
   * @throws INVALID_ARGUMENT, ABORTED, OUT_OF_MEMORY, NOT_FINITE, and what reading images and videos throws; as rejections
   * @example
   * const running = model.generate({ prompt: "a cat", numFrames: 33 }, { signal });
   * for await (const { stage, step, steps, etaMs } of running) console.log(stage, step, steps, etaMs);
   * await (await running).save("cat.mp4");
   */
  generate(request: GenerateRequest & { readonly numVideos: number }, options?: GenerateOptions): Generation<Video[]>;
  generate(request: GenerateRequest & { readonly numVideos?: never }, options?: GenerateOptions): Generation<Video>;
  generate(request: GenerateRequest, options?: GenerateOptions): Generation<Video | Video[]>;
  generate(request: GenerateRequest, { signal, onProgress }: GenerateOptions = {}): Generation<Video | Video[]> {
    return new Generation(async (tell) => {
      const { opened, vae, defaults } = this.#model;
      const plan = planRequest(checkRequest(request, defaults), { dit: opened.config, vae: vae.config, defaults });
      const emit: OnProgress = (event) => {
        tell(event);
        onProgress?.(event);
      };
      emit({ stage: "queued", step: 0, steps: this.#queue.length });
      const videos = await this.#inTurn("generate", signal, async (stop) => {
        using previewer = plan.request.preview ? await this.#previewer(stop) : undefined;
        return await generateVideos(this.#model, plan, {
          signal: stop,
          emit,
          previewer,
          latentsFolder: this.#latentsFolder,
        });
      });
      emit({ stage: "done", step: 1, steps: 1, etaMs: 0 });
      return request.numVideos === undefined ? (videos[0] as Video) : videos;
    });
  }

  /**
   * What the transformer reads of a prompt; for `prompt` and `negativePrompt` of requests, and to be saved. Dispose of it.
   *
   * @throws INVALID_ARGUMENT, CHECKPOINT_INVALID where the model has no text encoders, OUT_OF_MEMORY, ABORTED
   */
  async encodePrompt(prompt: string, options: EncodePromptOptions = {}): Promise<PromptEmbeddings> {
    if (typeof prompt !== "string") throw invalid("encodePrompt", "prompt", prompt, "a string");
    return await this.#inTurn("encodePrompt", options.signal, (signal) =>
      this.#model.withText(signal, (encoders) => encoders.encodePrompt(prompt, { ...options, signal })),
    );
  }

  /**
   * Latents of a video, or of a picture, as the transformer takes them: [1, C, T, H, W] in f32, the caller's.
   *
   * @throws INVALID_ARGUMENT, MEDIA_INVALID, DECODER_MISSING, FILE_ERROR, OUT_OF_MEMORY, NOT_FINITE, ABORTED
   */
  async encodeVideo(video: VideoInput, options: EncodeVideoOptions = {}): Promise<Tensor<"f32">> {
    const { fps = this.defaults.fps, maxFrames = Number.MAX_SAFE_INTEGER, tiling = "auto" } = options;
    return await this.#inTurn("encodeVideo", options.signal, async (signal) => {
      const { device } = this.#model;
      const size = await videoSize("encodeVideo", video, options);
      using pixels = await videoPixels("encodeVideo", video, size, { device, signal, fps, maxFrames });
      using latents = await encodePixels(this.#model, pixels, { tiling, signal });
      return scope(() => contiguous(permute(latents, [0, 4, 1, 2, 3])));
    });
  }

  /**
   * The video of latents: [1, C, T, H, W] as `encodeVideo` gives them, or a file that a request left.
   *
   * @throws CHECKPOINT_INVALID, FILE_ERROR, SHAPE_MISMATCH, INVALID_ARGUMENT, OUT_OF_MEMORY, NOT_FINITE, ABORTED
   * @example const video = await model.decodeLatents("latents.safetensors");
   */
  async decodeLatents(latents: Tensor | string, options: DecodeLatentsOptions = {}): Promise<Video> {
    return await this.#inTurn("decodeLatents", options.signal, (signal) =>
      decodeStored(this.#model, latents, { ...options, signal }),
    );
  }

  /** LoRAs that are fused into the weights now, in order. */
  get loras(): readonly LoadedLora[] {
    return this.#loras.list();
  }

  /**
   * Fuses a LoRA into the transformer's weights, beside those that are; again with another strength for one of them. After
   * an error none is fused.
   *
   * @throws CHECKPOINT_INVALID with `details.keys` for keys without a place in the model; MODEL_UNSUPPORTED for other kinds
   * of adapters, for weights in f8e4m3 and with offload; FILE_ERROR, OUT_OF_MEMORY, ABORTED
   * @example await model.loadLora("style.safetensors", { strength: 0.8 });
   */
  async loadLora(path: string, options: LoraOptions = {}): Promise<LoadedLora> {
    return await this.#inTurn("loadLora", options.signal, (signal) => this.#loras.load(path, { ...options, signal }));
  }

  /**
   * Takes a LoRA out of the weights, or all of them: what is left is as if it had never been there, bit for bit.
   *
   * @throws INVALID_ARGUMENT for one that is not fused; FILE_ERROR, OUT_OF_MEMORY, ABORTED: then none is fused
   */
  async unloadLora(path?: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#inTurn("unloadLora", signal, (stop) => this.#loras.unload(path, stop));
  }

  /**
   * Ends what runs and waits (with ABORTED) and gives all memory back, the device too unless it was given to `load`.
   * A second call does nothing more; any other use afterwards throws DISPOSED.
   */
  dispose(): Promise<void> {
    this.#end ??= this.#dispose();
    return this.#end;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #dispose(): Promise<void> {
    this.#ending.abort(new Error("the model was disposed of"));
    await this.#queue.idle();
    this.#loras[Symbol.dispose]();
    await this.#model.dispose();
  }

  #previewer(signal: AbortSignal): Promise<Previewer> {
    const { vae, device, dtypes } = this.#model;
    return Previewer.of(vae, device, dtypes.vae, signal);
  }

  /** Runs the work when it is its turn. After a failure the device has come to rest before anyone is told. */
  async #inTurn<T>(op: string, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid(op, "signal", signal, "an AbortSignal");
    if (this.#end !== undefined) throw new HunyuanError("DISPOSED", `${op}: the model has been disposed of`, { op });
    const stop = AbortSignal.any(signal === undefined ? [this.#ending.signal] : [signal, this.#ending.signal]);
    return await this.#queue.run(op, stop, async () => {
      try {
        return await work(stop);
      } catch (error) {
        await this.#model.device.sync().catch(() => {});
        throw error;
      }
    });
  }
}

/** Downloads what is not in the cache; the folder. */
function download(id: string, revision: string | undefined, options: CheckedLoadOptions): Promise<string> {
  const { signal, onProgress } = options;
  const tell = ({ doneBytes, totalBytes, file }: DownloadProgress) =>
    onProgress?.({
      stage: "download",
      loadedBytes: doneBytes,
      totalBytes,
      ...(file === undefined ? {} : { file: file.path }),
    });
  return downloadModel(id, { revision: revision ?? options.revision, signal, onProgress: tell });
}
