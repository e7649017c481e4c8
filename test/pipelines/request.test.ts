/** Checks of requests, their defaults, the order of requests to one model, and the stream of events. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { releasedDefaults } from "../../lib/models/defaults.js";
import { type GenerateEvent, Generation, type OnProgress, Pace } from "../../lib/pipelines/progress.js";
import { checked, firstSeed, latentSize, scheduleOf, settingsSchema } from "../../lib/pipelines/request.js";
import { RequestQueue } from "../../lib/pipelines/request-queue.js";
import { refusal, rejection } from "../support/refusal.js";

const settings = (value: unknown) => checked("generate", settingsSchema(releasedDefaults), value);

test("defaults are the released pipeline's", () => {
  const { width, height, numFrames, fps, numInferenceSteps, guidanceScale, flowShift } = settings({});
  assert.equal(
    { width, height, numFrames, fps, numInferenceSteps, guidanceScale, flowShift },
    { width: 1280, height: 720, numFrames: 129, fps: 24, numInferenceSteps: 50, guidanceScale: 6, flowShift: 7 },
  );
  assert.equal(latentSize({ width, height, numFrames }), { frames: 33, height: 90, width: 160 });
});

for (const [value, message] of [
  [{ width: 100 }, "generate: width is 100, expected a multiple of 16, at least 16"],
  [{ height: "720" }, 'generate: height is "720", expected a multiple of 16, at least 16'],
  [{ numFrames: 128 }, "generate: numFrames is 128, expected 4 n + 1: 1 for an image, 5, 9, …, 129"],
  [{ seed: -1 }, "generate: seed is -1, expected a whole number ≥ 0"],
  [{ numInferenceSteps: 0 }, "generate: numInferenceSteps is 0, expected a whole number ≥ 1"],
  [{ strength: 0 }, "generate: strength is 0, expected a number in 0 … 1, above 0"],
  [{ guidanceScale: Number.NaN }, "generate: guidanceScale is NaN, expected a number ≥ 0"],
  [{ rng: "mt" }, 'generate: rng is "mt", expected "philox" or "torch"'],
  [{ sigmas: [1, "x"] }, 'generate: sigmas.1 is "x", expected falling numbers in 0 … 1'],
  ["cat", 'generate: request is "cat", expected an object'],
] as const) {
  test(`refused: ${JSON.stringify(value)}`, () => {
    const error = refusal(() => settings(value));
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.is(error.message, message);
  });
}

test("a setting that there is not is named, with those that there are", () => {
  const error = refusal(() => settings({ steps: 4 }));
  assert.match(error.message, /no setting steps; known are width, height/);
  assert.equal(error.details, { op: "generate", argument: "steps" });
});

test("schedules", () => {
  assert.is(scheduleOf(settings({ numInferenceSteps: 4 })).timesteps.length, 4);
  assert.equal(scheduleOf(settings({ sigmas: [1, 0.5] })).sigmas, [1, 0.5, 0]);
  const { sigmas } = scheduleOf(settings({ numInferenceSteps: 20, schedule: "linear-quadratic" }));
  assert.ok(Math.abs((sigmas[10] as number) - 0.975) < 1e-12);
  assert.is(refusal(() => scheduleOf(settings({ sigmas: [0.5, 1] }))).code, "INVALID_ARGUMENT");
});

test("a seed is drawn where none is given", () => {
  assert.is(firstSeed({ seed: 7 }), 7);
  const drawn = firstSeed({});
  assert.ok(Number.isSafeInteger(drawn) && drawn >= 0 && drawn <= 1_000_000);
});

const soon = () => new Promise<void>((done) => setTimeout(done, 1));

test("requests run one at a time, in order, whatever became of those before", async () => {
  const queue = new RequestQueue();
  const log: string[] = [];
  const job = (name: string, fails = false) =>
    queue.run("generate", undefined, async () => {
      log.push(`${name} begins`);
      await soon();
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const all = await Promise.allSettled([job("a"), job("b", true), job("c")]);
  assert.equal(
    all.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal(log, ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  assert.is(queue.length, 0);
});

test("a request that waits leaves the queue when it is aborted, and nobody overtakes", async () => {
  const queue = new RequestQueue();
  const log: string[] = [];
  const controller = new AbortController();
  let release = () => {};
  const first = queue.run("generate", undefined, async () => {
    await new Promise<void>((done) => {
      release = done;
    });
    log.push("first");
  });
  const second = queue.run("generate", controller.signal, async () => void log.push("second"));
  const third = queue.run("generate", undefined, async () => void log.push("third"));
  assert.is(queue.length, 3);
  controller.abort();
  assert.is((await rejection(second)).code, "ABORTED");
  assert.equal(log, []);
  release();
  await Promise.all([first, third]);
  assert.equal(log, ["first", "third"]);
  assert.is((await rejection(queue.run("generate", controller.signal, soon))).code, "ABORTED");
});

const event = (step: number): GenerateEvent => ({ stage: "sample", step, steps: 3, video: 0, sigma: 1 - step / 3 });

test("a request on its way is a promise and a stream", async () => {
  const running = new Generation(async (emit: OnProgress) => {
    for (let step = 1; step <= 3; step++) {
      await soon();
      emit(event(step));
    }
    return "video";
  });
  const seen: number[] = [];
  for await (const { step } of running) seen.push(step);
  assert.equal(seen, [1, 2, 3]);
  assert.is(await running, "video");
  const again: number[] = [];
  for await (const { step } of running) again.push(step);
  assert.equal(again, [1, 2, 3]);
  assert.is(await running.then((video) => video.length), 5);
});

test("its stream throws what it fails with, after the events before", async () => {
  const running = new Generation<string>(async (emit) => {
    emit(event(1));
    await soon();
    throw new Error("broken");
  });
  const seen: number[] = [];
  try {
    for await (const { step } of running) seen.push(step);
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "broken");
  }
  assert.equal(seen, [1]);
  assert.is(await running.catch(() => "caught"), "caught");
});

test("time left is guessed from the steps done", async () => {
  const pace = new Pace();
  assert.is(pace.eta(0, 4), undefined);
  await soon();
  const left = pace.eta(1, 4) ?? 0;
  assert.ok(left > 0 && left < 60_000);
  assert.is(pace.eta(4, 4), 0);
});

test.run();
