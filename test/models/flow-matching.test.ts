/** The training objective against the reference (test/fixtures/flow_train.*), and noising. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { flowLoss, logitNormalSigma, noised, noisedEach, velocityTarget } from "../../lib/models/dit/flow-matching.js";
import { openDevice, scope, select, type Tensor, tensor } from "../../lib/tensor.js";
import { distance, loadCase, storedTensor, values } from "../support/conformance.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const { tolerance, stored } = loadCase("flow_train");
const input = (name: string): Tensor<"f32"> => {
  const { data, shape } = storedTensor(stored, name);
  return tensor(Float32Array.from(data), { shape, device });
};
const sigmas = Float32Array.from(values(stored, "in.u"), (u) => logitNormalSigma(u, 7));

async function check(made: Tensor, name: string): Promise<void> {
  const far = distance((await made.read()) as Float32Array, values(stored, name));
  made.dispose();
  assert.ok(far <= tolerance, `${name}: ${far}, allowed ${tolerance}`);
}

test("timesteps", () => {
  const timesteps = sigmas.map((sigma) => Math.fround(sigma * 1000));
  const far = distance(timesteps, values(stored, "out.timestep"));
  assert.ok(far <= tolerance, `${far}`);
});

test("noisy latents", async () => {
  await check(
    scope(() => noisedEach(input("in.x1"), input("in.x0"), tensor(sigmas, { device }))),
    "out.xt",
  );
});

test("loss of each sample", async () => {
  await check(
    scope(() => flowLoss(input("in.model_output"), velocityTarget(input("in.x1"), input("in.x0")))),
    "out.loss",
  );
});

test("one noise level for all is the same for each", async () => {
  const sigma = sigmas[2] as number;
  const made = scope(() => select(noised(input("in.x1"), input("in.x0"), sigma), 0, 2));
  const want = values(stored, "out.xt");
  const far = distance(await made.read(), want.slice((2 * want.length) / 4, (3 * want.length) / 4));
  made.dispose();
  assert.ok(far <= tolerance, `${far}`);
});

test("nothing is left behind", async () => {
  await device.sync();
  assert.is(device.memory().tensors, 0);
  assert.is(device.memory().live, 0);
});

test.run();
