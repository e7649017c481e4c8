/** Training of the transformer: what is learnt, accumulation, checkpoints, lost captions, noise levels, guidance. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HunyuanDit } from "../../lib/models/dit/model.js";
import { backward, grad, mean, openDevice, requiresGrad, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { normalQuantile } from "../../lib/train/timesteps.js";
import {
  type DitStage,
  DitTask,
  type DitTaskOptions,
  ditMatrixRows,
  ditMuonGroup,
  drawSigmas,
  noiseFor,
  parametersOf,
  type StepPlace,
  velocityLosses,
  withoutCaptions,
} from "../../lib/train.js";
import { living } from "../support/dit-case.js";
import { refusal } from "../support/refusal.js";
import { freshDit, inputsFor, type Numbered, NumberedSource, trainDit } from "../support/train-case.js";

const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const at = (step: number, stage: Partial<DitStage> = {}): StepPlace<DitStage> => ({
  step,
  stageStep: step,
  stage: { name: "all", steps: 200, ...stage },
  stageIndex: 0,
  seed: 5,
});

function taskOf(dit: HunyuanDit, options: Partial<DitTaskOptions<Numbered>> = {}): DitTask<Numbered> {
  return new DitTask<Numbered>({
    dit,
    parameters: parametersOf(dit.params),
    learner: { lr: 3e-3, clipNorm: 1, ema: { decay: 0.95 } },
    inputs: (batch) => inputsFor(batch, device, dit.config),
    validation: () => [{ index: 0, size: 8 }],
    ...options,
  });
}

async function weightsOf({ params }: HunyuanDit): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const name of params.names()) all.set(name, await params.get<"f32">(name).read());
  return all;
}

/** The largest difference between two sets of weights, against the largest weight. */
function farthest(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let worst = 0;
  for (const [name, values] of a) {
    const others = b.get(name) as Float32Array;
    values.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - (others[i] as number)));
    });
  }
  return worst;
}

