/** The autoencoder's objective: against the reference's gradients, against its terms one by one, and in tiles. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { klDivergence, samplePosterior } from "../../lib/models/vae/posterior.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import {
  add,
  backward,
  type FloatDType,
  mean,
  mse,
  mul,
  openDevice,
  randn,
  requiresGrad,
  scope,
  type Tensor,
} from "../../lib/tensor.js";
import { takeGradient } from "../../lib/train/parameters.js";
import { PatchDiscriminator } from "../../lib/train/vae/discriminator.js";
import { initialVae } from "../../lib/train/vae/initial.js";
import { adversarialLoss, edgeWeightedL1, hingeLoss } from "../../lib/train/vae/losses.js";
import { VaeObjective, type VaeObjectiveOptions, type VaeStepChoices } from "../../lib/train/vae/objective.js";
import { compare } from "../conformance/compare.js";
import { refusal } from "../support/refusal.js";
import { clipOf, living, readFirst, vaeCase, vaeOf } from "../support/vae-case.js";
import { smallVae as config } from "../support/vae-run.js";

const device = openDevice("cpu");
const test = suite("autoencoder objective");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const judgeConfig = { inChannels: 3, channels: 4, layers: 1, normGroups: 2 } as const;

test("the loss and the gradient of every parameter are the reference's", async () => {
  const from = vaeCase("vae_grad_small");
  const before = living(device);
  using vae = vaeOf(from, device, "f32");
  const names = vaeSpec(vae.config).map(({ name }) => name);
  for (const name of names) requiresGrad(vae.params.get<FloatDType>(name));
  const clip = clipOf(from, "video", device, "f32");
  const noise = clipOf(from, "eps", device, "f32");
  const objective = new VaeObjective(vae);
  assert.equal(objective.terms, ["l1", "kl"]);
  const losses = objective.losses(clip, { draw: { noise } });
  backward(losses.autoencoder);
  assert.is(losses.discriminator, undefined);
  const order = ["loss", "l1", "kl"].map((name) => losses.parts[name] as Tensor<"f32">);
  const check = (name: string, value: Parameters<typeof compare>[2]) => {
    const { maxRelErr, tolerance, pass } = compare(from, name, value, { dtype: "f32" });
    assert.ok(pass, `${name}: ${maxRelErr}, allowed ${tolerance}`);
  };
  check("out.loss", { shape: [3], data: await Promise.all(order.map((one) => one.item())) });
  let compared = 0;
  for (const name of names) {
    const gradient = takeGradient(vae.params.get(name)) as Tensor<FloatDType>;
    if (!from.stored.has(`out.grad.${name}`)) gradient.dispose();
    else {
      check(`out.grad.${name}`, await readFirst(gradient));
      compared++;
    }
  }
  assert.ok(compared > 5);
  for (const one of [...Object.values(losses.parts), losses.autoencoder, clip, noise, objective, vae]) one.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

/** Gradients of all parameters after a step of the objective, or of a loss written out; and the step's parts. */
async function compared(options: VaeObjectiveOptions, choices: Partial<VaeStepChoices>, judged: boolean, frames = 3) {
  const before = living(device);
  const vae = initialVae(config, { device, seed: 2, dtype: "f64", start: "blur" });
  const judge = judged ? PatchDiscriminator.create(judgeConfig, { seed: 1, device, dtype: "f64" }) : undefined;
  const leaves = [vae.params, ...(judge === undefined ? [] : [judge.params])].flatMap((params) =>
    [...params.names()].map((name) => requiresGrad(params.get<"f64">(name))),
  );
  const clip = randn([2, frames, 8, 8, 3], { seed: 5, device, dtype: "f64" });
  const noise = randn([2, (frames + 1) / 2, 4, 4, 4], { seed: 6, device, dtype: "f64" });
  const gradients = async () => {
    const found: Float64Array[] = [];
    for (const leaf of leaves) {
      const gradient = takeGradient(leaf) as Tensor<"f64"> | undefined;
      found.push(gradient === undefined ? new Float64Array(leaf.size) : await gradient.read());
      gradient?.dispose();
    }
    return found;
  };
  const objective = new VaeObjective(vae, { ...options, discriminator: judge });
  const losses = objective.losses(clip, { draw: { noise }, ...choices });
  backward(losses.autoencoder);
  if (losses.discriminator !== undefined) backward(losses.discriminator);
  const got = await gradients();
  const parts: { [name: string]: number } = {};
  for (const [name, part] of Object.entries(losses.parts)) parts[name] = await part.item();
  scope(() => {
    const { tiling = "off", adversarial = true } = choices;
    const posterior = vae.encode(clip, { tiling });
    const again = vae.decode(samplePosterior(posterior, { noise }), { tiling });
    const { weights } = objective;
    const terms = [
      mul(edgeWeightedL1(again, clip, weights.edge), weights.l1),
      mul(mse(again, clip), weights.mse),
      mul(mean(klDivergence(posterior) as Tensor<"f64">), weights.kl),
    ];
    const frozen = judge?.frozen();
    if (frozen !== undefined && adversarial) terms.push(mul(adversarialLoss(frozen.judge(again)), weights.adversarial));
    backward(terms.reduce((sum, term) => add(sum, term)));
    if (judge !== undefined && adversarial) {
      const fake = again.alias();
      backward(hingeLoss(judge.judge(clip), judge.judge(fake)));
    }
    frozen?.dispose();
  });
  const expected = await gradients();
  const mine = [...Object.values(losses.parts), losses.autoencoder, objective, vae, clip, noise];
  for (const one of mine) one.dispose();
  losses.discriminator?.dispose();
  judge?.dispose();
  await device.sync();
  assert.equal(living(device), before);
  return { got, expected, parts };
}

