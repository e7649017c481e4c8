/** What the autoencoder needs, against what it said it would; tiles chosen for a memory limit. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { frameAttention } from "../../lib/models/vae/blocks.js";
import { type VaeConfig, vaePresets } from "../../lib/models/vae/config.js";
import { type ClipSize, estimateVae, vaeParameterBytes } from "../../lib/models/vae/memory.js";
import { CausalVae } from "../../lib/models/vae/model.js";
import { type VaePart, vaeSpec } from "../../lib/models/vae/spec.js";
import type { TileProgress } from "../../lib/models/vae/tile-pass.js";
import { planTiles, type TilingOption } from "../../lib/models/vae/tiling.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { type Device, type FloatDType, isHunyuanError, mul, openDevice, randn, scope } from "../../lib/tensor.js";

const full = process.env.HUNYUAN_TEST_FULL === "1";
const released = vaePresets["884-16c-hy"];
const narrow: VaeConfig = { ...released, blockChannels: [16, 16, 24, 24], normGroups: 8, layersPerBlock: 1 };

function randomVae(config: VaeConfig, device: Device, dtype: FloatDType, part: VaePart): CausalVae {
  const named = vaeSpec(config, part).map(({ name, shape, layout }, i) => {
    const [out = 0, inner = 1, ...kernel] = shape;
    const as = layout === "channels-last" ? [out, ...kernel, inner] : shape;
    const scale = shape.length > 1 ? 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)) : 0.1;
    return [name, scope(() => mul(randn(as, { seed: i, dtype, device }), scale))] as const;
  });
  return new CausalVae(config, new Params(new ResidentStore(named)));
}

type Direction = "encode" | "decode";

function inputShape(direction: Direction, { numFrames, height, width }: ClipSize): number[] {
  return direction === "encode"
    ? [1, numFrames, height, width, 3]
    : [1, (numFrames - 1) / 4 + 1, height / 8, width / 8, 16];
}

/** The most bytes live on a fresh device while a clip goes through, and what the device was asked to hold to. */
async function measure(
  config: VaeConfig,
  direction: Direction,
  size: ClipSize,
  options: { readonly dtype: FloatDType; readonly tiling: TilingOption; readonly memoryLimit?: number },
) {
  const { dtype, tiling, memoryLimit } = options;
  const device = openDevice("cpu", memoryLimit === undefined ? {} : { memoryLimit });
  const vae = randomVae(config, device, dtype, direction === "encode" ? "encoder" : "decoder");
  const x = randn(inputShape(direction, size), { seed: 1, device, dtype });
  await device.sync();
  device.trim();
  device.resetPeak();
  let tiles = 0;
  const onProgress = (progress: TileProgress) => {
    tiles = progress.tiles;
  };
  const wait = { tiling, onProgress };
  const made = direction === "encode" ? (await vae.encodeTiled(x, wait)).mean : await vae.decodeTiled(x, wait);
  await device.sync();
  const { peak } = device.memory();
  const values = await made.read();
  await device.dispose();
  return { peak, tiles, values };
}

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

const sizes: readonly (readonly [Direction, ClipSize, FloatDType, TilingOption])[] = [
  ["decode", { numFrames: 17, height: 96, width: 128 }, "f32", "off"],
  ["decode", { numFrames: 17, height: 96, width: 128 }, "bf16", "off"],
  ["decode", { numFrames: 1, height: 256, width: 256 }, "f32", "off"],
  ["encode", { numFrames: 17, height: 96, width: 128 }, "f32", "off"],
  ["encode", { numFrames: 17, height: 96, width: 128 }, "bf16", "off"],
  ["decode", { numFrames: 33, height: 128, width: 96 }, "f32", "diffusersFramewise"],
  [
    "decode",
    { numFrames: 41, height: 192, width: 160 },
    "bf16",
    { frames: { tile: 16, stride: 12 }, height: { tile: 64, stride: 48 }, width: { tile: 64, stride: 32 } },
  ],
  [
    "encode",
    { numFrames: 41, height: 192, width: 160 },
    "f32",
    { frames: { tile: 16, stride: 12 }, height: { tile: 64, stride: 48 }, width: { tile: 64, stride: 32 } },
  ],
];

const test = suite("autoencoder: memory");

for (const [direction, size, dtype, tiling] of sizes) {
  const { numFrames, height, width } = size;
  const how = typeof tiling === "string" ? tiling : "small tiles";
  test(`${direction} ${numFrames} × ${height} × ${width}, ${dtype}, ${how}: as estimated`, async () => {
    const estimate = estimateVae(narrow, direction, size, { dtype, tiling });
    const { peak, tiles } = await measure(narrow, direction, size, { dtype, tiling });
    const ratio = estimate.peakBytes / peak;
    // Small tensors are rounded up by the allocator, which large ones do not notice.
    assert.ok(ratio > 0.9 && ratio < 1.1, `estimate ${mib(estimate.peakBytes)}, peak ${mib(peak)}`);
    assert.is(tiles, estimate.tiles);
  });
}