for (const kind of ["AdamW", "Muon"] as const) {
  test(`learns, with ${kind}; leaves nothing behind`, async () => {
    const before = living(device);
    const dit = freshDit(device, { ...trainDit, hiddenSize: 32, ropeAxes: [4, 4, 8] });
    const muon = { groups: [ditMuonGroup], rowsOf: ditMatrixRows };
    const learner = { lr: 0.01, clipNorm: 1, ema: { decay: 0.9 }, ...(kind === "Muon" ? muon : {}) };
    const task = taskOf(dit, { learner });
    const source = new NumberedSource(8);
    const stage = { steps: 150, schedule: { kind: "cosine", warmup: 5 } } as const;
    const first = await task.validate(at(0));
    const losses: number[] = [];
    for (let step = 0; step < 150; step++) {
      const { loss = Number.NaN } = await task.step(() => source.take(), at(step, stage));
      losses.push(loss);
    }
    const last = await task.validate(at(149));
    // An untrained model is off by the target's variance, 2, and by its own.
    assert.ok((first.loss as number) > 2, `${first.loss}`);
    assert.ok((last.loss as number) < 0.5, `${kind}: ${first.loss} to ${last.loss}`);
    assert.ok((last["loss at 0.5"] as number) < 0.25, `at 0.5: ${last["loss at 0.5"]}`);
    const average = (some: readonly number[]) => some.reduce((sum, value) => sum + value, 0) / some.length;
    assert.ok(average(losses.slice(-20)) < 0.25 * average(losses.slice(0, 5)), "the training loss falls");
    assert.equal(await task.validate(at(149)), last, "validation is the same each time");
    task.dispose();
    dit.params.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("accumulation: four batches of two are one of eight", async () => {
  const trained: Map<string, Float32Array>[] = [];
  const norms: (number | undefined)[] = [];
  for (const [size, accumulate] of [
    [8, 1],
    [2, 4],
  ] as const) {
    const dit = freshDit(device);
    // Plain descent (no root of the second moment): a gradient of rounding size must not become a step of full size.
    const task = taskOf(dit, { learner: { lr: 0.1, eps: 1 } });
    const source = new NumberedSource(size);
    for (let step = 0; step < 3; step++) {
      norms.push((await task.step(() => source.take(), at(step, { accumulate }))).gradNorm);
    }
    trained.push(await weightsOf(dit));
    task.dispose();
    dit.params.dispose();
  }
  const [once, often] = trained as [Map<string, Float32Array>, Map<string, Float32Array>];
  assert.ok(farthest(once, often) < 2e-6, `${farthest(once, often)}`);
  for (const i of [0, 1, 2]) assert.ok(Math.abs((norms[i] as number) / (norms[i + 3] as number) - 1) < 1e-5);
});

/** Blocks of some depth, so that what is kept between them counts. */
const deep = { ...trainDit, hiddenSize: 32, ropeAxes: [4, 6, 6], numDoubleBlocks: 3, numSingleBlocks: 6 } as const;

for (const textLengths of [
  [5, 5],
  [5, 2],
] as const) {
  test(`checkpoint per block, texts of ${textLengths}: the same gradients with less memory`, async () => {
    const before = living(device);
    const dit = freshDit(device, deep);
    const names = [...dit.params.names()];
    const leaves = names.map((name) => requiresGrad(dit.params.get(name)));
    const shape = [2, 4, 16, 16, 4] as const;
    const inputs = scope(() => ({
      latents: noiseFor(shape, { seed: 1, first: 0, device }),
      noise: noiseFor(shape, { seed: 2, first: 0, device }),
      text: noiseFor([2, 5, deep.textDim], { seed: 3, first: 0, device }),
      pooled: noiseFor([2, deep.pooledDim], { seed: 4, first: 0, device }),
    }));
    const found: { readonly grads: Float32Array[]; readonly loss: number; readonly peak: number }[] = [];
    for (const checkpoint of [false, true]) {
      await device.sync();
      device.resetPeak();
      const { live } = device.memory();
      const loss = scope(() =>
        mean(
          velocityLosses(dit, {
            ...inputs,
            textLengths,
            sigmas: new Float32Array([0.3, 0.8]),
            dtype: "f32",
            checkpoint,
          }),
        ),
      );
      const grads = grad(loss, leaves) as Tensor<"f32">[];
      await device.sync();
      const peak = device.memory().peak - live;
      found.push({ grads: await Promise.all(grads.map((one) => one.read())), loss: await loss.item(), peak });
      for (const one of [loss, ...grads]) one.dispose();
    }
    const [plain, recomputed] = found as [(typeof found)[0], (typeof found)[0]];
    assert.ok(Math.abs(plain.loss - recomputed.loss) < 1e-6 * plain.loss);
    names.forEach((name, i) => {
      const [a, b] = [plain.grads[i] as Float32Array, recomputed.grads[i] as Float32Array];
      const scale = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const worst = a.reduce((most, value, j) => Math.max(most, Math.abs(value - (b[j] as number))), 0);
      assert.ok(worst <= 2e-5 * scale, `${name}: ${worst} of ${scale}`);
    });
    const share = recomputed.peak / plain.peak;

    assert.ok(share < 0.6, `peak ${recomputed.peak} of ${plain.peak} bytes: ${share}`);
    for (const one of Object.values(inputs)) one.dispose();
    dit.params.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("checkpoint with leaves inside blocks alone: their gradients arrive", async () => {
  const dit = freshDit(device);
  const leaf = requiresGrad(dit.params.get("double_blocks.0.img_mlp.fc1.weight"));
  const losses: number[] = [];
  for (const checkpoint of [false, true]) {
    scope(() => {
      const { latents, ...given } = inputsFor({ index: 0, size: 2 }, device);
      const noise = noiseFor(latents.shape, { seed: 2, first: 0, device });
      const sigmas = new Float32Array([0.4, 0.6]);
      backward(mean(velocityLosses(dit, { ...given, latents, noise, sigmas, dtype: "f32", checkpoint })));
    });
    const total = (await (leaf.grad as Tensor<"f32">).read()).reduce((sum, value) => sum + Math.abs(value), 0);
    losses.push(total);
  }
  // The second pass has added to the first.
  assert.ok((losses[0] as number) > 0);
  assert.ok(Math.abs((losses[1] as number) / (losses[0] as number) - 2) < 1e-4, `${losses}`);
  dit.params.dispose();
});

test("lost captions: the empty one's rows, its length, and nobody else's", async () => {
  const given = scope(() => inputsFor({ index: 0, size: 3 }, device));
  const empty = scope(() => ({
    text: tensor(new Float32Array(3 * trainDit.textDim).fill(7), { shape: [1, 3, trainDit.textDim], device }),
    textLengths: [3],
    pooled: tensor(new Float32Array(trainDit.pooledDim).fill(9), { shape: [1, trainDit.pooledDim], device }),
  }));
  assert.is(withoutCaptions(given, empty, [false, false, false]), given);
  const mixed = scope(() => withoutCaptions(given, empty, [false, true, false]));
  assert.equal(mixed.textLengths, [2, 3, 2]);
  assert.equal(mixed.text.shape, [3, 3, trainDit.textDim]);
  const text = await mixed.text.read();
  const before = await given.text.read();
  const row = 3 * trainDit.textDim;
  assert.equal(text.slice(row, 2 * row), new Float32Array(row).fill(7));
  assert.equal(text.slice(2 * row, 2 * row + 16), before.slice(32, 48));
  assert.is((await mixed.pooled.read())[trainDit.pooledDim], 9);
  for (const one of [given.latents, given.text, given.pooled, empty.text, empty.pooled, mixed.text, mixed.pooled]) {
    one.dispose();
  }
  const dit = freshDit(device);
  assert.is(refusal(() => taskOf(dit, { captionDropout: 0.1 })).code, "INVALID_ARGUMENT");
  dit.params.dispose();
});

test("half of the captions lost, guidance told: the step depends on both", async () => {
  const config = { ...trainDit, guidanceEmbed: true } as const;
  const emptyCaption = () => {
    const { text, pooled } = inputsFor({ index: 0, size: 1 }, device);
    return { text, textLengths: [0], pooled };
  };
  const found: number[] = [];
  for (const options of [{}, { guidance: 6 }, { guidance: [2, 8] }, { captionDropout: 0.5, emptyCaption }] as const) {
    const dit = freshDit(device, config);
    const task = taskOf(dit, options);
    const source = new NumberedSource(8);
    const { loss } = await task.step(() => source.take(), at(0));
    found.push(loss as number);
    task.dispose();
    dit.params.dispose();
  }
  assert.is(new Set(found).size, 4, `${found}`);
  assert.ok(found.every(Number.isFinite));
});

test("noise levels: distribution, shift, even spread, the same in one batch or in several", () => {
  const of = { seed: 3, step: 7, first: 0, count: 4000 };
  const sorted = (values: Float32Array) => [...values].sort((a, b) => a - b);
  const quantile = (values: Float32Array, p: number) => sorted(values)[Math.floor(p * values.length)] as number;
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  for (const stratified of [false, true]) {
    const bound = stratified ? 0.002 : 0.03;
    const levels = drawSigmas({ stratified }, of);
    for (const [p, x] of [
      [0.1587, -1],
      [0.5, 0],
      [0.8413, 1],
    ] as const) {
      assert.ok(Math.abs(quantile(levels, p) - sigmoid(x)) < bound, `${stratified} ${p}: ${quantile(levels, p)}`);
    }
    const uniform = drawSigmas({ kind: "uniform", shift: 3, stratified }, of);
    assert.ok(Math.abs(quantile(uniform, 0.5) - 0.75) < bound);
    const parts = [0, 1500, 1501].map((first, i) =>
      drawSigmas({ stratified }, { ...of, first, count: [1500, 1, 2499][i] as number }),
    );
    assert.equal(Float32Array.from(parts.flatMap((part) => [...part])), levels);
  }
  assert.not.equal(drawSigmas({}, of), drawSigmas({}, { ...of, step: 8 }));
});

test("normalQuantile against the distribution's integral", () => {
  // Simpson's rule over the density.
  const below = (x: number): number => {
    const [n, from] = [4000, -12];
    const h = (x - from) / n;
    const density = (t: number) => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
    let sum = density(from) + density(x);
    for (let i = 1; i < n; i++) sum += (i % 2 === 0 ? 2 : 4) * density(from + i * h);
    return (sum * h) / 3;
  };
  for (const x of [-4, -2.2, -1.9, -0.5, 0, 0.3, 1.97, 1.98, 3.5]) {
    assert.ok(Math.abs(normalQuantile(below(x)) - x) < 1e-6, `${x}: ${normalQuantile(below(x))}`);
  }
  assert.ok(normalQuantile(0) < -6 && Number.isFinite(normalQuantile(0)) && normalQuantile(1) > 6);
});

test("noise: a sample's own, wherever it stands", async () => {
  const of = { seed: 4, device };
  const [all, last] = scope(
    () => [noiseFor([3, 5, 7], { ...of, first: 0 }), noiseFor([1, 5, 7], { ...of, first: 2 })] as const,
  );
  assert.equal((await all.read()).slice(70), await last.read());
  all.dispose();
  last.dispose();
});

test("matrices of the transformer's weights", () => {
  assert.equal(ditMatrixRows("single_blocks.0.linear1.weight", [7 * 16, 16]), [16, 16, 16, 64]);
  assert.equal(ditMatrixRows("dit.double_blocks.1.img_attn_qkv.weight", [48, 16]), [16, 16, 16]);
  assert.is(ditMatrixRows("double_blocks.1.img_mlp.fc1.weight", [64, 16]), undefined);
  assert.is(ditMatrixRows("double_blocks.1.img_attn_qkv.bias", [48]), undefined);
});

test.run();
