/** The sampler with models whose velocity is known: guidance, image conditions, abort, values that are not finite. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Conditioning } from "../../lib/diffusion/conditioning.js";
import { imageStart, type SamplerOptions, sample, sampleStep } from "../../lib/diffusion/sampler.js";
import { flowSchedule } from "../../lib/diffusion/schedule.js";
import type { VelocityModel } from "../../lib/diffusion/velocity.js";
import {
  add,
  full,
  mean,
  mul,
  openDevice,
  randn,
  reshape,
  scope,
  slice,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { refusal, rejection } from "../support/refusal.js";

const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());

const shape = [2, 3, 4, 6, 5] as const;
const noise = randn(shape, { seed: 1, device });

/** A prompt whose text is `value` everywhere. */
const promptOf = (value: number, length = 4): Conditioning => ({
  text: full([2, length, 3], value, { device }),
  textLengths: [length, length],
  pooled: full([2, 2], value, { device }),
});
const [warm, cold] = [promptOf(2), promptOf(-1, 7)];

/** Latents times the mean of each sample's prompt, plus a hundredth of the guidance where there is one. */
const simple: VelocityModel = ({ latents, pooled, guidance }) => {
  const each = (x: Tensor<"f32">) => reshape(x, [latents.shape[0] as number, 1, 1, 1, 1]);
  const told = mul(latents, each(mean(pooled as Tensor<"f32">, { axes: [1] })));
  return guidance === undefined ? told : add(told, mul(each(guidance), 0.01));
};

/** The same elements, out of every scope. */
function keep(x: Tensor<"f32">): Tensor<"f32"> {
  const kept = x.alias();
  kept.moveTo(undefined);
  return kept;
}

const base: SamplerOptions = { model: simple, schedule: flowSchedule(3, 7), prompt: warm };

async function close(got: Tensor, want: (i: number) => number, what: string, within = 1e-6): Promise<void> {
  const values = (await got.read()) as Float32Array;
  values.forEach((value, i) => {
    const expected = want(i);
    if (Math.abs(value - expected) > within * Math.max(1, Math.abs(expected))) {
      assert.unreachable(`${what}: ${value} at ${i}, expected ${expected}`);
    }
  });
}

async function velocity(options: Partial<SamplerOptions>): Promise<Float32Array> {
  const { latents, velocity: v } = sampleStep(noise, 0, { ...base, ...options });
  latents.dispose();
  try {
    return await v.read();
  } finally {
    v.dispose();
  }
}

test("embedded guidance goes in times 1000", async () => {
  const x = await noise.read();
  const v = await velocity({ guidance: 6 });
  v.forEach((value, i) => assert.ok(Math.abs(value - (2 * (x[i] as number) + 60)) < 1e-4));
});

test("true guidance is u + s (c − u), batched or one after the other", async () => {
  const x = await noise.read();
  for (const batchedCfg of [false, true]) {
    const v = await velocity({ negative: cold, trueCfgScale: 3, batchedCfg });
    v.forEach((value, i) => assert.ok(Math.abs(value - (-1 + 3 * 3) * (x[i] as number)) < 1e-4));
  }
});

test("a scale of 1 asks the model once", async () => {
  let calls = 0;
  const counting: VelocityModel = (input) => {
    calls++;
    return simple(input);
  };
  await velocity({ model: counting, negative: cold, trueCfgScale: 1 });
  assert.is(calls, 1);
  await velocity({ model: counting, negative: cold, trueCfgScale: 2 });
  assert.is(calls, 3);
  await velocity({ model: counting, negative: cold, trueCfgScale: 2, batchedCfg: true });
  assert.is(calls, 4);
});

test("rescaling brings the spread of the prompted velocity back", async () => {
  const x = await noise.read();
  // Guided 8 x, prompted 2 x: the ratio of their spreads is a quarter.
  const v = await velocity({ negative: cold, trueCfgScale: 3, guidanceRescale: 0.5 });
  v.forEach((value, i) => assert.ok(Math.abs(value - 8 * (0.5 * 0.25 + 0.5) * (x[i] as number)) < 1e-4));
});

