/** A small run of the autoencoder with everything in it that resuming could miss: a discriminator, tiles, an average, stages. */
import { type Device, type Tensor, tensor } from "../../lib/tensor.js";
import { PatchDiscriminator } from "../../lib/train/vae/discriminator.js";
import { initialVae } from "../../lib/train/vae/initial.js";
import { type VaeStage, VaeTask, type VaeTaskOptions, vaeMuonGroup } from "../../lib/train/vae/vae-task.js";
import { runTraining, type TrainingEvent, type TrainingOptions, type TrainingResult } from "../../lib/train.js";
import { hashOfState } from "./state-hash.js";
import { type Numbered, NumberedSource } from "./train-case.js";

/** Two pixels and two frames to a latent. */
export const smallVae = {
  ...{ inChannels: 3, outChannels: 3, latentChannels: 4, blockChannels: [8, 8], layersPerBlock: 1, normGroups: 1 },
  ...{ midAttention: true, spatialRatio: 2, temporalRatio: 2, scalingFactor: 1 },
} as const;

const tiles = {
  frames: { tile: 2, stride: 2 },
  height: { tile: 4, stride: 2 },
  width: { tile: 4, stride: 2 },
} as const;

export const vaeStages = [
  { name: "crops", steps: 4, schedule: { warmup: 2 } },
  { name: "tiles", steps: 3, accumulate: 2, rate: 0.5, tiling: { share: 0.5, tiles } },
] as const satisfies readonly VaeStage[];

/** Bright bars on a dark ground that move to the right; pictures every third time. */
export function movingBars({ index, size }: Numbered, device: Device): Tensor<"f32"> {
  const frames = index % 3 === 2 ? 1 : 5;
  const [h, w] = [8, 8];
  const values = Float32Array.from({ length: size * frames * h * w * 3 }, (_, i) => {
    const [x, t, n] = [
      Math.floor(i / 3) % w,
      Math.floor(i / (3 * h * w)) % frames,
      Math.floor(i / (3 * h * w * frames)),
    ];
    return Math.abs(x - t - ((index + n) % 4)) < 2 ? [0.8, -0.2, 0.4][i % 3]! : -0.8;
  });
  return tensor(values, { device, shape: [size, frames, h, w, 3] });
}

export interface VaeRun extends TrainingResult {
  /** Of everything that a state holds. */
  readonly sha256: string;
  readonly events: readonly TrainingEvent[];
}

export type VaeRunOptions = Partial<TrainingOptions<Numbered, VaeStage>> & {
  readonly folder: string;
  readonly task?: Partial<VaeTaskOptions<Numbered>>;
  /** Called at the end, with the task as it is. */
  readonly after?: (task: VaeTask<Numbered>) => Promise<void>;
};

export async function vaeRun(device: Device, { task: given, after, ...options }: VaeRunOptions): Promise<VaeRun> {
  const vae = initialVae(smallVae, { device, seed: 3, start: "blur" });
  const config = { inChannels: 3, channels: 4, layers: 1, normGroups: 2 } as const;
  const discriminator = PatchDiscriminator.create(config, { seed: 4, device });
  using task = new VaeTask<Numbered>({
    vae,
    learner: { lr: 0.01, clipNorm: 5, ema: { decay: 0.8 }, groups: [vaeMuonGroup] },
    clips: (batch) => movingBars(batch, device),
    weights: { edge: 2, mse: 1 },
    adversary: { discriminator, learner: { lr: 0.001 }, start: 2, adaptive: true },
    validation: () => [movingBars({ index: 7, size: 2 }, device)],
    ...given,
  });
  const events: TrainingEvent[] = [];
  try {
    const result = await runTraining<Numbered, VaeStage>(task, {
      ...{ seed: 5, stages: vaeStages, open: () => new NumberedSource(2), saveEvery: 3, validateEvery: 5 },
      ...options,
      onEvent: (event) => {
        events.push(event);
        options.onEvent?.(event);
      },
    });
    const sha256 = await hashOfState(task.parts());
    await after?.(task);
    return { ...result, sha256, events };
  } finally {
    task.dispose();
    discriminator.dispose();
    vae.dispose();
  }
}
