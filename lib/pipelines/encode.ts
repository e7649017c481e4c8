/** What a request gives in words and pictures, as what the transformer reads. T latent frames of H × W latents. */

import type { Conditioning } from "../diffusion/conditioning.js";
import { spread } from "../diffusion/finite.js";
import { PromptEmbeddings } from "../models/text/embeddings.js";
import type { PromptKind } from "../models/text/templates.js";
import type { TilingOption } from "../models/vae/tiling.js";
import { cast } from "../ops/copy.js";
import { invalid } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import type { LoadedModel } from "./loaded-model.js";

export type Prompt = string | PromptEmbeddings;

/** Prompts that are encoded already are lent; the others are made here, and end with this. */
export class EncodedPrompts implements Disposable {
  readonly #all: readonly PromptEmbeddings[];
  readonly #own: readonly PromptEmbeddings[];

  constructor(all: readonly PromptEmbeddings[], own: readonly PromptEmbeddings[]) {
    this.#all = all;
    this.#own = own;
  }

  /** As the sampler takes it; borrowed. */
  at(index: number): Conditioning | undefined {
    const found = this.#all[index];
    return found && { text: found.text, textLengths: [found.length], pooled: found.pooled };
  }

  [Symbol.dispose](): void {
    for (const embeddings of this.#own) embeddings.dispose();
  }
}

/**
 * Encodes those prompts that are words yet; the text encoders are in memory only if there are any.
 *
 * @throws as TextEncoders; INVALID_ARGUMENT for embeddings that do not fit the model
 */
export async function encodePrompts(
  op: string,
  model: LoadedModel,
  prompts: readonly Prompt[],
  kind: PromptKind,
  signal: AbortSignal | undefined,
): Promise<EncodedPrompts> {
  for (const prompt of prompts) if (prompt instanceof PromptEmbeddings) checkEmbeddings(op, model, prompt);
  const words = prompts.filter((prompt) => typeof prompt === "string");
  const made =
    words.length === 0
      ? []
      : await model.withText(signal, (encoders) => encoders.encodePrompts(words, { kind, signal }));
  const fresh = [...made];
  const all = prompts.map((prompt) => (typeof prompt === "string" ? (fresh.shift() as PromptEmbeddings) : prompt));
  const encoded = new EncodedPrompts(all, made);
  try {
    for (const embeddings of made) checkEmbeddings(op, model, embeddings);
    return encoded;
  } catch (error) {
    encoded[Symbol.dispose]();
    throw error;
  }
}

function checkEmbeddings(op: string, { device, opened }: LoadedModel, { text, pooled }: PromptEmbeddings): void {
  const { textDim, pooledDim } = opened.config;
  if (text.device !== device) {
    throw invalid(op, "prompt", `embeddings on ${text.device.name}`, `ones on the model's own device, ${device.name}`);
  }
  const widths = [text.shape[2] ?? 0, pooled.shape[1] ?? 0];
  if (widths[0] === textDim && widths[1] === pooledDim) return;
  const message = `${op}: the prompt's states are ${widths.join(" and ")} wide, and this transformer takes ${textDim} and ${pooledDim}; its text encoders are others`;
  throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: "prompt" });
}

export interface EncodePixelsOptions {
  readonly tiling: TilingOption;
  readonly signal: AbortSignal | undefined;
  readonly onTile?: (tile: number, tiles: number) => void;
}

/**
 * Latents of pixels, as the transformer takes them: the mode of the distribution, scaled, in f32.
 *
 * @param pixels [1, 4 n + 1, H, W, 3] in −1 … 1; stays the caller's
 * @returns [1, n + 1, H / 8, W / 8, C]
 * @throws NOT_FINITE, OUT_OF_MEMORY, ABORTED
 */
export async function encodePixels(
  { vae, dtypes }: LoadedModel,
  pixels: Tensor<"f32">,
  { tiling, signal, onTile }: EncodePixelsOptions,
): Promise<Tensor<"f32">> {
  const waiting = signal === undefined ? {} : { signal };
  using input = dtypes.vae === "f32" ? pixels.alias() : cast(pixels, dtypes.vae);
  const { mean, logvar } = await vae.encodeTiled(input, {
    tiling,
    ...waiting,
    onProgress: ({ tile, tiles }) => onTile?.(tile, tiles),
  });
  logvar.dispose();
  const { latents, mark } = scope(() => {
    const scaled = vae.scaleLatents(cast(mean, "f32"));
    return { latents: scaled, mark: spread(scaled) };
  });
  mean.dispose();
  try {
    if (Number.isFinite(await mark.item(waiting))) return latents;
    const block = "the autoencoder's encoder";
    throw new HunyuanError("NOT_FINITE", `encode: NaN or infinity from ${block}; try { vaeDtype: "f32" }`, { block });
  } catch (error) {
    latents.dispose();
    throw error;
  } finally {
    mark.dispose();
  }
}
