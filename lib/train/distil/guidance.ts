/**
 * Guidance: what true classifier-free guidance predicts, which two passes of a model make, and the scales that a model is
 * taught to make in one.
 *
 * @see Ho and Salimans, Classifier-Free Diffusion Guidance (arXiv 2207.12598); Meng et al., On Distillation of Guided
 * Diffusion Models (arXiv 2210.03142)
 */
import type { HunyuanDit } from "../../models/dit/model.js";
import { concat } from "../../ops/concat.js";
import { add, mul, sub } from "../../ops/pointwise.js";
import { invalid } from "../../runtime/check.js";
import { checkNumber } from "../../tensor/check.js";
import { tensor } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { Draws } from "../data/draws.js";
import { type FlowSample, predictVelocity, type TextCondition } from "../objective.js";

/** Guidance scales: one for all samples, or uniformly from … to. */
export type GuidanceScales = number | readonly [from: number, to: number];

/** As HunyuanVideo was distilled: scales in 1 … 8 (arXiv 2412.03603, §5.2). */
export const distilledScales = [1, 8] as const satisfies GuidanceScales;

/**
 * Scales of samples `first` … `first + count − 1` of a step: the same whether they come in one batch or in several.
 *
 * @throws INVALID_ARGUMENT for a scale below 1, below which guidance leads away from the prompt
 * @example drawGuidance([1, 8], { seed: 1, step: 0, first: 0, count: 4 })
 */
export function drawGuidance(
  scales: GuidanceScales,
  of: { readonly seed: number; readonly step: number; readonly first: number; readonly count: number },
): readonly number[] {
  const [from, to] = typeof scales === "number" ? [scales, scales] : scales;
  checkNumber("drawGuidance", "scales", from, { min: 1 });
  checkNumber("drawGuidance", "scales", to, { min: from });
  const { seed, step, first, count } = of;
  return Array.from({ length: count }, (_, i) => new Draws("guidance", seed, step, first + i).uniform(from, to));
}

/** Each sample's number over all of its elements: [B, 1, …]. */
export function eachSample(values: readonly number[], like: Tensor): Tensor<"f32"> {
  const shape = [values.length, ...like.shape.slice(1).map(() => 1)];
  return tensor(Float32Array.from(values), { shape, device: like.device });
}

/** The sample without guidance. A model that takes guidance is asked at scale 1, where it has none. */
export function plainly({ config }: HunyuanDit, sample: FlowSample): FlowSample {
  return { ...sample, guidance: config.guidanceEmbed ? Array.from(sample.sigmas, () => 1) : undefined };
}

/** The sample without guidance for the empty prompt, which may be of one sample. */
export function promptless(dit: HunyuanDit, sample: FlowSample, empty: TextCondition): FlowSample {
  return { ...plainly(dit, sample), ...repeated(empty, sample.sigmas.length) };
}

/**
 * What the model predicts for the empty prompt. Without gradients.
 *
 * @param empty of as many samples as `sample` has, or of one
 */
export function unconditionalVelocity(dit: HunyuanDit, sample: FlowSample, empty: TextCondition): Tensor<"f32"> {
  return withoutRecording(() =>
    scope(() => predictVelocity(dit, { ...promptless(dit, sample, empty), checkpoint: false })),
  );
}

/** The same for the sample's own prompt. */
export function conditionalVelocity(dit: HunyuanDit, sample: FlowSample): Tensor<"f32"> {
  return withoutRecording(() => scope(() => predictVelocity(dit, { ...plainly(dit, sample), checkpoint: false })));
}

/**
 * u + s (c − u): the prediction with guidance of scale s, by two passes. Without gradients.
 *
 * @param sample its `guidance` is s
 * @throws INVALID_ARGUMENT when it has none
 */
export function guidedVelocity(dit: HunyuanDit, sample: FlowSample, empty: TextCondition): Tensor<"f32"> {
  const scales = scalesOf("guidedVelocity", sample);
  return withoutRecording(() =>
    scope(() => {
      const [c, u] = [conditionalVelocity(dit, sample), unconditionalVelocity(dit, sample, empty)];
      return add(u, mul(sub(c, u), eachSample(scales, u)));
    }),
  );
}

/** @throws INVALID_ARGUMENT unless each sample has a scale */
export function scalesOf(op: string, { guidance, latents }: FlowSample): readonly number[] {
  const batch = latents.shape[0] ?? 0;
  if (guidance?.length === batch && guidance.every((scale) => scale >= 1)) return guidance;
  throw invalid(op, "guidance", guidance, `${batch} scales ≥ 1, one for each sample`);
}

function repeated({ text, textLengths, pooled }: TextCondition, batch: number): TextCondition {
  if (textLengths.length === batch) return { text, textLengths, pooled };
  const rows = (x: TextCondition["text"]) =>
    concat(
      Array.from({ length: batch }, () => x),
      0,
    );
  const [length = 0] = textLengths;
  return { text: rows(text), textLengths: Array.from({ length: batch }, () => length), pooled: rows(pooled) };
}
