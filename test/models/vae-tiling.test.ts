/** Tiles of the autoencoder: the reference's results, both published settings, refusals, progress and abort. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { vaePresets } from "../../lib/models/vae/config.js";
import {
  planTiles,
  type ReferenceTiling,
  type Tiling,
  type TilingOption,
  tilingOf,
  tilingOfReference,
  tilingProfiles,
} from "../../lib/models/vae/tiling.js";
import {
  add,
  backward,
  concat,
  isHunyuanError,
  mul,
  openDevice,
  randn,
  requiresGrad,
  scope,
  slice,
  sum,
  type Tensor,
  zeros,
} from "../../lib/tensor.js";
import { clipOf, expectClose, living, vaeCase, vaeOf } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("autoencoder: tiles");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const from = vaeCase("vae_tiling");
const released = vaePresets["884-16c-hy"];
const caseTiling = tilingOfReference(released, from.about.config);

async function far(a: Tensor, b: Tensor): Promise<number> {
  assert.equal(a.shape, b.shape);
  const [x, y] = [await a.read(), await b.read()];
  let most = 0;
  for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(Number(x[i]) - Number(y[i])));
  return most;
}

function refusal(run: () => unknown, code: string, ...words: readonly RegExp[]): void {
  let message: string | undefined;
  try {
    run();
  } catch (error) {
    if (!isHunyuanError(error)) throw error;
    assert.is(error.code, code);
    message = error.message;
  }
  assert.ok(message !== undefined, "nothing was thrown");
  for (const word of words) assert.match(message, word);
}

for (const dtype of ["f32", "bf16"] as const) {
  for (const kind of ["spatial", "temporal", "both"]) {
    test(`decode, ${kind}, ${dtype}`, async () => {
      const before = living(device);
      using vae = vaeOf(from, device, dtype);
      using z = clipOf(from, `${kind}_latent`, device, dtype);
      await expectClose(from, `out.${kind}_decoded`, vae.decode(z, { tiling: caseTiling }), dtype);
      const seen: string[] = [];
      const waited = await vae.decodeTiled(z, {
        tiling: caseTiling,
        onProgress: ({ tile, tiles }) => seen.push(`${tile}/${tiles}`),
      });
      await expectClose(from, `out.${kind}_decoded`, waited, dtype);
      const tiles = { spatial: 9, temporal: 3, both: 18 }[kind];
      assert.equal(
        seen,
        Array.from({ length: tiles ?? 0 }, (_, i) => `${i + 1}/${tiles}`),
      );
      z.dispose();
      vae.dispose();
      await device.sync();
      assert.equal(living(device), before);
    });
  }

  for (const kind of ["spatial", "temporal"]) {
    test(`encode, ${kind}, ${dtype}`, async () => {
      using vae = vaeOf(from, device, dtype);
      using video = clipOf(from, `${kind}_video`, device, dtype);
      for (const posterior of [
        vae.encode(video, { tiling: caseTiling }),
        await vae.encodeTiled(video, { tiling: caseTiling }),
      ]) {
        const moments = concat([posterior.mean, posterior.logvar], 4);
        await expectClose(from, `out.${kind}_moments`, moments, dtype);
        posterior.mean.dispose();
        posterior.logvar.dispose();
      }
    });
  }
}

test("frames as they are finished make up the clip", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = clipOf(from, "both_latent", device, "f32");
  using whole = vae.decode(z, { tiling: caseTiling });
  await device.sync();
  const before = living(device);
  let at = 0;
  for await (const frames of vae.decodeFrames(z, { tiling: caseTiling })) {
    const count = frames.shape[1] as number;
    using same = slice(whole, 1, at, at + count);
    assert.is(await far(frames, same), 0);
    at += count;
    frames.dispose();
  }
  assert.is(at, 29);
  // Whoever stops listening leaves nothing behind either.
  for await (const frames of vae.decodeFrames(z, { tiling: caseTiling })) {
    frames.dispose();
    break;
  }
  await device.sync();
  assert.equal(living(device), before);
});

test("tiles larger than the clip change nothing", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = clipOf(from, "both_latent", device, "f32");
  using plain = vae.decode(z);
  for (const tiling of ["hunyuan", "auto", "off"] as const) {
    using tiled = await vae.decodeTiled(z, { tiling });
    assert.is(await far(tiled, plain), 0, tiling);
  }
  // diffusers goes by 17 frames whatever the size.
  using framewise = vae.decode(z, { tiling: "diffusers" });
  using same = vae.decode(z, { tiling: { frames: { tile: 16, stride: 12 } } });
  assert.is(await far(framewise, same), 0);
  assert.ok((await far(framewise, plain)) > 0.1);
});

test("axes can be cut apart from each other", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = clipOf(from, "spatial_latent", device, "f32");
  const tiles = { tile: 32, stride: 24 };
  using rows = vae.decode(z, { tiling: { height: tiles } });
  // The first tile's part that nobody mixes into is that tile alone.
  using first = scope(() => vae.decode(slice(z, 2, 0, 4)));
  using part = slice(rows, 2, 0, 24);
  using want = slice(first, 2, 0, 24);
  assert.is(await far(part, want), 0);
});

test("gradients go through tiles", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = requiresGrad(clipOf(from, "both_latent", device, "f32"));
  using direction = randn(z.shape, { seed: 3, device });
  using weights = randn([1, 29, 56, 48, 3], { seed: 4, device });
  const tiling = caseTiling;
  const loss = (x: Tensor<"f32">) => scope(() => sum(mul(vae.decode(x, { tiling }), weights)));
  using value = loss(z);
  using plain = scope(() => loss(z.alias()));
  assert.ok(Math.abs((await value.item()) - (await plain.item())) < 1e-2, "recorded or not, the same clip");
  scope(() => backward(value));
  using slope = scope(() => sum(mul(z.grad as Tensor<"f32">, direction)));
  const step = 1e-3;
  const at = async (h: number) => {
    using moved = scope(() => add(z.alias(), mul(direction, h)));
    using there = loss(moved);
    return there.item();
  };
  const numeric = ((await at(step)) - (await at(-step))) / (2 * step);
  const found = await slope.item();
  assert.ok(Math.abs(numeric - found) < 2e-2 * Math.abs(numeric), `${found}, by differences ${numeric}`);
});

const abortIn = (milliseconds: number) => AbortSignal.timeout(milliseconds);

test("abort between tiles and within one", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = clipOf(from, "both_latent", device, "f32");
  await device.sync();
  const before = living(device);
  const controller = new AbortController();
  const attempts: readonly (readonly [string, () => Promise<Tensor>])[] = [
    [
      "after the second tile",
      () =>
        vae.decodeTiled(z, {
          tiling: caseTiling,
          signal: controller.signal,
          onProgress: ({ tile }) => tile === 2 && controller.abort(),
        }),
    ],
    ["in the middle of a tile", () => vae.decodeTiled(z, { tiling: caseTiling, signal: abortIn(8) })],
    ["before it starts", () => vae.decodeTiled(z, { tiling: "auto", signal: AbortSignal.abort() })],
    ["untiled", () => vae.decodeTiled(z, { tiling: "off", signal: abortIn(8) })],
  ];
  for (const [when, attempt] of attempts) {
    const error: unknown = await attempt().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(isHunyuanError(error, "ABORTED"), `${when}: ${String(error)}`);
    await device.sync();
    assert.equal(living(device), before, when);
  }
  using after = await vae.decodeTiled(z, { tiling: caseTiling });
  using want = vae.decode(z, { tiling: caseTiling });
  assert.is(await far(after, want), 0);
});

test("an error thrown by the caller's own callback leaves nothing behind", async () => {
  using vae = vaeOf(from, device, "f32");
  using z = clipOf(from, "both_latent", device, "f32");
  await device.sync();
  const before = living(device);
  const fails = () => {
    throw new RangeError("mine");
  };
  for (const run of [
    () => vae.decodeTiled(z, { tiling: caseTiling, onProgress: fails }),
    async () => vae.decode(z, { tiling: caseTiling, onBlock: fails }),
  ]) {
    const error: unknown = await run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.instance(error, RangeError);
    await device.sync();
    assert.equal(living(device), before);
  }
});

const settings: ReferenceTiling = {
  tile_sample_min_size: 256,
  tile_latent_min_size: 32,
  tile_sample_min_tsize: 64,
  tile_latent_min_tsize: 16,
  tile_overlap_factor: 0.25,
};

test("the original's settings are the profile of its name, as many tiles as it makes", () => {
  assert.equal(tilingOfReference(released, settings), tilingProfiles.hunyuan);
  const tiles = (option: Exclude<TilingOption, "auto">, frames = 33) =>
    planTiles(released, tilingOf(released, option), "decode", [frames, 90, 160]).tiles;
  assert.is(tiles("hunyuan"), 3 * 4 * 7);
  assert.is(tiles("diffusers"), 11 * 4 * 7);
  assert.is(tiles("diffusersFramewise"), 11);
  assert.is(tiles("off"), 1);
  assert.is(tiles("hunyuan", 1), 4 * 7);
});

test("settings that give a clip of the wrong size are refused with sizes that do not", () => {
  const six = { ...settings, tile_latent_min_size: 6, tile_sample_min_size: 48 };
  refusal(() => tilingOfReference(released, six), "INVALID_ARGUMENT", /every 4\.5 latents/, /use 4 or 8/);
  const short = { ...settings, tile_latent_min_tsize: 6, tile_sample_min_tsize: 24 };
  refusal(() => tilingOfReference(released, short), "INVALID_ARGUMENT", /tsize 6/, /use 4 or 8/);
  const unequal = { ...settings, tile_sample_min_size: 200 };
  refusal(() => tilingOfReference(released, unequal), "INVALID_ARGUMENT", /expected 256/);
  refusal(() => tilingOfReference(released, { ...settings, tile_overlap_factor: 1 }), "INVALID_ARGUMENT", /factor/);
  // 10 · (1 − 0.1) is 9 and 10 · (1 − 0.3) is 7, whatever floating point says.
  const nine = { ...settings, tile_latent_min_size: 10, tile_sample_min_size: 80, tile_overlap_factor: 0.1 };
  refusal(() => tilingOfReference(released, nine), "INVALID_ARGUMENT", /tsize 16/, /use 10 or 20/);
  const ten = { ...nine, tile_latent_min_tsize: 10, tile_sample_min_tsize: 40, tile_overlap_factor: 0.3 };
  assert.equal(tilingOfReference(released, ten).height, { tile: 80, stride: 56 });

  const bad: readonly (readonly [Tiling, RegExp])[] = [
    [{ height: { tile: 100, stride: 72 } }, /height\.tile is 100.*96 or 104/],
    [{ width: { tile: 96, stride: 70 } }, /width\.stride is 70.*64 or 72/],
    [{ frames: { tile: 17, stride: 12 } }, /frames\.tile is 17.*16 or 20/],
    [{ frames: { tile: 16, stride: 20 } }, /gaps/],
    [{ frames: { tile: 0, stride: 4 } }, /use 4/],
  ];
  for (const [tiling, words] of bad) refusal(() => tilingOf(released, tiling), "INVALID_ARGUMENT", words);
  refusal(() => tilingOf(released, JSON.parse('"huge"')), "INVALID_ARGUMENT", /huge.*hunyuan/);
});

test("clips that the model cannot take are refused with sizes that it can", () => {
  using vae = vaeOf(from, device, "f32");
  const encode = (...shape: readonly number[]) => scope(() => vae.encode(zeros(shape, { device })));
  refusal(() => encode(1, 10, 64, 64, 3), "SHAPE_MISMATCH", /9 or 13/, /4n \+ 1/);
  refusal(() => encode(1, 9, 60, 64, 3), "SHAPE_MISMATCH", /height of 56 or 64/);
  refusal(() => encode(1, 9, 64, 4, 3), "SHAPE_MISMATCH", /width of 8/);
  refusal(() => encode(1, 9, 64, 64, 4), "SHAPE_MISMATCH", /\[B, T, H, W, 3\]/);
  refusal(() => encode(9, 64, 64, 3), "SHAPE_MISMATCH", /expected/);
  refusal(() => scope(() => vae.decode(zeros([1, 3, 8, 8, 4], { device }))), "SHAPE_MISMATCH", /W, 16\]/);
  refusal(() => scope(() => vae.decode(zeros([1, 0, 8, 8, 16], { device }))), "SHAPE_MISMATCH", /nothing in it/);
});

test.run();
