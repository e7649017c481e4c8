/** A small run with everything in it that resuming could miss: bf16 with masters, Muon, an average, two stages, lost captions. */
import { type Device, tensor } from "../../lib/tensor.js";
import {
  type DitStage,
  DitTask,
  ditMatrixRows,
  ditMuonGroup,
  parametersOf,
  runTraining,
  type TrainingEvent,
  type TrainingOptions,
  type TrainingResult,
} from "../../lib/train.js";
import { hashOfState } from "./state-hash.js";
import { freshDit, inputsFor, type Numbered, NumberedSource, trainDit } from "./train-case.js";

export const runStages = [
  { name: "small", steps: 5, schedule: { warmup: 3 } },
  { name: "large", steps: 4, accumulate: 2, rate: 0.5, schedule: { kind: "cosine" } },
] as const satisfies readonly DitStage[];

export type RunOptions = Partial<TrainingOptions<Numbered, DitStage>> & { readonly folder: string };

export interface SmallRun extends TrainingResult {
  /** Of everything that a state holds. */
  readonly sha256: string;
  readonly events: readonly TrainingEvent[];
}

/** Trains until the end, or until it is stopped. */
export async function smallRun(device: Device, options: RunOptions): Promise<SmallRun> {
  const dit = freshDit(device, trainDit, "bf16");
  using task = new DitTask<Numbered>({
    dit,
    parameters: parametersOf(dit.params),
    learner: { lr: 0.01, clipNorm: 1, ema: { decay: 0.9 }, groups: [ditMuonGroup], rowsOf: ditMatrixRows },
    inputs: (batch) => inputsFor(batch, device),
    dtype: "bf16",
    checkpoint: true,
    timesteps: { stratified: true, shift: 2 },
    captionDropout: 0.3,
    emptyCaption: () => ({
      text: tensor(new Float32Array(trainDit.textDim), { shape: [1, 1, trainDit.textDim], device }),
      textLengths: [1],
      pooled: tensor(new Float32Array(trainDit.pooledDim), { shape: [1, trainDit.pooledDim], device }),
    }),
    validation: () => [{ index: 3, size: 4 }],
  });
  const events: TrainingEvent[] = [];
  try {
    const result = await runTraining<Numbered, DitStage>(task, {
      seed: 11,
      stages: runStages,
      open: ({ name }) => new NumberedSource(name === "small" ? 4 : 3),
      saveEvery: 4,
      keepLast: 2,
      validateEvery: 6,
      ...options,
      onEvent: (event) => {
        events.push(event);
        options.onEvent?.(event);
      },
    });
    return { ...result, sha256: await hashOfState(task.parts()), events };
  } finally {
    dit.params.dispose();
  }
}
