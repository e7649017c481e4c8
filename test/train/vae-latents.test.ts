/** Where an autoencoder's training starts and how it ends: the blur codec, PSNR, and latents of mean 0 and variance 1. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { vaePresets } from "../../lib/models/vae/config.js";
import type { CausalVae } from "../../lib/models/vae/model.js";
import { samplePosterior } from "../../lib/models/vae/posterior.js";
import { openDevice, randn, requiresGrad, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { foldLatents, latentStatistics } from "../../lib/train/vae/fold-latents.js";
import { initialVae } from "../../lib/train/vae/initial.js";
import { psnrOf, reconstructionPsnr } from "../../lib/train/vae/psnr.js";
import { refusal, rejection } from "../support/refusal.js";
import { living } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("autoencoder's latents");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

/** The demo's. */
const demo = {
  ...vaePresets["884-16c-hy"],
  blockChannels: [16, 32, 64, 64],
  layersPerBlock: 1,
  normGroups: 1,
} as const;
const tiny = { ...demo, blockChannels: [8, 8, 16, 16], latentChannels: 4 } as const;

type Colour = (t: number, y: number, x: number, c: number) => number;

function clipOf(colour: Colour, frames = 5, side = 32): Tensor<"f32"> {
  const values = new Float32Array(frames * side * side * 3).map((_, i) =>
    colour(Math.floor(i / (side * side * 3)), Math.floor(i / (side * 3)) % side, Math.floor(i / 3) % side, i % 3),
  );
  return tensor(values, { device, shape: [1, frames, side, side, 3] });
}

const plain = (r: number, g: number, b: number) => clipOf((_t, _y, _x, c) => [r, g, b][c] as number);

test("PSNR of known errors", async () => {
  const [a, b] = [clipOf(() => 0.5), clipOf((t) => (t < 0 ? 0 : 0.25))];
  const beyond = clipOf(() => 7);
  const white = clipOf(() => 1);
  const [[error = 0], [same = 0], [clamped = 0]] = [
    await psnrOf(a, b),
    await psnrOf(a, a),
    await psnrOf(beyond, white),
  ];
  assert.ok(Math.abs(error - 20 * Math.log10(2 / 0.25)) < 1e-4);
  assert.is(same, 100);
  assert.is(clamped, 100);
  for (const one of [a, b, beyond, white]) one.dispose();
});

