/**
 * Training on each device but the CPU, against the CPU: the same losses step by step. The transformer in f32 and in
 * bf16 with f32 masters, the autoencoder with its discriminator. Nothing above lib/ops knows of the device.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Device, openDevice } from "../../lib/tensor.js";
import { DitTask, type DitTaskOptions, ditMatrixRows, ditMuonGroup, parametersOf } from "../../lib/train.js";
import { distance } from "../support/conformance.js";
import { devicesHere, plainErrors } from "../support/each-device.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";
import { freshDit, inputsFor, type Numbered, NumberedSource, trainDit } from "../support/train-case.js";
import { vaeRun, vaeStages } from "../support/vae-run.js";

const place = (step: number) => ({
  step,
  stageStep: step,
  stage: { name: "all", steps: 20, accumulate: 2 },
  stageIndex: 0,
  seed: 5,
});

interface Trained {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** All weights at the end, one after the other. */
  readonly weights: Float32Array;
}

/** A large eps: a gradient of rounding size must not become a step of full size. */
const descent = { lr: 0.05, eps: 1, clipNorm: 1, ema: { decay: 0.9 } } as const;
/** Makes every direction of a gradient equally large, those of rounding too: weights may differ, the losses hardly. */
const muon = { groups: [ditMuonGroup], rowsOf: ditMatrixRows } as const;

async function trainTransformer(device: Device, options: Partial<DitTaskOptions<Numbered>>): Promise<Trained> {
  const dtype = options.dtype ?? "f32";
  const dit = freshDit(device, trainDit, dtype);
  const task = new DitTask<Numbered>({
    dit,
    parameters: parametersOf(dit.params),
    learner: descent,
    inputs: (batch) => inputsFor(batch, device),
    validation: () => [{ index: 3, size: 4 }],
    ...options,
  });
  const source = new NumberedSource(3);
  const [losses, norms, weights]: [number[], number[], number[]] = [[], [], []];
  for (let step = 0; step < 3; step++) {
    const { loss = Number.NaN, gradNorm = Number.NaN } = await task.step(() => source.take(), place(step));
    losses.push(loss);
    norms.push(gradNorm);
  }
  losses.push((await task.validate(place(3))).loss as number);
  for (const name of dit.params.names()) weights.push(...Array.from(await dit.params.get(name).read(), Number));
  task.dispose();
  dit.params.dispose();
  return { losses, norms, weights: Float32Array.from(weights) };
}

/** Runs it on both, and looks that nothing is left on either. */
async function onBoth<T>(name: string, run: (device: Device) => Promise<T>): Promise<readonly [got: T, want: T]> {
  const found: T[] = [];
  for (const one of [name, "cpu"]) {
    await using device = openDevice(one);
    found.push(await run(device));
    await device.sync();
    assert.equal([device.memory().live, device.memory().tensors], [0, 0], `left on ${one}`);
  }
  return found as [T, T];
}

interface Way {
  readonly how: string;
  readonly options: Partial<DitTaskOptions<Numbered>>;
  readonly tolerance: number;
  readonly ofWeights?: number;
}

const ways: readonly Way[] = [
  { how: "f32", options: {}, tolerance: 1e-4 },
  { how: "f32 with Muon", options: { learner: { ...descent, ...muon } }, tolerance: 1e-4, ofWeights: 0.1 },
  // 8 bits: what rounds differently moves a loss by some of the last ones.
  { how: "bf16, masters in f32, checkpoint per block", options: { dtype: "bf16", checkpoint: true }, tolerance: 0.02 },
];

const test = suite("training on devices");

for (const name of await devicesHere()) {
  if (name === "cpu") continue;
  for (const { how, options, tolerance, ofWeights = tolerance } of ways) {
    test(`${name}: three steps of the transformer in ${how}`, () =>
      plainErrors(async () => {
        const [got, want] = await onBoth(name, (device) => trainTransformer(device, options));
        assert.ok(distance(got.losses, want.losses) < tolerance, `losses ${got.losses}, expected ${want.losses}`);
        assert.ok(distance(got.norms, want.norms) < tolerance, `gradients ${got.norms}, expected ${want.norms}`);
        assert.ok(distance(got.weights, want.weights) < ofWeights, `weights: ${distance(got.weights, want.weights)}`);
      }));
  }

  test(`${name}: the autoencoder with its discriminator, crops and tiles`, () =>
    plainErrors(async () => {
      const [got, want] = await onBoth(name, async (device) => {
        const stages = vaeStages.map((stage) => ({ ...stage, steps: 3 }));
        const { events } = await vaeRun(device, { folder: temporaryFolder(), stages });
        return events.flatMap((event) => (event.kind === "step" ? (event.metrics.loss ?? Number.NaN) : []));
      });
      assert.is(want.length, 6);
      assert.ok(distance(got, want) < 1e-3, `losses ${got}, expected ${want}`);
    }));
}

test.run();
