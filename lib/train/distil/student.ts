/** A student of guidance: its teacher with one input more. */
import type { DitConfig } from "../../models/dit/config.js";
import { HunyuanDit } from "../../models/dit/model.js";
import { ditSpec } from "../../models/dit/spec.js";
import { Params, ResidentStore } from "../../nn/params.js";
import { copyView } from "../../ops/copy.js";
import { zerosLike } from "../../ops/fill.js";
import { HunyuanError } from "../../runtime/errors.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";

/**
 * A model with the teacher's parameters, copied, and an embedding of the guidance scale that starts from that of the
 * timestep with its last layer at zero: the student begins as the teacher without guidance.
 *
 * @returns the caller's to dispose of: `student.params`
 * @throws INVALID_ARGUMENT for a teacher that takes guidance already
 * @example const student = studentOf(teacher);
 */
export function studentOf(teacher: HunyuanDit): HunyuanDit {
  if (teacher.config.guidanceEmbed) {
    const message = "studentOf: the teacher takes guidance as an input already; distil a model that does not";
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "studentOf", argument: "teacher" });
  }
  const config: DitConfig = { ...teacher.config, guidanceEmbed: true };
  const store = new ResidentStore([]);
  try {
    for (const { name } of ditSpec(config)) {
      store.replace(
        name,
        withoutRecording(() => scope(() => startOf(teacher.params, name))),
      );
    }
  } catch (error) {
    store.dispose();
    throw error;
  }
  return new HunyuanDit(config, new Params(store));
}

function startOf(teacher: Params, name: string): Tensor {
  const from = teacher.get(name.replace(/^guidance_in\./, "time_in."));
  return name.startsWith("guidance_in.mlp.2.") ? zerosLike(from) : copyView(from, from, from.dtype);
}

/** @throws INVALID_ARGUMENT for a model that takes no guidance */
export function takesGuidance(op: string, { config }: HunyuanDit): void {
  if (config.guidanceEmbed) return;
  const message = `${op}: the model takes no guidance (guidanceEmbed is false); make one that does with studentOf()`;
  throw new HunyuanError("INVALID_ARGUMENT", message, { op, argument: "student" });
}
