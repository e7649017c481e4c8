/** Preservation: what a fine-tuned model does for other captions stays, at no cost to what it learns. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { flowLoss } from "../../lib/models/dit/flow-matching.js";
import type { HunyuanDit } from "../../lib/models/dit/model.js";
import { copyInto } from "../../lib/ops/copy.js";
import { add, concat, neg, noGrad, openDevice, scope, slice, tensor } from "../../lib/tensor.js";
import {
  type DitStage,
  DitTask,
  noiseFor,
  type Preservation,
  parametersOf,
  predictVelocity,
  preservationLosses,
  type StepPlace,
  type TextCondition,
} from "../../lib/train.js";
import { living } from "../support/dit-case.js";
import { refusal } from "../support/refusal.js";
import { freshDit, inputsFor, type Numbered, NumberedSource, trainDit } from "../support/train-case.js";

const device = openDevice("cpu");
test.before.each(() => device.sync());
test.after(() => device.dispose());

const at = (step: number, stage: Partial<DitStage> = {}): StepPlace<DitStage> => ({
  ...{ step, stageStep: step, stage: { name: "all", steps: 60, ...stage }, stageIndex: 0, seed: 5 },
});

/** Text of the two kinds of clips, "left" and "right"; nothing for the empty caption. */
function conditions(captions: readonly string[]): TextCondition {
  const { text, pooled } = inputsFor({ index: 0, size: 2 }, device);
  const rows = (width: number, values: (caption: string) => number) =>
    Float32Array.from({ length: captions.length * width }, (_, i) => {
      return values(captions[Math.floor(i / width)] as string) * (i % 2 === 0 ? 1 : 0.5);
    });
  const sign = (caption: string) => ({ left: 1, right: -1 })[caption] ?? 0;
  return {
    text: tensor(rows(2 * trainDit.textDim, sign), { shape: [captions.length, ...text.shape.slice(1)], device }),
    textLengths: captions.map(() => 2),
    pooled: tensor(rows(trainDit.pooledDim, sign), { shape: [captions.length, ...pooled.shape.slice(1)], device }),
  };
}

const taskOf = (dit: HunyuanDit, preserve: Omit<Preservation, "conditions"> | undefined, lr = 0.01) =>
  new DitTask<Numbered>({
    ...{ dit, parameters: parametersOf(dit.params), learner: { lr, clipNorm: 1, eps: lr > 0.05 ? 1 : 1e-8 } },
    inputs: (batch) => inputsFor(batch, device, dit.config),
    preserve: preserve && { ...preserve, conditions },
  });

/** Clips of the kind "left" alone. */
class LeftOnly extends NumberedSource {
  override take(): Promise<Numbered> {
    return super.take().then(({ index }) => ({ index: 2 * index, size: 1 }));
  }
}

/** What the model predicts of a clip of "left" for a caption. */
async function predicted(dit: HunyuanDit, caption: string): Promise<Float32Array> {
  const velocity = scope(() =>
    noGrad(() => {
      const { latents } = inputsFor({ index: 0, size: 1 }, device);
      const noise = noiseFor(latents.shape, { seed: 77, first: 0, device });
      return predictVelocity(dit, {
        ...{ ...conditions([caption]), latents, noise, sigmas: Float32Array.of(0.6), dtype: "f32" },
      });
    }),
  );
  try {
    return await velocity.read();
  } finally {
    velocity.dispose();
  }
}

const apart = (a: Float32Array, b: Float32Array) =>
  a.reduce((sum, value, i) => sum + (value - (b[i] as number)) ** 2, 0) / a.length;

