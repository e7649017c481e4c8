/**
 * What a fine-tuned model should go on doing: for captions of other things it is to predict what it predicted before. A
 * few clips of one thing otherwise make everything look like it.
 *
 * Prior preservation as in Ruiz et al., DreamBooth (arXiv 2208.12242), §3.3: with what the model itself makes of these
 * captions. What is compared here are its predictions, not the clips.
 */
import { flowLoss } from "../models/dit/flow-matching.js";
import type { HunyuanDit } from "../models/dit/model.js";
import { concat } from "../ops/concat.js";
import { slice } from "../ops/views.js";
import { checkNumber } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { scope } from "../tensor/scope.js";
import { withoutRecording } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";
import { Draws } from "./data/draws.js";
import { type FlowSample, predictVelocity, type TextCondition } from "./objective.js";

export interface Preservation {
  /** The model as it was; for adapters the same without them. */
  readonly frozen: HunyuanDit;
  /** Captions whose videos are to stay as they are; "" for what is made without a caption. */
  readonly captions: readonly string[];
  /** Text states of captions, made in the scope that is open. */
  readonly conditions: (captions: readonly string[]) => TextCondition;
  /**
   * Clean latents of a video of the caption, [1, T, H, W, C], that stay the caller's: what the frozen model makes of it.
   * Default, and where there are none: those of the batch's own clips, which show what is learnt instead.
   */
  readonly latents?: ((caption: string, shape: readonly number[]) => Tensor<"f32"> | undefined) | undefined;
  /** What the mean of these losses counts beside that of the batch. Default 1. */
  readonly weight?: number | undefined;
  /** How many samples are made for it, as a share of the batch. Default 1. */
  readonly share?: number | undefined;
}

/** @throws INVALID_ARGUMENT */
export function checkPreservation(op: string, { captions, weight = 1, share = 1 }: Preservation): void {
  checkNumber(op, "preserve.weight", weight, { min: 0 });
  checkNumber(op, "preserve.share", share, { min: 0, max: 1 });
  if (captions.length > 0) return;
  throw new HunyuanError("INVALID_ARGUMENT", `${op}: preserve.captions is empty; expected at least one caption`, {
    op,
    argument: "preserve.captions",
  });
}

/** How many samples of a batch are made a second time for preservation: at least one. */
export function preservedCount({ share = 1 }: Preservation, count: number): number {
  return Math.max(1, Math.round(share * count));
}

/**
 * The mean squared difference between what the model predicts and what the frozen one does, for each sample, [N], recorded
 * for the model alone. Their captions are drawn.
 *
 * @param sample noise, levels and scales for N samples; its latents take the place of those that are missing
 * @param of where its captions are drawn from: the same whether they come in one batch or in several
 */
export function preservationLosses(
  dit: HunyuanDit,
  { frozen, captions, conditions, latents }: Preservation,
  sample: Omit<FlowSample, keyof TextCondition>,
  of: { readonly seed: number; readonly step: number; readonly first: number },
): Tensor<"f32"> {
  return scope(() => {
    const count = sample.sigmas.length;
    const chosen = Array.from({ length: count }, (_, i) => {
      const draws = new Draws("preserve", of.seed, of.step, of.first + i);
      return captions[draws.below(captions.length)] as string;
    });
    const shape = sample.latents.shape.slice(1);
    const videos = chosen.map((caption, i) => latents?.(caption, shape) ?? slice(sample.latents, 0, i, i + 1));
    const given = { ...sample, ...conditions(chosen), latents: concat(videos, 0) };
    const before = withoutRecording(() => predictVelocity(frozen, { ...given, checkpoint: false }));
    return flowLoss(predictVelocity(dit, given), before);
  });
}
