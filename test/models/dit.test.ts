/**
 * The transformer against results of the public reference implementation (test/fixtures/dit_*, i2v_*: random weights,
 * computed in PyTorch), within each case's own tolerance.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  cast,
  concat,
  type FloatDType,
  mul,
  openDevice,
  scope,
  slice,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { ConformanceCase } from "../conformance/case-file.js";
import { compare, type HostTensor, type Rule } from "../conformance/compare.js";
import {
  channelsFirst,
  channelsLast,
  disposeInputs,
  ditOf,
  hostOf,
  inputsOf,
  living,
  overTokens,
  readingProbe,
  upload,
} from "../support/dit-case.js";

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures");
const device = openDevice("cpu");
const test = suite("transformer");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

async function atRest(before: ReturnType<typeof living>): Promise<void> {
  await device.sync();
  assert.equal(living(device), before);
}

function expectClose(from: ConformanceCase, name: string, got: HostTensor, dtype: "f32" | "bf16", rule: Rule = {}) {
  const { maxRelErr, tolerance, pass } = compare(from, name, got, { dtype, rule });
  assert.ok(pass, `${from.name} ${dtype} ${name}: ${maxRelErr}, allowed ${tolerance}`);
}

for (const name of ["dit_t2v_small", "dit_hd128", "i2v_small", "i2v_concat_small"]) {
  for (const dtype of ["f32", "bf16"] as const) {
    test(`${name} in ${dtype}, with intermediates`, async () => {
      const from = new ConformanceCase(fixtures, name);
      const before = living(device);
      const dit = ditOf(from, device, dtype);
      const input = inputsOf(from, device, dtype);
      const { probe, values } = readingProbe();
      const copies = device.insertedCopies;
      const out = scope(() => channelsFirst(dit.forward(input, { probe })));
      assert.is(device.insertedCopies, copies, "copies that nobody asked for");
      for (const expected of from.expected.filter((one) => one.startsWith("mid."))) {
        const value = await values.get(expected.slice("mid.".length));
        assert.ok(value, `nothing was shown as ${expected}`);
        const { padded, keepsRow } = overTokens(value, expected, from);
        expectClose(from, expected, padded, dtype, { keepsRow });
      }
      await Promise.all(values.values());
      expectClose(from, "out.x", await hostOf(out), dtype);
      out.dispose();
      disposeInputs(input);
      dit.params.dispose();
      await atRest(before);
    });
  }
}

/** One Euler step in f32. */
function euler(x: Tensor<"f32">, velocity: Tensor<FloatDType>, by: number): Tensor<"f32"> {
  return add(x, mul(cast(velocity, "f32"), by));
}

interface Step {
  readonly timestep: number;
  readonly sigma: number;
  readonly sigma_next: number;
}

for (const dtype of ["f32", "bf16"] as const) {
  test(`i2v_small in ${dtype}: a sampling step`, async () => {
    const from = new ConformanceCase(fixtures, "i2v_small");
    const before = living(device);
    const dit = ditOf(from, device, dtype);
    const input = inputsOf(from, device, dtype);
    const { timestep, sigma, sigma_next: next } = from.about.step as Step;
    const [velocity, latents] = scope(() => {
      const image = channelsLast(upload(from.input("image_latents"), device, "f32"));
      const noisy = channelsLast(upload(from.input("latents"), device, "f32"));
      const moving = slice(noisy, 1, 1);
      const out = dit.forward({
        ...input,
        latents: cast(concat([image, moving], 1), dtype),
        timestep: tensor([timestep], { dtype: "f32", device }),
      });
      const stepped = euler(moving, slice(out, 1, 1), next - sigma);
      return [channelsFirst(out), channelsFirst(concat([image, stepped], 1))] as const;
    });
    expectClose(from, "out.step_velocity", await hostOf(velocity), dtype);
    expectClose(from, "out.step_latents", await hostOf(latents), dtype);
    for (const one of [velocity, latents]) one.dispose();
    disposeInputs(input);
    dit.params.dispose();
    await atRest(before);
  });

  test(`e2e_small in ${dtype}: the latents of its steps`, async () => {
    const from = new ConformanceCase(fixtures, "e2e_small");
    const weights = new ConformanceCase(fixtures, "dit_t2v_small");
    const before = living(device);
    const dit = ditOf(weights, device, dtype);
    const input = inputsOf(from, device, dtype);
    const sigmas = [...(from.stored.get("mid.sigmas")?.data ?? [])];
    const timesteps = [...(from.stored.get("mid.timesteps")?.data ?? [])];
    let latents = scope(() => channelsLast(upload(from.input("latents"), device, "f32")));
    for (const [i, at] of timesteps.entries()) {
      const last = latents;
      latents = scope(() => {
        const timestep = tensor([at], { dtype: "f32", device });
        const velocity = dit.forward({ ...input, latents: cast(last, dtype), timestep });
        return euler(last, velocity, (sigmas[i + 1] as number) - (sigmas[i] as number));
      });
      last.dispose();
      if (!from.stored.has(`out.latents.${i}`)) continue;
      const stored = scope(() => channelsFirst(latents));
      expectClose(from, `out.latents.${i}`, await hostOf(stored), dtype);
      stored.dispose();
    }
    latents.dispose();
    disposeInputs(input);
    dit.params.dispose();
    await atRest(before);
  });
}

test.run();