test("a model that is taught one kind forgets the other, unless that is preserved", async () => {
  const before = living(device);
  const [frozen, plain, kept] = [freshDit(device), freshDit(device), freshDit(device)];
  const start = { right: await predicted(frozen, "right"), left: await predicted(frozen, "left") };
  const drift = { plain: 0, kept: 0 };
  const learnt = { plain: 0, kept: 0 };
  const metrics: (number | undefined)[] = [];
  for (const [name, dit] of [
    ["plain", plain],
    ["kept", kept],
  ] as const) {
    const task = taskOf(dit, name === "kept" ? { frozen, captions: ["right"], weight: 4 } : undefined);
    const source = new LeftOnly(1);
    for (let step = 0; step < 60; step++) {
      const { preserved } = await task.step(() => source.take(), at(step, { accumulate: 4 }));
      if (name === "kept") metrics.push(preserved);
      else assert.is(preserved, undefined);
    }
    drift[name] = apart(await predicted(dit, "right"), start.right);
    learnt[name] = apart(await predicted(dit, "left"), start.left);
    task.dispose();
  }
  // At first the two are one model, but a recorded pass rounds in other places.
  assert.ok((metrics[0] as number) < 1e-10, `${metrics[0]}`);
  assert.ok((metrics[5] as number) > 1e-6);
  assert.ok(drift.kept < 0.2 * drift.plain, JSON.stringify(drift));
  assert.ok(learnt.kept > 0.5 * learnt.plain, JSON.stringify(learnt));
  for (const one of [frozen, plain, kept]) one.params.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("four batches of two are one of eight; a share makes fewer samples", async () => {
  const norms: number[][] = [];
  for (const [size, accumulate, share] of [
    [8, 1, 1],
    [2, 4, 1],
    [8, 1, 0.25],
  ] as const) {
    const [frozen, dit] = [freshDit(device, { ...trainDit, mlpRatio: 2 }), freshDit(device)];
    const task = taskOf(dit, { frozen, captions: ["left", "right", ""], share }, 0.1);
    const source = new NumberedSource(size);
    const own: number[] = [];
    for (let step = 0; step < 3; step++) {
      const { preserved = Number.NaN } = await task.step(() => source.take(), at(step, { accumulate }));
      own.push(preserved);
    }
    norms.push(own);
    task.dispose();
    for (const one of [frozen, dit]) one.params.dispose();
  }
  const [once, often, fewer] = norms as [number[], number[], number[]];
  for (const i of [1, 2]) {
    assert.ok(Math.abs((once[i] as number) / (often[i] as number) - 1) < 1e-3, `${once} and ${often}`);
    assert.is.not(once[i], fewer[i]);
  }
});

test("samples are of the videos that are given for a caption, where there are any", async () => {
  const [dit, frozen] = [freshDit(device), freshDit(device, trainDit)];
  const batch = inputsFor({ index: 0, size: 2 }, device);
  const video = scope(() => neg(slice(batch.latents, 0, 0, 1)));
  const noise = noiseFor(batch.latents.shape, { seed: 3, first: 0, device });
  const sample = { noise, sigmas: Float32Array.of(0.4, 0.8), dtype: "f32" } as const;
  const bias = dit.params.get("final_layer.linear.bias");
  noGrad(() => scope(() => copyInto(add(bias, 1), bias)));
  const asked: string[] = [];
  const preserve = {
    ...{ frozen, captions: ["right"], conditions },
    latents: (caption: string, shape: readonly number[]) => {
      asked.push(`${caption} ${shape.join()}`);
      return asked.length === 1 ? video : undefined;
    },
  };
  const losses = scope(() => preservationLosses(dit, preserve, { ...sample, latents: batch.latents }, of));
  const expected = scope(() => {
    const latents = concat([video, slice(batch.latents, 0, 1, 2)], 0);
    const given = { ...sample, ...conditions(["right", "right"]), latents };
    return flowLoss(predictVelocity(dit, given), predictVelocity(frozen, given));
  });
  assert.equal(await losses.read(), await expected.read());
  assert.equal(asked, ["right 1,4,4,4", "right 1,4,4,4"]);
  for (const one of [losses, expected, video, noise, batch.latents, batch.text, batch.pooled]) one.dispose();
  for (const one of [dit, frozen]) one.params.dispose();
});

const of = { seed: 5, step: 0, first: 0 } as const;

test("what cannot be is refused", () => {
  const dit = freshDit(device);
  for (const [preserve, words] of [
    [{ frozen: dit, captions: [] }, /preserve\.captions is empty/],
    [{ frozen: dit, captions: [""], share: 2 }, /preserve\.share/],
    [{ frozen: dit, captions: [""], weight: -1 }, /preserve\.weight/],
  ] as const) {
    const error = refusal(() => taskOf(dit, preserve));
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, words);
  }
  dit.params.dispose();
});

test.run();
