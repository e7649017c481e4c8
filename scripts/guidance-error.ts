// How much of its teacher's guidance a student has learnt: mean squared errors of its velocity against the teacher's with
// true guidance, beside those of the teacher's conditional prediction alone, over the validation clips of its recipe.
//
//   npx tsx scripts/guidance-error.ts [scripts/demo-recipe/distil.json]
//
// At scale 1 the teacher's conditional prediction is the target itself, so that there only the share of the target's mean
// square can be told.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkLoadOptions } from "../lib/pipelines/load-options.js";
import { LoadedModel } from "../lib/pipelines/loaded-model.js";
import { trainingSchema } from "../lib/pipelines/training/config.js";
import { firstBatches, LatentSource } from "../lib/pipelines/training/latents.js";
import { guidanceError } from "../lib/train/distil/losses.js";
import { noiseFor } from "../lib/train/random.js";

const scales = [1, 3, 6];
const levels = [0.1, 0.3, 0.5, 0.7, 0.9];

const [recipe = join("scripts", "demo-recipe", "distil.json")] = process.argv.slice(2);
const config = trainingSchema.parse(JSON.parse(readFileSync(recipe, "utf8")));
if (config.kind !== "distil" || config.validation === undefined) {
  throw new Error(`${recipe}: expected the configuration of a distillation with validation clips`);
}
const common = { ...config.parts, dtype: "f32" } as const;
await using teacher = await LoadedModel.load(config.model, checkLoadOptions(common));
const other = { ...common, transformer: join(config.folder, "transformer"), device: teacher.device };
await using student = await LoadedModel.load(config.model, checkLoadOptions(other));
await using source = await LatentSource.open({
  ...{ model: teacher, folder: config.cache ?? join(config.folder, "cache"), seed: config.run.seed },
});
const batches = await source.batchesOf(config.validation);
await source.addPrompts([]);
console.log("scale   student  conditional      share   of the target");
for (const scale of scales) {
  const sums = { student: 0, conditional: 0, power: 0 };
  let count = 0;
  for await (const batch of firstBatches(batches, config.validation.batches, teacher.device)) {
    for (const level of levels) {
      const { latents, ...given } = source.inputs(batch, count);
      const size = latents.shape[0] ?? 0;
      using noise = noiseFor(latents.shape, { seed: count, first: 0, device: latents.device });
      const sigmas = new Float32Array(size).fill(level);
      const guidance = Array.from({ length: size }, () => scale);
      const sample = { ...given, latents, noise, sigmas, guidance, dtype: "f32" } as const;
      const error = await guidanceError(student.dit, teacher.dit, sample, source.conditions([""]));
      for (const key of ["student", "conditional", "power"] as const) sums[key] += error[key];
      count++;
    }
    batch.dispose();
  }
  const cell = (value: number) => (value / count).toFixed(5).padStart(9);
  const share = scale > 1 ? `${((100 * sums.student) / sums.conditional).toFixed(1)} %` : "–";
  const ofTarget = `${((100 * sums.student) / sums.power).toFixed(2)} %`;
  console.log(
    `${String(scale).padStart(5)} ${cell(sums.student)} ${cell(sums.conditional).padStart(12)} ${share.padStart(10)} ${ofTarget.padStart(15)}`,
  );
}