test("a blur codec has the right colours and follows what is smooth, untrained", async () => {
  const before = living(device);
  using vae = initialVae(demo, { device, seed: 1, start: "blur" });
  for (const name of vae.params.names()) requiresGrad(vae.params.get(name));
  const flat = [plain(0.8, -0.6, 0.1), plain(-1, -1, -1), plain(1, 1, 1), plain(-1, 1, -1)];
  const report = await reconstructionPsnr(vae, [
    ...flat,
    clipOf((t, y, x, c) => Math.sin((x + t) / 16 + c) * Math.cos(y / 20)),
  ]);
  assert.is(report.clips.length, 5);
  assert.ok(Math.min(...report.clips.slice(0, 4)) > 34, report.clips.join());
  assert.ok((report.clips[4] as number) > 28, report.clips.join());
  assert.is(report.worst, Math.min(...report.clips));
  assert.ok(Math.abs(report.mean - report.clips.reduce((a, b) => a + b) / 5) < 1e-9);
  assert.is(report.median, [...report.clips].sort((a, b) => a - b)[2]);
  using random = initialVae(demo, { device, seed: 1 });
  const { mean } = await reconstructionPsnr(random, [plain(0.8, -0.6, 0.1)]);
  assert.ok(mean < 15, `${mean}`);
  random.dispose();
  vae.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("what moves leaves no ghosts: frames of later latents do not show earlier ones", async () => {
  using vae = initialVae(demo, { device, seed: 1, start: "blur" });
  // White up to frame 0, black from then on: the first latent frame is white, the others are black.
  using clip = clipOf((t) => (t === 0 ? 1 : -1));
  const again = scope(() => vae.decode(vae.encode(clip).mean));
  const values = await again.read();
  const frame = values.length / 5;
  for (let t = 0; t < 5; t++) {
    const average = values.subarray(t * frame, (t + 1) * frame).reduce((sum, v) => sum + v / frame, 0);
    assert.ok(Math.abs(average - (t === 0 ? 1 : -1)) < 0.1, `frame ${t}: ${average}`);
  }
  again.dispose();
});

test("the same seed gives the same weights, another one others", async () => {
  const read = async (seed: number) => {
    using vae = initialVae(tiny, { device, seed });
    return [...(await vae.params.get<"f32">("encoder.conv_in.conv.weight").read())];
  };
  const first = await read(3);
  assert.equal(await read(3), first);
  assert.not.equal(await read(4), first);
});

test("models that a blur codec does not fit in", () => {
  for (const [config, what] of [
    [{ ...demo, normGroups: 8 }, /groups of 2 channels/],
    [{ ...demo, latentChannels: 2 }, /2 latent channels/],
    [{ ...demo, outChannels: 4 }, /3 and 4 colours/],
  ] as const) {
    const { code, message } = refusal(() => initialVae(config, { device, seed: 1, start: "blur" }));
    assert.is(code, "INVALID_ARGUMENT");
    assert.match(message, what);
  }
});

function* noisyClips(): Generator<Tensor<"f32">> {
  for (let i = 0; i < 3; i++) yield randn([1 + (i % 2), 5, 32, 32, 3], { seed: 20 + i, device });
}

/** A reconstruction of a clip by drawn latents, and the latents. */
async function roundTrip(vae: CausalVae, seed: number) {
  const [z, again] = scope(() => {
    const clip = randn([1, 5, 32, 32, 3], { seed, device });
    const drawn = samplePosterior(vae.encode(clip), { seed: 9 });
    return [drawn, vae.decode(drawn)] as const;
  });
  const read = [await z.read(), await again.read()] as const;
  z.dispose();
  again.dispose();
  return read;
}

for (const deviation of [1, 1 / 0.476986]) {
  test(`folding leaves reconstructions and gives latents of mean 0 and deviation ${deviation.toFixed(2)}`, async () => {
    const before = living(device);
    using vae = initialVae(tiny, { device, seed: 8 });
    const [, reconstruction] = await roundTrip(vae, 31);
    const statistics = await latentStatistics(vae, noisyClips());
    assert.ok(statistics.mean.some((mean) => Math.abs(mean) > 0.05));
    const config = foldLatents(vae.config, vae.params, statistics, { deviation });
    assert.equal(config, { ...tiny, scalingFactor: 1 / deviation });
    const [, again] = await roundTrip(vae, 31);
    const size = reconstruction.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    again.forEach((v, i) => assert.ok(Math.abs(v - (reconstruction[i] as number)) < 1e-5 * size));
    const folded = await latentStatistics(vae, noisyClips());
    for (const mean of folded.mean) assert.ok(Math.abs(mean) < 1e-4, `${mean}`);
    for (const one of folded.deviation) assert.ok(Math.abs(one / deviation - 1) < 1e-4, `${one}`);
    vae.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("statistics count drawn latents, noise included", async () => {
  using vae = initialVae(tiny, { device, seed: 8 });
  const { deviation } = await latentStatistics(vae, noisyClips());
  let [sum, squares, count] = [0, 0, 0];
  for (const clip of noisyClips()) {
    const { mean, logvar } = vae.encode(clip);
    const [m, l] = [await mean.read(), await logvar.read()];
    for (let i = 0; i < m.length; i += 4) {
      sum += m[i] as number;
      squares += (m[i] as number) ** 2 + Math.exp(l[i] as number);
      count++;
    }
    for (const one of [mean, logvar, clip]) one.dispose();
  }
  const expected = Math.sqrt(squares / count - (sum / count) ** 2);
  assert.ok(Math.abs((deviation[0] as number) / expected - 1) < 1e-5, `${deviation[0]}, expected ${expected}`);
});

test("no clips and statistics of another model are refused", async () => {
  using vae = initialVae(tiny, { device, seed: 8 });
  assert.is((await rejection(latentStatistics(vae, []))).code, "INVALID_ARGUMENT");
  const other = { mean: [0], deviation: [1] };
  assert.match(refusal(() => foldLatents(vae.config, vae.params, other)).message, /expected 4 of each/);
});
test.run();
