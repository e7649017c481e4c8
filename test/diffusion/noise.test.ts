/** Noise: a video's numbers hang on its seed alone, in the reference's order. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialNoise, seedsOf } from "../../lib/diffusion/noise.js";
import { openDevice, randn } from "../../lib/tensor.js";
import { refusal } from "../support/refusal.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const [frames, height, width, channels] = [3, 4, 6, 16];
const shape = [frames, height, width, channels] as const;

async function noise(seeds: readonly number[], rng?: "philox" | "torch"): Promise<Float32Array> {
  using made = initialNoise({ device, seeds, shape, rng });
  assert.equal(made.shape, [seeds.length, ...shape]);
  return await made.read();
}

for (const rng of ["philox", "torch"] as const) {
  test(`${rng}: drawn as [C, T, H, W], held channels last`, async () => {
    const made = await noise([5], rng);
    using flat = randn([1, channels, frames, height, width], { seed: 5, rng, device });
    const drawn = await flat.read();
    for (const [t, h, w, c] of [
      [0, 0, 0, 0],
      [1, 2, 3, 4],
      [2, 3, 5, 15],
    ] as const) {
      const want = drawn[((c * frames + t) * height + h) * width + w];
      assert.is(made[((t * height + h) * width + w) * channels + c], want);
    }
  });

  test(`${rng}: each video as if made alone`, async () => {
    const both = await noise(seedsOf(7, 2), rng);
    const half = both.length / 2;
    assert.equal(both.slice(0, half), await noise([7], rng));
    assert.equal(both.slice(half), await noise([8], rng));
  });
}

test("seeds must be whole numbers", () => {
  assert.is(refusal(() => initialNoise({ device, seeds: [1.5], shape })).code, "INVALID_ARGUMENT");
});

test("nothing is left behind", async () => {
  await device.sync();
  assert.is(device.memory().live, 0);
  assert.is(device.memory().forgotten, 0);
});

test.run();
