/**
 * Distillation in which the teacher learns as well.
 *
 * What guidance adds is the difference of two predictions, and a small model's own errors are a large part of it: two states
 * of one teacher, some thousand steps apart, may disagree in it by a third. A student of the teacher's size cannot hold all
 * of that. Here the teacher comes towards what its student can hold, and is held to what it was.
 */
import { flowLoss } from "../../models/dit/flow-matching.js";
import type { HunyuanDit } from "../../models/dit/model.js";
import { add, mul, sub } from "../../ops/pointwise.js";
import { checkNumber } from "../../runtime/check.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { type FlowSample, predictVelocity, type TextCondition } from "../objective.js";
import { conditionalVelocity, eachSample, plainly, promptless, scalesOf, unconditionalVelocity } from "./guidance.js";
import { takesGuidance } from "./student.js";

/** A teacher that learns, and what it was. */
export interface LearningTeacher {
  readonly teacher: HunyuanDit;
  /** The same before; gets no gradients. */
  readonly original: HunyuanDit;
  /** Weight of what the teacher has moved by. The larger, the more of its guidance stays, and the less of it is learnt. Default 1. */
  readonly hold?: number | undefined;
}

/**
 * For each sample, [B], recorded for the parameters of student and teacher:
 *
 * |student(s) − g|² / (1 + (s − 1)²) + hold / 2 · (|c − c₀|² + |u − u₀|²), means over elements, where c and u are the
 * teacher's predictions for the prompt and for none, c₀ and u₀ the original's, and g = u + s (c − u). The factor of the first
 * makes all scales count alike: guidance errors grow with s − 1.
 *
 * @param sample its `guidance` is s
 * @param empty the empty prompt, of one sample or of as many as there are
 * @throws INVALID_ARGUMENT for a student that takes no guidance, scales that are missing, and `hold` that is not above 0
 * @see Park et al., Learning Student-Friendly Teacher Networks for Knowledge Distillation (arXiv 2102.07650), for the idea
 * @example backward(mean(jointDistillationLosses(student, { teacher, original }, { ...sample, guidance: [1.5, 6] }, empty)));
 */
export function jointDistillationLosses(
  student: HunyuanDit,
  { teacher, original, hold = 1 }: LearningTeacher,
  sample: FlowSample,
  empty: TextCondition,
): Tensor<"f32"> {
  const op = "jointDistillationLosses";
  takesGuidance(op, student);
  checkNumber(op, "hold", hold, { above: 0 });
  const scales = scalesOf(op, sample);
  return scope(() => {
    const [c0, u0] = [conditionalVelocity(original, sample), unconditionalVelocity(original, sample, empty)];
    const c = predictVelocity(teacher, plainly(teacher, sample));
    const u = predictVelocity(teacher, promptless(teacher, sample, empty));
    const guided = add(u, mul(sub(c, u), eachSample(scales, u)));
    const missed = flowLoss(predictVelocity(student, sample), guided);
    const shares = scales.map((s) => 1 / (1 + (s - 1) ** 2));
    const moved = add(flowLoss(c, c0), flowLoss(u, u0));
    return add(mul(missed, eachSample(shares, missed)), mul(moved, hold / 2));
  });
}
