/** What a student of guidance is trained for, and how to fine-tune a model that has been one. */
import { flowLoss, velocityTarget } from "../../models/dit/flow-matching.js";
import type { HunyuanDit } from "../../models/dit/model.js";
import { add, div, mul, sub } from "../../ops/pointwise.js";
import { sum } from "../../ops/reduce.js";
import { square } from "../../ops/unary.js";
import { checkOneOf } from "../../tensor/check.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { type FlowSample, predictVelocity, type TextCondition } from "../objective.js";
import { conditionalVelocity, eachSample, guidedVelocity, scalesOf, unconditionalVelocity } from "./guidance.js";
import { takesGuidance } from "./student.js";

/**
 * Guidance distillation: how far the student's one pass, which is told the scale, is from the teacher's two. The mean
 * squared error of each sample, [B], recorded on the tape for the student's parameters; the teacher gets no gradients.
 *
 * @param sample its `guidance` is the scale for each sample, drawn by `drawGuidance`
 * @param empty the empty prompt, of one sample or of as many as there are
 * @throws INVALID_ARGUMENT for a student that takes no guidance, and scales that are missing
 * @see Meng et al., On Distillation of Guided Diffusion Models (arXiv 2210.03142), stage one
 * @example backward(mean(distillationLosses(student, teacher, { ...sample, guidance: [1.5, 6] }, empty)));
 */
export function distillationLosses(
  student: HunyuanDit,
  teacher: HunyuanDit,
  sample: FlowSample,
  empty: TextCondition,
): Tensor<"f32"> {
  takesGuidance("distillationLosses", student);
  return scope(() => {
    const target = guidedVelocity(teacher, sample, empty);
    return flowLoss(predictVelocity(student, sample), target);
  });
}

/**
 * - `target`: the model is to predict u + s (v − u), where v is the true velocity noise − data;
 * - `prediction`: what it predicts, p, is taken for a guided one, and (p + (s − 1) u) / s is to be v.
 *
 * They differ by the factor s²: the second weighs all scales alike, as plain training does.
 */
export type GuidanceForm = "target" | "prediction";

const forms = ["target", "prediction"] as const satisfies readonly GuidanceForm[];

export interface GuidanceAwareOptions {
  /** Default "prediction". */
  readonly form?: GuidanceForm | undefined;
}

/**
 * Fine-tuning of a model that is distilled for guidance. Trained on the plain velocity it would forget to guide: its videos
 * fade to those of scale 1. Here the data's velocity is guided as the model is, with the frozen model's own prediction u for
 * the empty prompt. The mean squared error of each sample, [B].
 *
 * @param dit is trained, whole or by adapters
 * @param frozen the model as it was; for adapters the same without them
 * @param sample its `guidance` is the scale for each sample; the released model is used at 6
 * @throws INVALID_ARGUMENT for a model that takes no guidance, and scales that are missing
 */
export function guidanceAwareLosses(
  dit: HunyuanDit,
  frozen: HunyuanDit,
  sample: FlowSample,
  empty: TextCondition,
  { form = "prediction" }: GuidanceAwareOptions = {},
): Tensor<"f32"> {
  const op = "guidanceAwareLosses";
  checkOneOf(op, "form", form, forms);
  takesGuidance(op, dit);
  const scales = scalesOf(op, sample);
  return scope(() => {
    const u = unconditionalVelocity(frozen, sample, empty);
    const v = velocityTarget(sample.latents, sample.noise);
    const s = eachSample(scales, u);
    const predicted = predictVelocity(dit, sample);
    if (form === "target") return flowLoss(predicted, add(u, mul(sub(v, u), s)));
    return flowLoss(div(add(predicted, mul(u, sub(s, 1))), s), v);
  });
}

export interface GuidanceError {
  /** Mean squared error of the student against the teacher with guidance. */
  readonly student: number;
  /** That of the teacher's conditional prediction, without guidance; 0 at scale 1, where the two are the same. */
  readonly conditional: number;
  /** Mean square of the guided velocity. */
  readonly power: number;
}

/**
 * How well a student guides at the sample's scales.
 *
 * @example
 * const { student, conditional } = await guidanceError(dit, teacher, { ...sample, guidance: [3, 3, 3, 3] }, empty);
 * Math.sqrt(student / conditional) // the share of guidance that is missing
 */
export async function guidanceError(
  student: HunyuanDit,
  teacher: HunyuanDit,
  sample: FlowSample,
  empty: TextCondition,
): Promise<GuidanceError> {
  takesGuidance("guidanceError", student);
  const sums = withoutRecording(() =>
    scope(() => {
      const target = guidedVelocity(teacher, sample, empty);
      const off = (other: Tensor<"f32">) => sum(square(sub(other, target)));
      return [off(predictVelocity(student, sample)), off(conditionalVelocity(teacher, sample)), sum(square(target))];
    }),
  );
  try {
    const [own = 0, conditional = 0, power = 0] = await Promise.all(sums.map((one) => one.item()));
    const { size } = sample.latents;
    return { student: own / size, conditional: conditional / size, power: power / size };
  } finally {
    for (const one of sums) one.dispose();
  }
}