function expectSame(got: readonly Float64Array[], expected: readonly Float64Array[], tolerance = 1e-9) {
  const largest = expected.flatMap((one) => [...one]).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  assert.ok(largest > 0);
  got.forEach((one, i) =>
    one.forEach((v, j) => {
      assert.ok(Math.abs(v - (expected[i]?.[j] as number)) <= tolerance * largest, `${i}, ${j}: ${v}`);
    }),
  );
}

const weights = { edge: 4, mse: 2, kl: 1e-3, adversarial: 0.3 } as const;

test("gradients are those of the weighted sum of the terms", async () => {
  const { got, expected, parts } = await compared({ weights }, {}, false);
  expectSame(got, expected);
  const { loss, l1, mse: squared, kl, ...others } = parts as Record<string, number>;
  assert.ok(Math.abs((l1 as number) + 2 * (squared as number) + 1e-3 * (kl as number) - (loss as number)) < 1e-9);
  assert.equal(others, {});
});

test("with a discriminator, each has its own gradients", async () => {
  const { got, expected, parts } = await compared({ weights }, {}, true);
  expectSame(got, expected);
  assert.equal(Object.keys(parts).sort(), ["adversarial", "discriminator", "kl", "l1", "loss", "mse"]);
});

test("a step without the discriminator leaves it alone", async () => {
  const { got, expected, parts } = await compared({ weights }, { adversarial: false }, true);
  expectSame(got, expected);
  assert.not("discriminator" in parts);
});

test("the adaptive weight makes the adversarial gradient a share of the others'", async () => {
  const fixed = await compared({ weights }, {}, true);
  const adaptive = await compared({ weights, adaptive: true }, {}, true);
  const without = await compared({ weights }, { adversarial: false }, true);
  // Gradients are linear in the weight: what is added is in one direction, and only its length differs.
  const added = (all: readonly Float64Array[]) =>
    all
      .slice(0, vaeSpec(config).length)
      .flatMap((one, i) => [...one].map((v, j) => v - (without.got[i]?.[j] as number)));
  const [a, b] = [added(adaptive.got), added(fixed.got)];
  const at = b.reduce((most, v, i) => (Math.abs(v) > Math.abs(b[most] as number) ? i : most), 0);
  const factor = (a[at] as number) / (b[at] as number);
  assert.ok(factor > 0 && Math.abs(factor - 1) > 1e-3, `${factor}`);
  a.forEach((v, i) => assert.ok(Math.abs(v - factor * (b[i] as number)) < 1e-6 * Math.abs(a[at] as number)));
  // The part "loss" counts the term with that weight.
  const { loss = 0, adversarial = 0 } = adaptive.parts;
  const plain = without.parts.loss as number;
  assert.ok(Math.abs(plain + 0.3 * factor * adversarial - loss) < 1e-6 * Math.abs(loss));
});

test("tiles with their blending are differentiable", async () => {
  const tiling = {
    frames: { tile: 4, stride: 2 },
    height: { tile: 4, stride: 2 },
    width: { tile: 6, stride: 4 },
  } as const;
  const tiled = await compared({ weights }, { tiling }, false, 7);
  expectSame(tiled.got, tiled.expected);
  const whole = await compared({ weights }, {}, false, 7);
  assert.is.not(tiled.parts.loss, whole.parts.loss);
});

test("weights that compare nothing are refused", () => {
  using vae = initialVae(config, { device, seed: 2 });
  for (const [given, what] of [
    [{ l1: 0 }, /nothing compares/],
    [{ l1: -1 }, /l1 is -1/],
    [{ kl: Number.NaN }, /kl is NaN/],
  ] as const) {
    const { code, message } = refusal(() => new VaeObjective(vae, { weights: given }));
    assert.is(code, "INVALID_ARGUMENT");
    assert.match(message, what);
  }
});
test.run();
