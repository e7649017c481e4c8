// How much of its teacher's guidance a student has learnt: mean squared errors of its velocity against the teacher's with
// true guidance, beside those of the teacher's conditional prediction alone, over the validation clips of its recipe.
//
//   npx tsx scripts/guidance-error.ts [scripts/demo-recipe/distil.json]
//
// At scale 1 the teacher's conditional prediction is the target itself, so that there only the share of the target's mean
// square can be told. A teacher that learnt too is measured as it became and as it was: how much closer the student is to
// what it was taught in the end, and what of the first teacher's guidance that cost.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { velocityTarget } from "../lib/models/dit/flow-matching.js";
import type { HunyuanDit } from "../lib/models/dit/model.js";
import { LoadedModel } from "../lib/pipelines/loaded-model.js";
import { trainingSchema } from "../lib/pipelines/training/config.js";
import { firstBatches, LatentSource } from "../lib/pipelines/training/latents.js";
import { mean, scope, square, sub } from "../lib/tensor.js";
import { conditionalVelocity, unconditionalVelocity } from "../lib/train/distil/guidance.js";
import { guidanceError } from "../lib/train/distil/losses.js";
import type { FlowSample, TextCondition } from "../lib/train/objective.js";
import { noiseFor } from "../lib/train/random.js";

const scales = [1, 3, 6];
const levels = [0.1, 0.3, 0.5, 0.7, 0.9];

const [recipe = join("scripts", "demo-recipe", "distil.json")] = process.argv.slice(2);
const config = trainingSchema.parse(JSON.parse(readFileSync(recipe, "utf8")));
if (config.kind !== "distil" || config.validation === undefined) {
  throw new Error(`${recipe}: expected the configuration of a distillation with validation clips`);
}
const common = { ...config.parts, dtype: "f32" } as const;
await using first = await LoadedModel.load(config.model, common);
const trained = (folder: string) =>
  LoadedModel.load(config.model, { ...common, transformer: join(folder, "transformer"), device: first.device });
await using student = await trained(config.folder);
await using learnt = config.teacher && (await trained(join(config.folder, "teacher")));
await using source = await LatentSource.open({
  ...{ model: first, folder: config.cache ?? join(config.folder, "cache"), seed: config.run.seed },
});
const { validation } = config;
const batches = await source.batchesOf(validation);
await source.addPrompts([]);
if (learnt !== undefined) await show("against its teacher as that became", learnt.dit);
await show(learnt === undefined ? "against its teacher" : "against its teacher as that was", first.dit);

async function show(title: string, teacher: HunyuanDit): Promise<void> {
  const [withCaption = 0, without = 0] = await measured(1, async (sample) => {
    const losses = scope(() => {
      const target = velocityTarget(sample.latents, sample.noise);
      const predicted = [conditionalVelocity(teacher, sample), unconditionalVelocity(teacher, sample, empty())];
      return predicted.map((one) => mean(square(sub(one, target))));
    });
    const values = await Promise.all(losses.map((loss) => loss.item()));
    for (const loss of losses) loss.dispose();
    return values;
  });
  console.log(
    `${title}, whose own velocity is off by ${withCaption.toFixed(4)} with captions, ${without.toFixed(4)} without`,
  );
  console.log("scale   student  conditional      share   of the target");
  for (const scale of scales) {
    const [own = 0, conditional = 0, power = 0] = await measured(scale, async (sample) => {
      const error = await guidanceError(student.dit, teacher, sample, empty());
      return [error.student, error.conditional, error.power];
    });
    const cells = [
      ...[String(scale).padStart(5), own.toFixed(5).padStart(9), conditional.toFixed(5).padStart(12)],
      (scale > 1 ? `${((100 * own) / conditional).toFixed(1)} %` : "–").padStart(10),
      `${((100 * own) / power).toFixed(2)} %`.padStart(15),
    ];
    console.log(cells.join(" "));
  }
}

function empty(): TextCondition {
  return source.conditions([""]);
}

/** Means over all batches and levels of numbers that stand for the mean over a batch. */
async function measured(scale: number, of: (sample: FlowSample) => Promise<readonly number[]>): Promise<number[]> {
  const sums: number[] = [];
  let count = 0;
  for await (const batch of firstBatches(batches, validation.batches, first.device)) {
    for (const level of levels) {
      const { latents, ...given } = source.inputs(batch, count);
      const size = latents.shape[0] ?? 0;
      using noise = noiseFor(latents.shape, { seed: count, first: 0, device: latents.device });
      const sigmas = new Float32Array(size).fill(level);
      const guidance = Array.from({ length: size }, () => scale);
      const found = await of({ ...given, latents, noise, sigmas, guidance, dtype: "f32" });
      found.forEach((value, i) => {
        sums[i] = (sums[i] ?? 0) + value;
      });
      count++;
    }
    batch.dispose();
  }
  return sums.map((sum) => sum / count);
}
