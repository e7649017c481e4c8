/** Videos that a model makes before it is fine-tuned, for captions whose videos are to stay as they are. */
import type { Tensor } from "../../tensor/tensor.js";
import type { DitTrainingConfig } from "./config.js";
import type { RunHooks } from "./events.js";
import { type SampledBy, sampleLatents } from "./sampled-latents.js";

type Maker = SampledBy & Pick<RunHooks, "onEvent">;
type Preserve = NonNullable<Exclude<DitTrainingConfig, { kind: "distil" }>["preserve"]>;

/** Latents for each caption in each size of the run's buckets, which take a while to make: only a run that has steps left does. */
export class PreservedVideos implements Disposable {
  readonly #latents = new Map<string, Tensor<"f32">>();
  readonly #preserve: Preserve;
  readonly #run: Pick<DitTrainingConfig, "stages" | "run">;
  readonly #by: Maker;

  /** @param by its transformer is the one before fine-tuning */
  constructor(preserve: Preserve, run: Pick<DitTrainingConfig, "stages" | "run">, by: Maker) {
    this.#preserve = preserve;
    this.#run = run;
    this.#by = by;
  }

  /** Makes those that are not there, with the model's own number of steps, shift and guidance where the settings say nothing. */
  async make(): Promise<void> {
    const { model, dit, onEvent } = this.#by;
    const { numInferenceSteps, flowShift, guidanceScale } = model.defaults;
    const captions = [...new Set(this.#preserve.captions)];
    const { steps = numInferenceSteps, shift = flowShift } = this.#preserve;
    const { guidance = dit.config.guidanceEmbed ? guidanceScale : 1 } = this.#preserve;
    const { stages, run } = this.#run;
    const sizes = new Map(
      stages.flatMap(({ data }) =>
        data.buckets.map(({ width, height, numFrames }) => {
          const video = { width, height, numFrames, steps, shift, guidance };
          return [`${width} × ${height} × ${numFrames}`, video] as const;
        }),
      ),
    );
    const total = sizes.size * captions.length;
    if (steps === 0 || this.#latents.size === total) return;
    for (const video of sizes.values()) {
      for (const [i, caption] of captions.entries()) {
        onEvent?.({ kind: "prepare", what: "preserved videos", done: this.#latents.size, total });
        const latents = await sampleLatents(caption, { ...video, seed: run.seed + i }, this.#by);
        this.#latents.set(keyOf(caption, latents.shape.slice(1)), latents);
      }
    }
    onEvent?.({ kind: "prepare", what: "preserved videos", done: total, total });
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