test("129 frames: auto is the untiled result where it fits, tiles within the limit where it does not", async () => {
  const size = { numFrames: 129, height: 64, width: 64 };
  const dtype = "f32";
  const untiled = await measure(narrow, "decode", size, { dtype, tiling: "off" });
  const needed = estimateVae(narrow, "decode", size, { dtype, tiling: "off" }).peakBytes;
  assert.ok(Math.abs(needed / untiled.peak - 1) < 0.1, `${mib(needed)}, ${mib(untiled.peak)}`);

  const roomy = await measure(narrow, "decode", size, { dtype, tiling: "auto", memoryLimit: Math.ceil(needed * 1.1) });
  assert.is(roomy.tiles, 1);
  assert.equal(roomy.values, untiled.values);

  const memoryLimit = Math.floor(needed * 0.6);
  const estimate = estimateVae(narrow, "decode", size, { dtype, tiling: "auto", memoryLimit });
  const tight = await measure(narrow, "decode", size, { dtype, tiling: "auto", memoryLimit });
  assert.ok(tight.tiles > 1);
  assert.is(tight.tiles, estimate.tiles);
  assert.ok(tight.peak <= memoryLimit, `${mib(tight.peak)} of ${mib(memoryLimit)}`);
  assert.ok(Math.abs(estimate.peakBytes / tight.peak - 1) < 0.1, `${mib(estimate.peakBytes)}, ${mib(tight.peak)}`);
});

test("memory of the middle attention grows with the tokens, not with their square", async () => {
  const device = openDevice("cpu");
  const config = { ...released, blockChannels: [32, 32, 64, 64] };
  const vae = randomVae(config, device, "f32", "decoder");
  const used: number[] = [];
  for (const frames of [8, 16, 32]) {
    const x = randn([1, frames, 16, 16, 64], { seed: 2, device });
    await device.sync();
    device.trim();
    const before = device.memory().live;
    device.resetPeak();
    const y = frameAttention({ config, recorded: false }, vae.params.at("decoder.mid_block.attentions.0"), x);
    await device.sync();
    used.push(device.memory().peak - before);
    y.dispose();
    await device.sync();
  }
  const [a = 0, b = 0, c = 0] = used;
  // 8192 tokens: a mask of f32 alone would be 256 MiB.
  assert.ok(c < 32 * 2 ** 20, mib(c));
  const growth = (c - b) / (b - a);
  assert.ok(
    growth > 1.8 && growth < 2.2,
    `${mib(a)}, ${mib(b)}, ${mib(c)}: twice the tokens add ${growth} times as much`,
  );
  await device.dispose();
});

test("the tiles that auto chooses", () => {
  const size = { numFrames: 129, height: 720, width: 1280 };
  const at = (memoryLimit: number) => estimateVae(released, "decode", size, { dtype: "bf16", memoryLimit });
  assert.equal(at(141e9).tiling, {}, "all at once");
  for (const limit of [80e9, 24e9, 12e9, 8e9, 6e9, 3e9]) {
    const { tiling, peakBytes, tiles } = at(limit);
    assert.ok(peakBytes <= limit, `${limit}: ${peakBytes}`);
    const plan = planTiles(released, tiling, "decode", [33, 90, 160]);
    assert.is(plan.tiles, tiles);
    // No smaller than the published tile as long as that fits, which takes 6 GB.
    if (limit < 6e9) continue;
    assert.ok((tiling.frames?.tile ?? 129) >= 64 && (tiling.height?.tile ?? 720) >= 256, JSON.stringify(tiling));
  }
  assert.ok(at(24e9).flops < at(6e9).flops, "larger tiles overlap less");
  let message = "";
  try {
    at(500e6);
  } catch (error) {
    if (!isHunyuanError(error, "OUT_OF_MEMORY")) throw error;
    ({ message } = error);
  }
  assert.match(message, /smallest tiles do not fit/);
});

test("parameters of the released model", () => {
  assert.is(vaeParameterBytes(released, "bf16", "both"), 2 * 246_478_803);
});

if (full) {
  test("real widths, 33 frames of 256 × 256 in bf16 within 3 GiB", async () => {
    const size = { numFrames: 33, height: 256, width: 256 };
    const options = { dtype: "bf16", tiling: "auto", memoryLimit: 3 * 2 ** 30 } as const;
    const estimate = estimateVae(released, "decode", size, options);
    const { peak, tiles } = await measure(released, "decode", size, options);
    assert.ok(peak < options.memoryLimit, mib(peak));
    assert.ok(Math.abs(estimate.peakBytes / peak - 1) < 0.1, `estimate ${mib(estimate.peakBytes)}, peak ${mib(peak)}`);
    assert.is(tiles, estimate.tiles);
  });
}

test.run();