test("token replacement: the image stays in front, the others move from where they were", async () => {
  const image = full([2, 1, 4, 6, 5], 0.5, { device });
  const seen: Tensor[] = [];
  const model: VelocityModel = (input) => {
    seen.push(keep(input.latents));
    return simple(input);
  };
  const options: SamplerOptions = { ...base, model, image: { latents: image, mode: "token_replace" } };
  const { latents, velocity: v } = sampleStep(noise, 0, options);
  const first = scope(() => slice(latents, 1, 0, 1));
  await close(first, () => 0.5, "image");
  const fed = seen[0] as Tensor;
  const front = scope(() => slice(fed, 1, 0, 1));
  await close(front, () => 0.5, "what the model saw");
  const x = await noise.read();
  const moved = await latents.read();
  const dt = (base.schedule.sigmas[1] as number) - 1;
  const frame = 4 * 6 * 5;
  for (let i = 0; i < moved.length; i++) {
    if (Math.floor(i / frame) % 3 === 0) continue;
    const want = (x[i] as number) * (1 + 2 * dt);
    assert.ok(Math.abs((moved[i] as number) - want) < 1e-6);
  }
  for (const t of [first, front, fed, latents, v, image]) t.dispose();
});

test("latent concatenation: noise, image and mask side by side", async () => {
  const image = full([2, 1, 4, 6, 5], 0.5, { device });
  let fed: Tensor<"f32"> | undefined;
  const model: VelocityModel = (input) => {
    fed = keep(input.latents);
    return simple({ ...input, latents: scope(() => slice(input.latents, -1, 0, 5)) });
  };
  const { latents, velocity: v } = sampleStep(noise, 0, {
    ...base,
    model,
    image: { latents: image, mode: "latent_concat" },
  });
  assert.equal(fed?.shape, [2, 3, 4, 6, 11]);
  const values = (await fed?.read()) ?? new Float32Array();
  const x = await noise.read();
  for (let i = 0; i < values.length; i++) {
    const [place, channel] = [Math.floor(i / 11), i % 11];
    const first = Math.floor(place / 24) % 3 === 0;
    const want = channel < 5 ? x[place * 5 + channel] : channel === 10 ? (first ? 1 : 0) : first ? 0.5 : 0;
    assert.is(values[i], want);
  }
  for (const t of [fed, latents, v, image]) t?.dispose();
});

test("image-to-video starts from noise with a thousandth of the image", async () => {
  const image = full([2, 1, 4, 6, 5], 10, { device });
  const start = imageStart(noise, image);
  const x = await noise.read();
  await close(start, (i) => 0.999 * (x[i] as number) + 0.01, "start");
  start.dispose();
  image.dispose();
});

test("all steps: each reported once, the last at 0", async () => {
  const sigmas: number[] = [];
  const done = await sample(noise, base, { onStep: ({ sigma }) => void sigmas.push(sigma) });
  assert.equal(sigmas, base.schedule.sigmas.slice(1));
  const x = await noise.read();
  const factor = base.schedule.sigmas
    .slice(1)
    .reduce((f, s, i) => f * (1 + 2 * (s - (base.schedule.sigmas[i] as number))), 1);
  await close(done, (i) => factor * (x[i] as number), "latents", 1e-5);
  done.dispose();
});

test("what a model makes of it that is not finite is told by the part's name", async () => {
  const broken: VelocityModel = (input) => {
    const v = simple(input);
    scope(() => {
      input.onBlock?.("double_blocks.0", [v]);
      input.onBlock?.("double_blocks.1", [v, mul(v, Number.NaN)]);
    });
    return mul(v, Number.POSITIVE_INFINITY);
  };
  const before = device.memory().tensors;
  const error = await rejection(sample(noise, { ...base, model: broken }));
  assert.is(error.code, "NOT_FINITE");
  assert.equal(error.details, { block: "double_blocks.1" });
  assert.match(error.message, /step 1 of 3, first in double_blocks\.1/);
  assert.is(device.memory().tensors, before);
});

test("an abort ends at the next wait and leaves nothing", async () => {
  const before = device.memory().tensors;
  const controller = new AbortController();
  const steps: number[] = [];
  const error = await rejection(
    sample(noise, base, {
      signal: controller.signal,
      onStep: ({ index }) => {
        steps.push(index);
        if (index === 1) controller.abort();
      },
    }),
  );
  assert.is(error.code, "ABORTED");
  assert.equal(steps, [0, 1]);
  await device.sync();
  assert.is(device.memory().tensors, before);
});

test("what the model throws comes out as it is, and leaves nothing", async () => {
  const before = device.memory().tensors;
  const model: VelocityModel = ({ latents }) => add(latents, tensor([1, 2, 3], { device }));
  assert.is(refusal(() => sampleStep(noise, 0, { ...base, model })).code, "SHAPE_MISMATCH");
  assert.is((await rejection(sample(noise, { ...base, model }))).code, "SHAPE_MISMATCH");
  assert.is(device.memory().tensors, before);
});

test.after(async () => {
  for (const t of [noise, warm.text, warm.pooled, cold.text, cold.pooled]) t.dispose();
  await device.dispose();
});

test("nothing is left behind", () => {
  assert.is(device.memory().tensors, 5);
  assert.is(device.memory().forgotten, 0);
});

test.run();
