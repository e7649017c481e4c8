/** Guidance distillation and fine-tuning of distilled models: targets, gradients, and that a student learns to guide. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { DitConfig } from "../../lib/models/dit/config.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { paramsFromTensors } from "../../lib/nn/load.js";
import { isHunyuanError, mean, openDevice, randn, scope, type Tensor, tensor } from "../../lib/tensor.js";
import {
  conditionalVelocity,
  drawGuidance,
  guidedVelocity,
  unconditionalVelocity,
} from "../../lib/train/distil/guidance.js";
import { jointDistillationLosses } from "../../lib/train/distil/joint.js";
import { distillationLosses, guidanceAwareLosses, guidanceError } from "../../lib/train/distil/losses.js";
import { studentOf } from "../../lib/train/distil/student.js";
import { Learner } from "../../lib/train/learner.js";
import { type FlowSample, predictVelocity, type TextCondition, velocityLosses } from "../../lib/train/objective.js";
import { ParameterSet, parametersOf, selectedOf } from "../../lib/train/parameters.js";
import { randomValues, tinyDit } from "../support/dit-files.js";

const device = openDevice("cpu");
const test = suite("train: distillation");
test.after(() => device.dispose());

const undistilled: DitConfig = { ...tinyDit, guidanceEmbed: false, numDoubleBlocks: 1, numSingleBlocks: 1 };

function ditOf(config: DitConfig, divisor = 6): HunyuanDit {
  const specs = ditSpec(config);
  const values = randomValues(specs);
  const tensors = new Map(
    specs.map(({ name, shape }) => [
      name,
      tensor(
        (values.get(name) ?? []).map((x) => x / divisor),
        { shape, device },
      ),
    ]),
  );
  try {
    return new HunyuanDit(config, paramsFromTensors(specs, tensors));
  } finally {
    for (const one of tensors.values()) one.dispose();
  }
}

interface Given {
  readonly sample: FlowSample;
  readonly empty: TextCondition;
}

/** Two samples and the empty prompt; made in the scope that is open. */
function given(guidance: readonly number[], seed = 1): Given {
  const numbers = (shape: number[], more: number) => randn(shape, { seed: seed * 10 + more, device });
  return {
    sample: {
      latents: numbers([2, 1, 4, 4, 16], 1),
      noise: numbers([2, 1, 4, 4, 16], 2),
      sigmas: Float32Array.of(0.3, 0.8),
      guidance,
      dtype: "f32",
      text: numbers([2, 5, 56], 3),
      textLengths: [5, 3],
      pooled: numbers([2, 48], 4),
    },
    empty: { text: numbers([1, 2, 56], 5), textLengths: [2], pooled: numbers([1, 48], 6) },
  };
}

/** What the model predicts for the empty prompt; made in the scope that is open. */
function emptyOf(dit: HunyuanDit, guidance: readonly number[]): Tensor<"f32"> {
  const { sample, empty } = given(guidance);
  return unconditionalVelocity(dit, sample, empty);
}

async function numbers(make: () => Tensor<"f32">): Promise<number[]> {
  const made = scope(make);
  const list = Array.from(await made.read());
  made.dispose();
  return list;
}

async function withoutLeaks(run: () => Promise<void>): Promise<void> {
  await device.sync();
  const { tensors, live } = device.memory();
  await run();
  await device.sync();
  assert.is(device.memory().tensors, tensors, "tensors left behind");
  assert.is(device.memory().live, live, "bytes left behind");
}

const close = (a: readonly number[], b: readonly number[], tolerance = 1e-5) => {
  assert.is(a.length, b.length);
  const largest = Math.max(...b.map(Math.abs));
  const off = Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? Number.NaN))));
  assert.ok(off <= tolerance * largest, `off by ${off} of ${largest}`);
};

test("guided velocity is u + s (c − u)", async () => {
  await withoutLeaks(async () => {
    const teacher = ditOf(undistilled);
    const c = await numbers(() => conditionalVelocity(teacher, given([1, 1]).sample));
    const u = await numbers(() => emptyOf(teacher, [1, 1]));
    assert.not.equal(c, u);
    const guided = await numbers(() => {
      const { sample, empty } = given([3, 1]);
      return guidedVelocity(teacher, sample, empty);
    });
    close(
      guided,
      u.map((value, i) => value + (i < u.length / 2 ? 3 : 1) * ((c[i] ?? Number.NaN) - value)),
    );
    teacher.params.dispose();
  });
});

