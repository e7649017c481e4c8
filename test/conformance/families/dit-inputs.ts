/** Transformer cases: the model and what goes into it. B batch, L text tokens. */
import type { DitConfig } from "../../../lib/models/dit/config.js";
import { HunyuanDit } from "../../../lib/models/dit/model.js";
import { ditConfigOfReference } from "../../../lib/models/dit/reference-config.js";
import { ditSpec } from "../../../lib/models/dit/spec.js";
import type { ParameterSpec } from "../../../lib/nn/spec.js";
import { contiguous, type FloatDType, type Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { HostTensor, Rule } from "../compare.js";
import { channelsLast, type RunOptions, upload } from "./family.js";
import { caseParams } from "./parameters.js";

export interface CaseModel extends Disposable {
  readonly dit: HunyuanDit;
  readonly specs: readonly ParameterSpec[];
}

/** The config of the case whose weights are used, with what this case gives in its place. */
export function ditConfigOf(from: ConformanceCase): DitConfig {
  const { dit = {}, ...own } = from.about.config as { readonly dit?: object };
  const base = from.weightSources.map((source) => source.withConfig("hidden_size")?.about.config ?? {});
  return ditConfigOfReference(Object.assign({}, ...base, own, dit));
}

export function caseDit(from: ConformanceCase, options: RunOptions): CaseModel {
  const config = ditConfigOf(from);
  const specs = ditSpec(config);
  const params = caseParams(from, specs, options);
  return { dit: new HunyuanDit(config, params), specs, [Symbol.dispose]: () => params.dispose() };
}

/** Real tokens of each sample; they come first. */
export function textLengths(from: ConformanceCase): number[] {
  const { shape, data } = from.input("text_mask");
  const [batch = 0, length = 0] = shape;
  return Array.from({ length: batch }, (_, b) =>
    data.subarray(b * length, (b + 1) * length).reduce((sum, real) => sum + real, 0),
  );
}

export interface TextInputs {
  readonly text: Tensor<FloatDType>;
  readonly textLengths: readonly number[];
  readonly pooled: Tensor<FloatDType>;
}

/** What the text encoders give, in the type of the computation. */
export function textInputs(from: ConformanceCase, { device, dtype }: RunOptions): TextInputs {
  return {
    text: upload(from.input("text_states"), device, dtype) as Tensor<FloatDType>,
    textLengths: textLengths(from),
    pooled: upload(from.input("text_states_2"), device, dtype) as Tensor<FloatDType>,
  };
}

/** Guidance as given, 1000 × the scale, for models that take it. */
export function guidanceInput(from: ConformanceCase, { guidanceEmbed }: DitConfig, { device }: RunOptions) {
  return guidanceEmbed ? { guidance: upload(from.input("guidance"), device, "f32") } : {};
}

/** Latents of that input, channels last, f32. */
export function latentInput(from: ConformanceCase, name: string, { device }: RunOptions): Tensor<"f32"> {
  return contiguous(channelsLast(upload(from.input(name), device, "f32")));
}

const textPlace =
  /^mid\.(txt_in(\.(input_embedder|blocks\.\d+))?|double_blocks\.\d+\.txt(_attn|_attn_qkv)?|single_blocks\.\d+(\..+)?)$/;

/** Whether an intermediate holds text tokens, last along its second axis. */
export function holdsText(from: ConformanceCase, name: string): boolean {
  return textPlace.test(name) && from.stored.get(name)?.shape.length === 3;
}

/** Rows of padded text are not compared: text tokens stand last, and of sample b only the first `lengths[b]` are real. */
export function textRowsRule(from: ConformanceCase, name: string, lengths: readonly number[], room: number): Rule {
  const tokens = from.stored.get(name)?.shape[1] ?? 0;
  return {
    keepsRow: (row) => (row % tokens) - (tokens - room) < (lengths[Math.floor(row / tokens)] ?? 0),
  };
}

/**
 * The library cuts away padding that all samples share, so its tensors may end earlier than the stored ones: rows are
 * added at the end of the second axis, where nothing is compared.
 */
export function withPaddedRows({ shape, data }: HostTensor, tokens: number): HostTensor {
  const [batch = 0, seen = 0, width = 0] = shape;
  if (shape.length !== 3 || seen >= tokens) return { shape, data };
  const out = new Float64Array(batch * tokens * width);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < seen * width; i++) out[b * tokens * width + i] = data[b * seen * width + i] as number;
  }
  return { shape: [batch, tokens, width], data: out };
}
