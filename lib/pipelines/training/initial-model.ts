/** A whole model to train from scratch: every part there, in the layout in which models are published. */
import { join, resolve } from "node:path";
import type { DitConfig } from "../../models/dit/config.js";
import type { ClipConfig } from "../../models/text/clip-config.js";
import type { LlamaConfig } from "../../models/text/llama-config.js";
import { wordTokenizer } from "../../models/text/word-tokenizer.js";
import type { VaeConfig } from "../../models/vae/config.js";
import { openDevice } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { initialDit } from "../../train/initial/dit.js";
import { initialClip, initialLlama } from "../../train/initial/text.js";
import { initialVae } from "../../train/vae/initial.js";
import { saveVae } from "../../train/vae/save-vae.js";
import { makeFolder, modelIndex, saveTextEncoders, saveTokenizer, saveTransformer, writeJson } from "./save-model.js";

/** Sizes of the text encoders; their vocabularies follow from the words. */
export type SmallLlama = Omit<LlamaConfig, "vocabSize">;
export type SmallClip = Omit<ClipConfig, "vocabSize" | "eosTokenId">;

export interface InitialModelOptions {
  /** The widths of text are those of the encoders. */
  readonly dit: Omit<DitConfig, "textDim" | "pooledDim">;
  /** Default: none is written; one that was trained before goes into `vae/`. */
  readonly vae?: VaeConfig | undefined;
  /** How the autoencoder begins. Default "blur". */
  readonly vaeStart?: "random" | "blur" | undefined;
  /** Of a blur codec: see `initialVae`. */
  readonly vaeConstant?: number | undefined;
  readonly llama: SmallLlama;
  readonly clip: SmallClip;
  /** Words with a token of their own. Others are read letter by letter. */
  readonly words: readonly string[];
  readonly seed: number;
}

/**
 * Writes a model with random weights: transformer, autoencoder, both text encoders and their tokenizers. The same options
 * give the same bytes. What lies in the folder is overwritten, part by part.
 *
 * @returns the files
 * @throws MODEL_UNSUPPORTED, INVALID_ARGUMENT, FILE_ERROR
 * @example
 * await writeInitialModel("start", { ...demoModel, words: demoWords(), seed: 1 });
 */
export async function writeInitialModel(folder: string, options: InitialModelOptions): Promise<readonly string[]> {
  const { vae, vaeStart = "blur", vaeConstant, seed } = options;
  const root = resolve(folder);
  const [first, second] = [wordTokenizer("llama", options.words), wordTokenizer("clip", options.words)];
  const llamaConfig: LlamaConfig = { ...options.llama, vocabSize: first.vocabSize };
  const clipConfig: ClipConfig = {
    ...options.clip,
    vocabSize: second.vocabSize,
    eosTokenId: second.vocabSize - 1,
  };
  const ditConfig: DitConfig = { ...options.dit, textDim: llamaConfig.hiddenSize, pooledDim: clipConfig.hiddenSize };
  if (vae !== undefined && vae.latentChannels !== ditConfig.outChannels) {
    const message = `writeInitialModel: the autoencoder has ${vae.latentChannels} latent channels, the transformer ${ditConfig.outChannels}`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "writeInitialModel", argument: "vae" });
  }
  await using device = openDevice("cpu");
  const starting = { device, seed };
  await makeFolder(root);
  const files: string[] = [];
  const dit = initialDit(ditConfig, starting);
  files.push(...(await saveTransformer(dit, root).finally(() => dit.params.dispose())));
  {
    using llama = initialLlama(llamaConfig, starting);
    using clip = initialClip(clipConfig, starting);
    files.push(...(await saveTextEncoders({ llama, clip }, root)));
  }
  if (vae !== undefined) {
    const made = initialVae(vae, { ...starting, start: vaeStart, constant: vaeConstant });
    files.push(...(await saveVae(made, join(root, "vae")).finally(() => made.params.dispose())));
  }
  files.push(...(await saveTokenizer(first, join(root, "tokenizer"))));
  files.push(...(await saveTokenizer(second, join(root, "tokenizer_2"))));
  const index = join(root, "model_index.json");
  await writeJson(index, modelIndex);
  return [...files, index];
}
