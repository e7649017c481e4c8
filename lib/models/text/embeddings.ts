/** What the transformer reads of a prompt: computed once, saved, and used again without the encoders. */
import { openCheckpoint } from "../../io/checkpoint.js";
import { saveSafetensors } from "../../io/safetensors-write.js";
import { loadParams } from "../../nn/load.js";
import { releasedNaming } from "../../nn/spec.js";
import { concat } from "../../ops/concat.js";
import { cast } from "../../ops/copy.js";
import { pad } from "../../ops/layout.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { invalid } from "../../tensor/check.js";
import { type FloatDType, isFloat } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { showShape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { PromptKind } from "./templates.js";

/** What is known of a prompt besides its states. */
export interface PromptNotes {
  readonly prompt: string;
  readonly kind: PromptKind;
  /** Whether the language model did not see the prompt's end. */
  readonly truncated: boolean;
  /** Whether CLIP did not see the prompt's end; its 77 tokens are few. */
  readonly pooledTruncated: boolean;
  /** For people: what was cut off, and where. Absent when nothing was. */
  readonly warning?: string | undefined;
}

/**
 * States of one prompt. Owns its tensors.
 *
 * @example
 * const embeddings = await encoders.encodePrompt("a cat");
 * await saveEmbeddings("cat.safetensors", embeddings);
 */
export class PromptEmbeddings implements Disposable {
  /** States of the language model [1, L, D]: valid tokens only, the template's head cut off. */
  readonly text: Tensor<FloatDType>;
  /** CLIP's pooled state [1, D2]. */
  readonly pooled: Tensor<FloatDType>;
  readonly notes: PromptNotes;

  /**
   * Takes over the tensors: they leave their scopes.
   *
   * @throws INVALID_ARGUMENT for shapes other than [1, L, D] and [1, D2]
   */
  constructor(text: Tensor<FloatDType>, pooled: Tensor<FloatDType>, notes: PromptNotes) {
    checkShapes(text, pooled);
    this.text = text;
    this.pooled = pooled;
    this.notes = notes;
    for (const tensor of [text, pooled]) tensor.moveTo(undefined);
  }

  /** Tokens of the text, L. */
  get length(): number {
    return this.text.shape[1] ?? 0;
  }

  get truncated(): boolean {
    return this.notes.truncated;
  }

  /** The same in another type; its own tensors. */
  to(dtype: FloatDType): PromptEmbeddings {
    const of = (x: Tensor<FloatDType>) => (x.dtype === dtype ? x.alias() : cast(x, dtype));
    return new PromptEmbeddings(of(this.text), of(this.pooled), this.notes);
  }

  dispose(): void {
    this.text.dispose();
    this.pooled.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkShapes(text: Tensor, pooled: Tensor): void {
  if (text.rank !== 3 || text.shape[0] !== 1) throw invalid("PromptEmbeddings", "text", [...text.shape], "[1, L, D]");
  if (pooled.rank !== 2 || pooled.shape[0] !== 1) {
    throw invalid("PromptEmbeddings", "pooled", [...pooled.shape], "[1, D2]");
  }
}

/** Several prompts as the transformer takes them. */
export interface BatchedEmbeddings {
  /** [B, Lmax, D], zeros behind the valid tokens. */
  readonly text: Tensor<FloatDType>;
  readonly textLengths: readonly number[];
  /** [B, D2] */
  readonly pooled: Tensor<FloatDType>;
}

/**
 * Prompts side by side, valid tokens first; a new batch whose tensors are the caller's.
 *
 * @throws INVALID_ARGUMENT for an empty list; SHAPE_MISMATCH, DTYPE_UNSUPPORTED for prompts of different encoders
 */
export function batchEmbeddings(list: readonly PromptEmbeddings[]): BatchedEmbeddings {
  if (list.length === 0) throw invalid("batchEmbeddings", "list", list, "at least one prompt");
  const longest = Math.max(...list.map(({ length }) => length));
  return scope(() => {
    const rows = list.map(({ text, length }) =>
      length === longest
        ? text
        : pad(text, [
            [0, 0],
            [0, longest - length],
            [0, 0],
          ]),
    );
    return {
      text: concat(rows, 0),
      textLengths: list.map(({ length }) => length),
      pooled: concat(
        list.map(({ pooled }) => pooled),
        0,
      ),
    };
  });
}

const format = "hunyuan-native prompt embeddings 1";

function metadataOf({ prompt, kind, truncated, pooledTruncated, warning }: PromptNotes): Record<string, string> {
  const flags = { truncated: String(truncated), pooled_truncated: String(pooledTruncated) };
  return { format, prompt, kind, ...flags, ...(warning === undefined ? {} : { warning }) };
}

/**
 * Writes embeddings to a safetensors file with tensors `text` and `pooled`; the prompt stands in its metadata.
 *
 * @param path such as "cat.safetensors"
 * @throws FILE_ERROR, ABORTED
 * @example await saveEmbeddings("cat.safetensors", embeddings);
 */
export async function saveEmbeddings(
  path: string,
  { text, pooled, notes }: PromptEmbeddings,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const tensors = new Map<string, Tensor>([
    ["text", text],
    ["pooled", pooled],
  ]);
  await saveSafetensors(path, tensors, metadataOf(notes), { signal: options.signal });
}

/**
 * Embeddings from a file that {@link saveEmbeddings} wrote.
 *
 * @param options dtype: default the file's
 * @throws CHECKPOINT_INVALID for another kind of file; FILE_ERROR, ABORTED
 * @example using cat = await loadEmbeddings("cat.safetensors", device);
 */
export async function loadEmbeddings(
  path: string,
  device: Device,
  options: { readonly dtype?: FloatDType; readonly signal?: AbortSignal } = {},
): Promise<PromptEmbeddings> {
  const checkpoint = await openCheckpoint(path);
  const specs = ["text", "pooled"].map((name) => {
    const entry = checkpoint.entries.get(name);
    if (entry !== undefined && isFloat(entry.dtype)) return { name, shape: entry.shape, layout: "same" as const };
    const message = `${checkpoint.source}: holds no float tensor ${name}; expected prompt embeddings saved by this library`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: checkpoint.source, key: name });
  });
  const [text, pooled] = specs;
  if (text?.shape.length !== 3 || text.shape[0] !== 1 || pooled?.shape.length !== 2 || pooled.shape[0] !== 1) {
    const message = `${checkpoint.source}: text is ${showShape(text?.shape ?? [])} and pooled ${showShape(pooled?.shape ?? [])}, expected [1, L, D] and [1, D2]`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: checkpoint.source, key: "text" });
  }
  const held = checkpoint.entries.get("text")?.dtype ?? "f32";
  const { dtype = isFloat(held) ? held : "f32", signal } = options;
  const params = await loadParams(device, checkpoint, specs, releasedNaming, {
    dtype,
    signal,
  });
  try {
    const own = (name: string) => params.get<FloatDType>(name).alias();
    return new PromptEmbeddings(own("text"), own("pooled"), notesOf(checkpoint.metadata));
  } finally {
    params.dispose();
  }
}

function notesOf(metadata: ReadonlyMap<string, string>): PromptNotes {
  const kind = metadata.get("kind");
  return {
    prompt: metadata.get("prompt") ?? "",
    kind: kind === "image" || kind === "imageToVideo" ? kind : "video",
    truncated: metadata.get("truncated") === "true",
    pooledTruncated: metadata.get("pooled_truncated") === "true",
    warning: metadata.get("warning"),
  };
}
