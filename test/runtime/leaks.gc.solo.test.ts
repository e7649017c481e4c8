/** Memory over a long run: exact counters, flat resident size, and the net under forgotten tensors. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  adamwStep,
  add,
  backward,
  type Device,
  linear,
  mse,
  openDevice,
  requiresGrad,
  scope,
  silu,
  type Tensor,
  tensor,
  zerosLike,
} from "../../lib/tensor.js";

const collect = globalThis.gc as () => void;

async function settle(device: Device): Promise<void> {
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await device.sync();
}

/** A two-layer perceptron that learns y = x₀ − x₁, one AdamW step a call. */
function perceptron(device: Device) {
  const values = (n: number, scale: number) =>
    Float32Array.from({ length: n }, (_, i) => scale * Math.sin(1.7 * i + 0.3));
  const leaf = (shape: number[], scale: number) =>
    requiresGrad(
      tensor(
        values(
          shape.reduce((a, b) => a * b, 1),
          scale,
        ),
        { dtype: "f32", device, shape },
      ),
    );
  const weights: Tensor<"f32">[] = [leaf([16, 2], 0.5), leaf([16], 0.1), leaf([1, 16], 0.5), leaf([1], 0.1)];
  const [m, v] = [weights.map((w) => zerosLike(w)), weights.map((w) => zerosLike(w))];
  const x = tensor(values(32, 1), { dtype: "f32", device, shape: [16, 2] });
  const target = tensor(
    Float32Array.from({ length: 16 }, (_, i) => Math.sin(3.4 * i + 0.3) - Math.sin(3.4 * i + 2)),
    {
      dtype: "f32",
      device,
      shape: [16, 1],
    },
  );
  let step = 0;
  return (): Tensor<"f32"> => {
    step++;
    const [w1, b1, w2, b2] = weights as [Tensor<"f32">, Tensor<"f32">, Tensor<"f32">, Tensor<"f32">];
    const loss = scope(() => {
      const y = mse(linear(silu(linear(x, w1, { bias: b1 })), w2, { bias: b2 }), target);
      backward(y);
      return add(y, 0);
    });
    adamwStep(
      weights,
      weights.map((w) => w.grad as Tensor),
      m,
      v,
      { lr: 1e-2, step },
    );
    for (const w of weights) {
      w.leaf?.grad?.dispose();
      if (w.leaf !== undefined) w.leaf.grad = undefined;
    }
    return loss;
  };
}

test("20,000 training steps keep memory where it was", async () => {
  const full = process.env.HUNYUAN_TEST_FULL === "1";
  const [warmup, steps] = full ? [2_000, 20_000] : [2_000, 5_000];
  await using device = openDevice("cpu");
  const train = perceptron(device);
  let start = { resident: 0, live: 0, tensors: 0 };
  let last = Number.NaN;
  for (let i = 0; i < steps; i++) {
    const loss = train();
    if (i % 100 === 0) last = await loss.item();
    loss.dispose();
    if (i === warmup) {
      await settle(device);
      const { live, tensors } = device.memory();
      start = { resident: process.memoryUsage.rss(), live, tensors };
    }
  }
  await settle(device);
  const grown = (process.memoryUsage.rss() - start.resident) / 2 ** 20;
  console.log(
    `${steps} steps: resident memory grew by ${grown.toFixed(1)} MiB after ${warmup}; last loss ${last.toExponential(2)}`,
  );
  const end = device.memory();
  assert.is(end.live, start.live);
  assert.is(end.tensors, start.tensors);
  assert.is(end.forgotten, 0);
  assert.ok(grown < 16, `resident memory grew by ${grown} MiB`);
  assert.ok(last < 1e-2, `the perceptron did not learn: ${last}`);
  // One more step: the collector must not take the weights for garbage before they are counted.
  train().dispose();
});

test("forgotten tensors come back through the garbage collector, and are counted", async () => {
  await using device = openDevice("cpu");
  const kept = tensor([1, 2, 3], { device });
  await settle(device);
  const before = device.memory();
  (() => {
    for (let i = 0; i < 100; i++) add(kept, i);
    const leaf = requiresGrad(tensor([1, 2], { dtype: "f32", device }));
    for (let i = 0; i < 10; i++) silu(silu(leaf as Tensor<"f32">));
  })();
  await device.sync();
  assert.ok(device.memory().tensors >= before.tensors + 100);
  await settle(device);
  const after = device.memory();
  assert.is(after.tensors, before.tensors);
  assert.is(after.live, before.live);
  assert.is(after.forgotten, 121);
  kept.dispose();
});

test.run();
