/** Noise levels and Euler steps against the reference (test/fixtures/scheduler.*), and schedules that must be refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { eulerStep } from "../../lib/diffusion/sampler.js";
import { customSchedule, flowSchedule, lastSteps, linearQuadraticSchedule } from "../../lib/diffusion/schedule.js";
import { openDevice, type Tensor, tensor } from "../../lib/tensor.js";
import { distance, loadCase, values } from "../support/conformance.js";
import { refusal } from "../support/refusal.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const { tolerance, stored } = loadCase("scheduler");

for (const name of ["50_7", "30_5", "10_17", "5_17", "50_1"]) {
  test(`sigmas and timesteps of ${name}`, () => {
    const [steps = 0, shift = 0] = name.split("_").map(Number);
    const { sigmas, timesteps } = flowSchedule(steps, shift);
    // Not close but equal: a timestep one rounding off is another input to the model.
    assert.equal(sigmas, [...values(stored, `out.sigmas_${name}`)]);
    assert.equal(timesteps, [...values(stored, `out.timesteps_${name}`)]);
  });
}

test("the levels count up from data when turned round", () => {
  const turned = flowSchedule(50, 7).sigmas.map((sigma) => Math.fround(1 - sigma));
  assert.equal(turned, [...values(stored, "out.sigmas_50_7_forward")]);
});

for (const [name, steps, linearSteps] of [
  ["out.linear_quadratic_50_0.025_25", 50, 25],
  ["out.linear_quadratic_20_0.025_half", 20, undefined],
] as const) {
  test(name, () => {
    const options = linearSteps === undefined ? {} : { linearSteps };
    const { sigmas } = linearQuadraticSchedule(steps, { threshold: 0.025, ...options });
    assert.is(sigmas.length, steps + 1);
    assert.is(sigmas.at(-1), 0);
    const far = distance(sigmas.slice(0, -1), values(stored, name));
    assert.ok(far <= tolerance, `${far}`);
  });
}

test("Euler steps", async () => {
  const { data, shape } = stored.get("in.sample") ?? { data: [], shape: [] };
  const velocity = values(stored, "in.velocity");
  const want = values(stored, "out.samples");
  const size = data.length;
  const { sigmas } = flowSchedule(10, 17);
  let x: Tensor<"f32"> = tensor(Float32Array.from(data), { shape, device });
  for (let k = 0; k < 3; k++) {
    const v = tensor(Float32Array.from(velocity.slice(k * size, (k + 1) * size)), { shape, device });
    const next = eulerStep(x, v, sigmas[k] as number, sigmas[k + 1] as number);
    x.dispose();
    v.dispose();
    x = next;
    const far = distance(await x.read(), want.slice(k * size, (k + 1) * size));
    assert.ok(far <= tolerance, `step ${k}: ${far}`);
  }
  x.dispose();
  assert.is(device.memory().tensors, 0);
});

test("levels of one's own are taken as they are, with a 0 at the end", () => {
  assert.equal(customSchedule([1, 0.5]).sigmas, [1, 0.5, 0]);
  assert.equal(customSchedule([0.8, 0.25, 0]).sigmas, [0.8, 0.25, 0]);
  assert.equal(customSchedule([1, 0.5]).timesteps, [1000, 500]);
  for (const bad of [[], [0], [0.5, 1], [1, 1], [2, 1], [1, -1], [Number.NaN], "1"]) {
    assert.is(refusal(() => customSchedule(bad as number[])).code, "INVALID_ARGUMENT", JSON.stringify(bad));
  }
});

test("one step and odd numbers of steps", () => {
  assert.equal(flowSchedule(1, 7).sigmas, [1, 0]);
  assert.equal(linearQuadraticSchedule(1).sigmas, [1, 0]);
  const { sigmas } = linearQuadraticSchedule(7);
  sigmas.forEach((sigma, i) => assert.ok(i === 0 || sigma < (sigmas[i - 1] as number)));
});

test("strength leaves the last steps", () => {
  const whole = flowSchedule(10, 7);
  assert.equal(lastSteps(whole, 1), whole);
  const half = lastSteps(whole, 0.55);
  assert.equal(half.sigmas, whole.sigmas.slice(5));
  assert.equal(half.timesteps, whole.timesteps.slice(5));
  assert.match(refusal(() => lastSteps(whole, 0.05)).message, /strength is 0.05, expected at least 1\/10/);
});

test("numbers that make no schedule are refused", () => {
  for (const run of [
    () => flowSchedule(0, 7),
    () => flowSchedule(2.5, 7),
    () => flowSchedule(5, 0),
    () => linearQuadraticSchedule(10, { linearSteps: 10 }),
    () => linearQuadraticSchedule(10, { threshold: 2 }),
    () => lastSteps(flowSchedule(4, 7), 1.5),
  ]) {
    assert.is(refusal(run).code, "INVALID_ARGUMENT");
  }
});

test.run();