test("scales: drawn evenly, the same in one batch or in several", () => {
  const all = drawGuidance([1, 8], { seed: 3, step: 5, first: 0, count: 400 });
  assert.ok(all.every((scale) => scale >= 1 && scale < 8));
  assert.ok(Math.abs(all.reduce((a, b) => a + b) / 400 - 4.5) < 0.3);
  assert.equal(drawGuidance([1, 8], { seed: 3, step: 5, first: 100, count: 10 }), all.slice(100, 110));
  assert.equal(drawGuidance(6, { seed: 3, step: 5, first: 0, count: 2 }), [6, 6]);
  assert.throws(() => drawGuidance([0.5, 2], { seed: 0, step: 0, first: 0, count: 1 }));
  assert.throws(() => drawGuidance([4, 2], { seed: 0, step: 0, first: 0, count: 1 }));
});

test("a student begins as its teacher without guidance, in memory of its own", async () => {
  await withoutLeaks(async () => {
    const teacher = ditOf(undistilled);
    const student = studentOf(teacher);
    const [first, other] = [
      await numbers(() => predictVelocity(student, given([1, 7]).sample)),
      await numbers(() => conditionalVelocity(teacher, given([1, 7]).sample)),
    ];
    assert.equal(first, other);
    teacher.params.dispose();
    assert.equal(await numbers(() => predictVelocity(student, given([1, 7]).sample)), first);
    assert.throws(
      () => studentOf(student),
      (error: unknown) => isHunyuanError(error, "INVALID_ARGUMENT"),
    );
    student.params.dispose();
  });
});

test("a student learns to guide at scales that it was not trained at", async () => {
  await withoutLeaks(async () => {
    const teacher = ditOf(undistilled);
    const student = studentOf(teacher);
    const learner = new Learner(parametersOf(student.params), { lr: 3e-3, clipNorm: 1 });
    const before = await errorAt(student, teacher, 3);
    assert.ok(Math.abs(before - 1) < 1e-3, `at the start all of the guidance is missing: ${before}`);
    for (let step = 0; step < 250; step++) {
      const loss = scope(() => {
        const { sample, empty } = given(drawGuidance([1, 8], { seed: 1, step, first: 0, count: 2 }));
        return mean(distillationLosses(student, teacher, sample, empty));
      });
      learner.accumulate(loss);
      loss.dispose();
      await learner.update();
    }
    const after = await errorAt(student, teacher, 3);
    assert.ok(after < 0.25, `${after} of the guidance is still missing`);
    assert.ok([...teacher.params.names()].every((name) => !teacher.params.get(name).requiresGrad));
    learner.dispose();
    student.params.dispose();
    teacher.params.dispose();
  });
});

/** Share of the guidance that is missing. */
async function errorAt(student: HunyuanDit, teacher: HunyuanDit, scale: number): Promise<number> {
  const { sample, empty } = scope(() => given([scale, scale]));
  for (const one of [sample.latents, sample.noise, sample.text, sample.pooled, empty.text, empty.pooled]) {
    one.moveTo(undefined);
  }
  const error = await guidanceError(student, teacher, sample, empty);
  for (const one of [sample.latents, sample.noise, sample.text, sample.pooled, empty.text, empty.pooled]) one.dispose();
  assert.ok(error.power > 0);
  return Math.sqrt(error.student / error.conditional);
}

test("fine-tuning of distilled models: both forms, by their formulas", async () => {
  await withoutLeaks(async () => {
    const config: DitConfig = { ...undistilled, guidanceEmbed: true };
    const dit = ditOf(config);
    const p = await numbers(() => predictVelocity(dit, given([6, 2]).sample));
    const u = await numbers(() => emptyOf(dit, [6, 2]));
    const x = await numbers(() => given([1, 1]).sample.latents);
    const noise = await numbers(() => given([1, 1]).sample.noise);
    const half = p.length / 2;
    const at = (list: readonly number[], i: number) => list[i] ?? Number.NaN;
    const expected = (form: "target" | "prediction") =>
      [6, 2].map((s, sample) => {
        let sum = 0;
        for (let i = sample * half; i < (sample + 1) * half; i++) {
          const v = at(noise, i) - at(x, i);
          const off =
            form === "target" ? at(p, i) - (at(u, i) + s * (v - at(u, i))) : (at(p, i) + (s - 1) * at(u, i)) / s - v;
          sum += off * off;
        }
        return sum / half;
      });
    for (const form of ["target", "prediction"] as const) {
      const losses = await numbers(() => {
        const { sample, empty } = given([6, 2]);
        return guidanceAwareLosses(dit, dit, sample, empty, { form });
      });
      close(losses, expected(form));
    }
    const plain = await numbers(() => velocityLosses(dit, given([1, 1]).sample));
    const atOne = await numbers(() => {
      const { sample, empty } = given([1, 1]);
      return guidanceAwareLosses(dit, dit, sample, empty);
    });
    close(atOne, plain);
    dit.params.dispose();
  });
});

