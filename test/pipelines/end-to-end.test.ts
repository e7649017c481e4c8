/** The sampler's loop and the decoder to bytes, as a request drives them, against the reference (test/fixtures/e2e_small.*). */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { sample } from "../../lib/diffusion/sampler.js";
import { flowSchedule } from "../../lib/diffusion/schedule.js";
import { ditVelocity } from "../../lib/diffusion/velocity.js";
import { decodeToBytes } from "../../lib/pipelines/decode.js";
import { contiguous, permute, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { ConformanceCase } from "../conformance/case-file.js";
import { caseDit, textInputs } from "../conformance/families/dit-inputs.js";
import { caseVae } from "../conformance/families/vae-model.js";
import { distance, loadCase, storedTensor } from "../support/conformance.js";
import { onEachDevice } from "../support/each-device.js";

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures");
const from = new ConformanceCase(fixtures, "e2e_small");
const { tolerance, stored } = loadCase("e2e_small");

const endToEnd = await onEachDevice("end to end");

endToEnd.test("from noise to bytes", async (device) => {
  const options = { device, dtype: "f32" } as Parameters<typeof caseDit>[1];
  using model = caseDit(from, options);
  using vae = caseVae(from, options).vae;
  const { data, shape } = storedTensor(stored, "in.latents");
  using noise = scope(() => {
    const given = tensor(Float32Array.from(data), { shape, device });
    return contiguous(permute(given, [0, 2, 3, 4, 1]));
  });
  const prompt = textInputs(from, options);
  const rope = model.dit.ropeTables(noise.shape, device);
  const close = async (latents: Tensor, name: string) => {
    using first = scope(() => contiguous(permute(latents, [0, 4, 1, 2, 3])));
    const far = distance((await first.read()) as Float32Array, storedTensor(stored, name).data);
    assert.ok(far <= tolerance, `${name}: ${far}`);
  };
  using latents = await sample(
    noise,
    { model: ditVelocity(model.dit, "f32", rope), schedule: flowSchedule(4, 7), prompt, guidance: 6 },
    {
      onStep: async ({ index, latents: now }) => {
        if (index === 2) await close(now, "out.latents.2");
      },
    },
  );
  await close(latents, "out.latents.3");
  const bytes = await decodeToBytes(vae, latents, {
    dtype: "f32",
    tiling: "auto",
    signal: undefined,
    onTile: () => {},
  });
  const video = storedTensor(stored, "out.video");
  const [, , frames = 0, height = 0, width = 0] = video.shape;
  const pixels = frames * height * width;
  for (let i = 0; i < pixels; i++) {
    for (let colour = 0; colour < 3; colour++) {
      const want = 255 * (video.data[colour * pixels + i] as number);
      const got = bytes[3 * i + colour] as number;
      // Half a byte of rounding, and the case's tolerance.
      assert.ok(Math.abs(got - want) <= 0.5 + 255 * tolerance, `pixel ${i}: ${got}, expected ${want}`);
    }
  }
  for (const one of [prompt.text, prompt.pooled, rope.cos, rope.sin]) one.dispose();
});

endToEnd.run();
