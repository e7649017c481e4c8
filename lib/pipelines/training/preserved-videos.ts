/** Videos that a model makes before it is fine-tuned, for captions whose videos are to stay as they are. */
import type { Tensor } from "../../tensor/tensor.js";
import type { DitTrainingConfig } from "./config.js";
import type { RunHooks } from "./events.js";
import { type SampledBy, sampleLatents } from "./sampled-latents.js";

type Preserve = NonNullable<Exclude<DitTrainingConfig, { kind: "distil" }>["preserve"]>;

/** Latents for each caption in each size of the run's buckets. */
export class PreservedVideos implements Disposable {
  readonly #latents = new Map<string, Tensor<"f32">>();

  /**
   * Makes all of them, with the model's own number of steps, shift and guidance where the settings say nothing.
   *
   * @param by its transformer is the one before fine-tuning
   */
  static async make(
    preserve: Preserve,
    { stages, run }: Pick<DitTrainingConfig, "stages" | "run">,
    by: SampledBy & Pick<RunHooks, "onEvent">,
  ): Promise<PreservedVideos> {
    const made = new PreservedVideos();
    const { model, dit, onEvent } = by;
    const { numInferenceSteps, flowShift, guidanceScale } = model.defaults;
    const { captions, steps = numInferenceSteps, shift = flowShift } = preserve;
    const { guidance = dit.config.guidanceEmbed ? guidanceScale : 1 } = preserve;
    if (steps === 0) return made;
    const sizes = new Map(
      stages.flatMap(({ data }) =>
        data.buckets.map(({ width, height, numFrames }) => {
          const video = { width, height, numFrames, steps, shift, guidance };
          return [`${width} × ${height} × ${numFrames}`, video] as const;
        }),
      ),
    );
    const total = sizes.size * captions.length;
    try {
      for (const video of sizes.values()) {
        for (const [i, caption] of captions.entries()) {
          onEvent?.({ kind: "prepare", what: "preserved videos", done: made.#latents.size, total });
          const latents = await sampleLatents(caption, { ...video, seed: run.seed + i }, by);
          made.#latents.set(keyOf(caption, latents.shape.slice(1)), latents);
        }
      }
    } catch (error) {
      made.dispose();
      throw error;
    }
    onEvent?.({ kind: "prepare", what: "preserved videos", done: total, total });
    return made;
  }

  /** @param shape [T, H, W, C]; undefined where none were made */
  find(caption: string, shape: readonly number[]): Tensor<"f32"> | undefined {
    return this.#latents.get(keyOf(caption, shape));
  }

  dispose(): void {
    for (const one of this.#latents.values()) one.dispose();
    this.#latents.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const keyOf = (caption: string, shape: readonly number[]) => `${shape.join(" × ")} ${caption}`;
