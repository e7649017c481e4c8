/** The data of a transformer's training: clips as latents, captions as text states, both kept on disk. */
import { join } from "node:path";
import { openCheckpoint } from "../../io/checkpoint.js";
import { batchEmbeddings } from "../../models/text/embeddings.js";
import type { TextEncoders } from "../../models/text/encode.js";
import type { Posterior } from "../../models/vae/posterior.js";
import { samplePosterior } from "../../models/vae/posterior.js";
import { cast } from "../../ops/copy.js";
import type { Device } from "../../runtime/device.js";
import { scope } from "../../tensor/scope.js";
import type { StageDataConfig } from "../../train/config.js";
import { type Dataset, openDataset } from "../../train/data/dataset.js";
import { identityOfFiles, identityOfParams } from "../../train/data/identity.js";
import { type CachedLatents, cacheLatents, type LatentBatch } from "../../train/data/latents.js";
import { PromptCache } from "../../train/data/prompts.js";
import { TensorCache } from "../../train/data/tensor-cache.js";
import type { DitBatch } from "../../train/dit-task.js";
import type { TextCondition } from "../../train/objective.js";
import { conditionsOf } from "../../train/text-conditions.js";
import type { LoadedModel } from "../loaded-model.js";
import type { RunHooks } from "./events.js";

export interface LatentSourceOptions extends RunHooks {
  readonly model: LoadedModel;
  readonly folder: string;
  readonly seed: number;
  readonly variants?: number | undefined;
  /** Where the text is made anew in each step. Else it is made once and kept. */
  readonly encoders?: TextEncoders | undefined;
}

/** Latents and text for all stages of a run. */
export class LatentSource implements AsyncDisposable {
  readonly #options: LatentSourceOptions;
  readonly #latents: TensorCache;
  readonly #prompts: TensorCache;
  readonly #states: PromptCache;
  readonly #opened = new Map<string, Promise<CachedLatents>>();

  private constructor(options: LatentSourceOptions, latents: TensorCache, prompts: TensorCache) {
    this.#options = options;
    this.#latents = latents;
    this.#prompts = prompts;
    this.#states = new PromptCache(prompts);
  }

  static async open(options: LatentSourceOptions): Promise<LatentSource> {
    const { model, folder } = options;
    const { vae, parts, dtypes } = model;
    const latents = await TensorCache.open(folder, "latents", await identityOfParams(vae.params, dtypes.vae));
    const files: string[] = [];
    for (const part of [parts.llama, parts.clip]) {
      if (part !== undefined) files.push(...(await openCheckpoint(part)).files);
    }
    const prompts = await TensorCache.open(folder, "prompts", await identityOfFiles(files, dtypes.text));
    return new LatentSource(options, latents, prompts);
  }

  /** Opens data and encodes what is not there yet; a second call for the same data gives the same. */
  batchesOf(data: StageDataConfig): Promise<CachedLatents> {
    const key = JSON.stringify(data);
    const known = this.#opened.get(key) ?? this.#open(data);
    this.#opened.set(key, known);
    return known;
  }

  async #open(config: StageDataConfig): Promise<CachedLatents> {
    const { model, seed, variants, folder, signal, onEvent } = this.#options;
    const data = await openData(config, { seed, cacheFolder: join(folder, "files"), signal, onEvent });
    const { device, vae, dtypes } = model;
    const latents = await cacheLatents(data, {
      ...{ cache: this.#latents, device, variants, signal },
      encode: async (pixels): Promise<Posterior> => {
        const given = cast(pixels, dtypes.vae);
        try {
          return await vae.encodeTiled(given, signal === undefined ? {} : { signal });
        } finally {
          if (given !== pixels) given.dispose();
        }
      },
      onProgress: ({ done, total }) => onEvent?.({ kind: "prepare", what: "latents", done, total }),
    });
    for (const { id, reason } of data.skipped) onEvent?.({ kind: "note", text: `left out: ${id}: ${reason}` });
    await this.addPrompts(data.samples.flatMap(({ captions }) => captions));
    return latents;
  }

  /** Encodes prompts that are asked for later; the empty one with them. */
  async addPrompts(prompts: readonly string[]): Promise<void> {
    const { model, encoders, signal, onEvent } = this.#options;
    const missing = [...new Set([...prompts, ""])].filter((prompt) => !this.#states.has(prompt));
    if (encoders !== undefined || missing.length === 0) return;
    await model.withText(signal, async (loaded) => {
      await this.#states.add(missing, {
        encode: (some) => loaded.encodePrompts(some, { signal }),
        onProgress: ({ done, total }) => onEvent?.({ kind: "prepare", what: "prompts", done, total }),
      });
    });
  }

  /** Text states of captions, made in the scope that is open. */
  conditions(captions: readonly string[]): TextCondition {
    const { encoders, model } = this.#options;
    if (encoders !== undefined) return conditionsOf(encoders, captions);
    const each = captions.map((caption) => this.#states.read(caption, model.device));
    try {
      return batchEmbeddings(each);
    } finally {
      for (const one of each) one.dispose();
    }
  }

  /** A batch as the transformer takes it; latents are drawn anew each time. */
  inputs({ mean, logvar, captions }: LatentBatch, seed: number): DitBatch {
    const { vae } = this.#options.model;
    const latents = scope(() =>
      vae.scaleLatents(samplePosterior({ mean: cast(mean, "f32"), logvar: cast(logvar, "f32") }, { seed })),
    );
    return { ...this.conditions(captions), latents };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#latents[Symbol.asyncDispose]();
    await this.#prompts[Symbol.asyncDispose]();
  }
}

interface OpenDataOptions extends RunHooks {
  readonly seed: number;
  readonly cacheFolder: string;
  readonly scale?: "cover" | "keep" | undefined;
  readonly maxInterval?: number | undefined;
}

/** A stage's clips, with news of it. */
export function openData(config: StageDataConfig, options: OpenDataOptions): Promise<Dataset> {
  const { source, buckets, imageRatio, fps } = config;
  const { onEvent, ...rest } = options;
  return openDataset(source, {
    ...{ buckets, imageRatio, fps, ...rest },
    // With a share of pictures asked for, frames serve as such where there are none.
    framesAsImages: imageRatio !== undefined && imageRatio > 0,
    onProgress: ({ done, total }) => onEvent?.({ kind: "prepare", what: "data", done, total, detail: source }),
  });
}

/** The first batches of some data, the same each time. */
export async function* firstBatches(
  latents: CachedLatents,
  count: number,
  device: Device,
): AsyncGenerator<LatentBatch> {
  await using stream = latents.batches({ device });
  for (let i = 0; i < count; i++) yield await stream.take();
}