test("gradients go to what is trained, not to the frozen model", async () => {
  await withoutLeaks(async () => {
    const config: DitConfig = { ...undistilled, guidanceEmbed: true };
    const [dit, frozen] = [ditOf(config), ditOf(config)];
    const all = parametersOf(dit.params);
    const learner = new Learner(all, { lr: 1e-3 });
    const loss = scope(() => {
      const { sample, empty } = given([4, 4]);
      return mean(guidanceAwareLosses(dit, frozen, sample, empty));
    });
    learner.accumulate(loss);
    loss.dispose();
    const without = all.list.filter(({ tensor: { grad } }) => grad === undefined).map(({ name }) => name);
    assert.equal(without, []);
    assert.ok((await learner.update()).gradNorm > 0);
    learner.dispose();
    for (const one of [dit, frozen]) one.params.dispose();
  });
});

test("a teacher that learns too: the loss by its formula, gradients for both, none for what it was", async () => {
  await withoutLeaks(async () => {
    const student = ditOf({ ...undistilled, guidanceEmbed: true });
    const [teacher, original] = [ditOf(undistilled, 5), ditOf(undistilled)];
    const scales = [4, 1];
    const predicted = await numbers(() => predictVelocity(student, given(scales).sample));
    const [c, u, c0, u0] = [
      await numbers(() => conditionalVelocity(teacher, given(scales).sample)),
      await numbers(() => emptyOf(teacher, scales)),
      await numbers(() => conditionalVelocity(original, given(scales).sample)),
      await numbers(() => emptyOf(original, scales)),
    ];
    const half = predicted.length / 2;
    const at = (list: readonly number[], i: number) => list[i] ?? Number.NaN;
    const expected = scales.map((s, sample) => {
      let sum = 0;
      for (let i = sample * half; i < (sample + 1) * half; i++) {
        const guided = at(u, i) + s * (at(c, i) - at(u, i));
        const moved = (at(c, i) - at(c0, i)) ** 2 + (at(u, i) - at(u0, i)) ** 2;
        sum += (at(predicted, i) - guided) ** 2 / (1 + (s - 1) ** 2) + (3 / 2) * moved;
      }
      return sum / half;
    });
    const lossesOf = () => {
      const { sample, empty } = given(scales);
      return jointDistillationLosses(student, { teacher, original, hold: 3 }, sample, empty);
    };
    close(await numbers(lossesOf), expected);
    const all = new ParameterSet([
      ...selectedOf(student.params, { prefix: "student." }),
      ...selectedOf(teacher.params, { prefix: "teacher." }),
    ]);
    const learner = new Learner(all, { lr: 1e-3 });
    const loss = scope(() => mean(lossesOf()));
    learner.accumulate(loss);
    loss.dispose();
    const without = all.list.filter(({ tensor: { grad } }) => grad === undefined).map(({ name }) => name);
    assert.equal(without, []);
    assert.ok([...original.params.names()].every((name) => !original.params.get(name).requiresGrad));
    const refused = (error: unknown) => isHunyuanError(error, "INVALID_ARGUMENT");
    scope(() => {
      const { sample, empty } = given(scales);
      assert.throws(() => jointDistillationLosses(student, { teacher, original, hold: 0 }, sample, empty), refused);
      assert.throws(() => jointDistillationLosses(teacher, { teacher, original }, sample, empty), refused);
    });
    learner.dispose();
    for (const one of [student, teacher, original]) one.params.dispose();
  });
});

test("what is missing is named", () => {
  const teacher = ditOf(undistilled);
  const refused = (error: unknown) => isHunyuanError(error, "INVALID_ARGUMENT");
  scope(() => {
    const { sample, empty } = given([2, 2]);
    assert.throws(() => distillationLosses(teacher, teacher, sample, empty), refused);
    assert.throws(() => guidedVelocity(teacher, { ...sample, guidance: undefined }, empty), refused);
    assert.throws(() => guidedVelocity(teacher, { ...sample, guidance: [2] }, empty), refused);
  });
  teacher.params.dispose();
});

test.run();
