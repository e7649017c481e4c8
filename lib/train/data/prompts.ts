/** Prompt embeddings on disk: text encoders that are not trained need not be in memory while the transformer is. */
import { createHash } from "node:crypto";
import { PromptEmbeddings, type PromptNotes } from "../../models/text/embeddings.js";
import type { PromptKind } from "../../models/text/templates.js";
import { reshape } from "../../ops/views.js";
import { invalid } from "../../runtime/check.js";
import type { Device } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { readBytes } from "../../tensor/file.js";
import { scope } from "../../tensor/scope.js";
import { Tensor } from "../../tensor/tensor.js";
import type { JsonValue } from "../stateful.js";
import type { CachedTensor, TensorCache } from "./tensor-cache.js";

export interface CachePromptsOptions {
  /** Default video. */
  readonly kind?: PromptKind | undefined;
  /** Called with prompts that are not in the cache, each once; what it gives is disposed of here. */
  readonly encode: (prompts: readonly string[]) => Promise<readonly PromptEmbeddings[]>;
  /** Prompts that are encoded at once. Default 8. */
  readonly batchSize?: number | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/**
 * Embeddings of prompts by their words.
 *
 * @example
 * const prompts = new PromptCache(await TensorCache.open("cache", "prompts", await identityOfFiles(encoderFiles)));
 * await prompts.add(captions, { encode: (words) => encoders.encodePrompts(words) });
 * using cat = prompts.read("a cat", device);
 */
export class PromptCache {
  readonly #cache: TensorCache;

  /** @param cache opened with the identity of the text encoders; stays the caller's to close */
  constructor(cache: TensorCache) {
    this.#cache = cache;
  }

  has(prompt: string, kind: PromptKind = "video"): boolean {
    return this.#cache.has(keyOf(prompt, kind));
  }

  /** Encodes what is not in the cache yet. @throws FILE_ERROR, and what `encode` rejects with */
  async add(prompts: readonly string[], options: CachePromptsOptions): Promise<void> {
    const { kind = "video", encode, batchSize = 8, onProgress } = options;
    const missing = [...new Set(prompts)].filter((prompt) => !this.has(prompt, kind));
    for (let at = 0; at < missing.length; at += batchSize) {
      const some = missing.slice(at, at + batchSize);
      const made = await encode(some);
      try {
        if (made.length !== some.length) throw invalid("cachePrompts", "encode", made.length, `${some.length} results`);
        const entries = made.map(async ({ text, pooled, notes }, i) => ({
          key: keyOf(some[i] as string, kind),
          tensors: { text: await bytesOf(text), pooled: await bytesOf(pooled) },
          notes: jsonOf(notes),
        }));
        await this.#cache.put(await Promise.all(entries));
      } finally {
        for (const one of made) one.dispose();
      }
      onProgress?.({ done: Math.min(missing.length, at + batchSize), total: missing.length });
    }
  }

  /** @returns the caller's to dispose of. @throws INVALID_ARGUMENT when the prompt is not in the cache */
  read(prompt: string, device: Device, kind: PromptKind = "video"): PromptEmbeddings {
    const key = keyOf(prompt, kind);
    if (!this.#cache.has(key)) throw invalid("cachePrompts", "prompt", prompt, "one that was added to the cache");
    const part = (name: string) =>
      scope(() => {
        const batched = this.#cache.read(device, [key], name) as Tensor<FloatDType>;
        return reshape(batched, batched.shape.slice(1)).alias();
      });
    return new PromptEmbeddings(part("text"), part("pooled"), notesOf(prompt, kind, this.#cache.notes(key)));
  }
}

function keyOf(prompt: string, kind: PromptKind): string {
  return createHash("sha256").update(`${kind}\n${prompt}`).digest("hex").slice(0, 32);
}

async function bytesOf(x: Tensor): Promise<CachedTensor> {
  const dense = x.isDense ? x : Tensor.toDense(x, x.dtype);
  try {
    return { dtype: x.dtype, shape: x.shape, bytes: await readBytes(dense) };
  } finally {
    if (dense !== x) dense.dispose();
  }
}

function jsonOf({ truncated, pooledTruncated, warning }: PromptNotes): JsonValue {
  return { truncated, pooledTruncated, ...(warning === undefined ? {} : { warning }) };
}

function notesOf(prompt: string, kind: PromptKind, notes: JsonValue | undefined): PromptNotes {
  const known = (typeof notes === "object" && notes !== null ? notes : {}) as { readonly [key: string]: JsonValue };
  const warning = typeof known.warning === "string" ? { warning: known.warning } : {};
  return {
    ...{ prompt, kind, truncated: known.truncated === true, pooledTruncated: known.pooledTruncated === true },
    ...warning,
  };
}
