/** The autoencoder's losses: values against plain JavaScript, gradients against finite differences, nothing left behind. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Params } from "../../lib/nn/params.js";
import { backward, openDevice, requiresGrad, scaleInPlace, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { discriminatorSpec, PatchDiscriminator } from "../../lib/train/vae/discriminator.js";
import { adversarialLoss, edgesOf, edgeWeightedL1, hingeLoss } from "../../lib/train/vae/losses.js";
import { expectGradient, wave } from "../support/finite-differences.js";
import { refusal } from "../support/refusal.js";
import { living } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("autoencoder losses");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const shape = [2, 2, 4, 5, 3] as const;
const size = shape.reduce((a, b) => a * b, 1);
const clip = (values: Float64Array) => tensor(values, { device, shape });

/** The largest step of a pixel to a neighbour in any colour, halved. */
function plainEdges(values: Float64Array): number[] {
  const [b, t, h, w, c] = shape;
  const at = (n: number, y: number, x: number, k: number) => values[((n * h + y) * w + x) * c + k] as number;
  return Array.from({ length: b * t * h * w }, (_, i) => {
    const [n, y, x] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    let most = 0;
    for (const [dy, dx] of [
      [0, 1],
      [0, -1],
      [1, 0],
      [-1, 0],
    ] as const) {
      if (y + dy < 0 || y + dy >= h || x + dx < 0 || x + dx >= w) continue;
      for (let k = 0; k < c; k++) most = Math.max(most, Math.abs(at(n, y, x, k) - at(n, y + dy, x + dx, k)) / 2);
    }
    return most;
  });
}

test("edges", async () => {
  const values = wave(size);
  const edges = scope(() => edgesOf(clip(values)));
  assert.equal(edges.shape, [2, 2, 4, 5, 1]);
  const got = await edges.read();
  plainEdges(values).forEach((expected, i) => assert.ok(Math.abs(expected - (got[i] as number)) < 1e-12));
  edges.dispose();
  const line = scope(() => edgesOf(tensor(new Float64Array([0, 0, 2, 2]), { device, shape: [1, 1, 1, 4, 1] })));
  assert.equal([...(await line.read())], [0, 1, 1, 0]);
  line.dispose();
});

test("L1 that counts edges more", async () => {
  const [a, b] = [wave(size, 2), wave(size, 3)];
  const edges = plainEdges(b);
  for (const edge of [0, 4]) {
    const y = scope(() => edgeWeightedL1(clip(a), clip(b), edge));
    const expected = a.reduce((sum, v, i) => {
      return sum + (1 + edge * (edges[Math.floor(i / 3)] as number)) * Math.abs(v - (b[i] as number));
    }, 0);
    assert.ok(Math.abs((await y.item()) - expected / size) < 1e-12);
    y.dispose();
  }
  await expectGradient(device, shape, a, (x) => edgeWeightedL1(x, clip(b), 4));
});

test("hinge and adversarial losses", async () => {
  const of = (values: number[]) => tensor(values, { dtype: "f64", device });
  // (0 + 0.5 + 3) / 3 and (1 + 0 + 2.5) / 3, halved.
  const hinge = scope(() => hingeLoss(of([2, 0.5, -2]), of([0, -3, 1.5])));
  assert.ok(Math.abs((await hinge.item()) - 3.5 / 3) < 1e-12);
  hinge.dispose();
  const against = scope(() => adversarialLoss(of([1, 2, -6])));
  assert.is(await against.item(), 1);
  against.dispose();
  const other = wave(20, 5);
  const shaped = () => tensor(other, { device, shape: [20] });
  await expectGradient(device, [20], wave(20, 4), (x) => hingeLoss(x, shaped()));
  await expectGradient(device, [20], wave(20, 6), (x) => hingeLoss(shaped(), x));
});

type Clip = () => Tensor<"f64">;
const small = { inChannels: 3, channels: 4, layers: 2, normGroups: 2 } as const;

test("the discriminator answers for patches of clips and of images", async () => {
  const before = living(device);
  using judge = PatchDiscriminator.create({ ...small, layers: 3 }, { seed: 3, device });
  for (const [frames, answers] of [
    [9, 3],
    [1, 1],
  ] as const) {
    const y = scope(() =>
      judge.judge(tensor(new Float32Array(2 * frames * 32 * 24 * 3), { device, shape: [2, frames, 32, 24, 3] })),
    );
    assert.equal(y.shape, [2, answers, 4, 3, 1]);
    assert.ok((await y.read()).every(Number.isFinite));
    y.dispose();
  }
  const wrong = tensor([1], { device });
  assert.is(refusal(() => judge.judge(wrong)).code, "SHAPE_MISMATCH");
  wrong.dispose();
  judge.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

/** The judge with one parameter in another's place. */
function withParameter(judge: PatchDiscriminator, replaced: string, by: Tensor): PatchDiscriminator {
  const { store } = judge.params;
  const find = (name: string) => (name === replaced ? by : store.find(name));
  return new PatchDiscriminator(judge.config, new Params({ find, names: () => store.names(), dispose: () => {} }));
}

test("the discriminator's gradients, for clips and for every parameter", async () => {
  using judge = PatchDiscriminator.create(small, { seed: 3, device, dtype: "f64" });
  const sized = [2, 3, 8, 8, 3] as const;
  const clips = [1, 2].map((seed) => wave(2 * 3 * 8 * 8 * 3, seed));
  const [real, fake] = clips.map((values) => () => tensor(values, { device, shape: sized })) as [Clip, Clip];
  const options = { places: 3, tolerance: 1e-5 };
  await expectGradient(device, sized, clips[0] as Float64Array, (x) => adversarialLoss(judge.judge(x)), options);
  for (const { name } of discriminatorSpec(small)) {
    const held = judge.params.get<"f64">(name);
    const loss = (x: Tensor<"f64">) => {
      const changed = withParameter(judge, name, x);
      // A bias of all answers adds to both sides of the hinge what it takes away, unless an answer is beyond it.
      if (name === "answer.bias") return adversarialLoss(changed.judge(fake()));
      return hingeLoss(changed.judge(real()), changed.judge(fake()));
    };
    await expectGradient(device, held.shape, await held.read(), loss, options);
  }
});

test("a frozen judge sees the steps of the other and gathers nothing", async () => {
  const before = living(device);
  const judge = PatchDiscriminator.create(small, { seed: 3, device });
  for (const name of judge.params.names()) requiresGrad(judge.params.get(name));
  const frozen = judge.frozen();
  const x = requiresGrad(tensor(Float32Array.from(wave(3 * 8 * 8 * 3)), { device, shape: [1, 3, 8, 8, 3] }));
  const answer = async () => {
    const y = scope(() => adversarialLoss(frozen.judge(x)));
    const value = await y.item();
    y.dispose();
    return value;
  };
  const first = await answer();
  scope(() => backward(adversarialLoss(frozen.judge(x))));
  assert.ok(x.grad !== undefined);
  for (const name of judge.params.names()) assert.is(judge.params.get(name).grad, undefined, name);
  scaleInPlace([judge.params.get("answer.weight")], 2);
  assert.ok(Math.abs((await answer()) - 2 * first) < 1e-6);
  frozen.dispose();
  judge.dispose();
  x.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("configurations that make no network", () => {
  for (const [what, config] of [
    ["normGroups", { ...small, normGroups: 3 }],
    ["layers", { ...small, layers: 0 }],
  ] as const) {
    const { code, message } = refusal(() => discriminatorSpec(config));
    assert.is(code, "INVALID_ARGUMENT");
    assert.match(message, what);
  }
});
test.run();
