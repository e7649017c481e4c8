/**
 * The autoencoder against results of the public reference implementation (test/fixtures/vae_*: random weights, computed
 * in PyTorch), within each case's own tolerance.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { klDivergence, samplePosterior } from "../../lib/models/vae/posterior.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import {
  add,
  backward,
  cast,
  type FloatDType,
  l1,
  mul,
  openDevice,
  requiresGrad,
  scope,
  type Tensor,
} from "../../lib/tensor.js";
import { compare } from "../conformance/compare.js";
import { clipOf, expectClose, living, readFirst, vaeCase, vaeOf } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("autoencoder");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const small = vaeCase("vae_small");

for (const dtype of ["f32", "bf16"] as const) {
  for (const kind of ["video", "image"] as const) {
    const prefix = kind === "video" ? "out." : "out.image_";
    test(`encode a ${kind} in ${dtype}`, async () => {
      const before = living(device);
      using vae = vaeOf(small, device, dtype);
      using video = clipOf(small, kind, device, dtype);
      const copies = device.insertedCopies;
      const { mean, logvar } = vae.encode(video);
      await expectClose(small, `${prefix}mean`, mean, dtype);
      await expectClose(small, `${prefix}logvar`, logvar, dtype);
      assert.is(device.insertedCopies, copies);
      video.dispose();
      vae.dispose();
      await device.sync();
      assert.equal(living(device), before);
    });

    test(`decode a ${kind} in ${dtype}`, async () => {
      const before = living(device);
      using vae = vaeOf(small, device, dtype);
      using z = clipOf(small, kind === "video" ? "latent" : "image_latent", device, dtype);
      const kept = await z.read();
      const copies = device.insertedCopies;
      await expectClose(small, `${prefix}decoded`, vae.decode(z), dtype);
      assert.is(device.insertedCopies, copies);
      assert.equal(await z.read(), kept, "the latents are left as they were");
      z.dispose();
      vae.dispose();
      await device.sync();
      assert.equal(living(device), before);
    });
  }

  test(`intermediates in ${dtype}`, async () => {
    using vae = vaeOf(small, device, dtype);
    const seen = new Map<string, ReturnType<typeof readFirst>>();
    const probe = (place: string, value: Tensor) => {
      const own = value.alias() as Tensor<FloatDType>;
      own.moveTo(undefined);
      seen.set(`mid.${place}`, readFirst(own));
    };
    using video = clipOf(small, "video", device, dtype);
    using z = clipOf(small, "latent", device, dtype);
    const { mean, logvar } = vae.encode(video, { probe });
    const decoded = vae.decode(z, { probe });
    using again = vae.decode(z);
    // What is written over when nobody looks, and taps that are added up beforehand, change nothing but the rounding.
    const [a, b] = [await decoded.read(), await again.read()];
    const far = a.reduce((most: number, v, i) => Math.max(most, Math.abs(v - (b[i] as number))), 0);
    assert.ok(far < (dtype === "f32" ? 1e-4 : 0.2), `${far}`);
    for (const t of [mean, logvar, decoded]) t.dispose();
    const places = [...seen.keys()].sort();
    assert.equal(places.length, 21, places.join());
    for (const [name, value] of seen) {
      const got = await value;
      if (!small.stored.has(name)) continue;
      const { maxRelErr, tolerance, pass } = compare(small, name, got, { dtype });
      assert.ok(pass, `${name} ${maxRelErr} ${tolerance}`);
    }
  });
}

test("gradients of every parameter and of the clip", async () => {
  const from = vaeCase("vae_grad_small");
  const before = living(device);
  using vae = vaeOf(from, device, "f32");
  const names = vaeSpec(vae.config).map(({ name }) => name);
  for (const name of names) requiresGrad(vae.params.get<FloatDType>(name));
  using video = requiresGrad(clipOf(from, "video", device, "f32"));
  const losses = scope(() => {
    const posterior = vae.encode(video);
    const z = samplePosterior(posterior, { noise: clipOf(from, "eps", device, "f32") });
    const target = clipOf(from, "video", device, "f32");
    const distance = l1(vae.decode(z), target);
    const kl = cast(klDivergence(posterior), "f32");
    const loss = add(distance, mul(kl, 1e-6));
    backward(loss);
    return [loss, distance, kl];
  });
  const got = { shape: [3], data: await Promise.all(losses.map((one) => one.item())) };
  for (const one of losses) one.dispose();
  const check = (name: string, value: Parameters<typeof compare>[2]) => {
    const { maxRelErr, tolerance, pass } = compare(from, name, value, { dtype: "f32" });
    assert.ok(pass, `${name}: ${maxRelErr}, allowed ${tolerance}`);
  };
  check("out.loss", got);
  const held = (x: Tensor) => (x.grad as Tensor<FloatDType>).alias() as Tensor<FloatDType>;
  check("out.grad_in.video", await readFirst(held(video)));
  let compared = 0;
  for (const name of names) {
    const parameter = vae.params.get<FloatDType>(name);
    assert.ok(parameter.grad !== undefined, name);
    if (!from.stored.has(`out.grad.${name}`)) continue;
    const gradient = held(parameter);
    check(`out.grad.${name}`, await readFirst(gradient));
    compared++;
  }
  assert.is(compared, from.expected.length - 2);
  video.dispose();
  vae.dispose();
  await device.sync();
  assert.equal(living(device), before);
});
test.run();
