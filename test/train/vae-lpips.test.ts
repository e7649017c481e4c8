/** LPIPS from files with random weights, against the same networks in plain JavaScript. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDevice, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { loadLpips } from "../../lib/train/vae/lpips.js";
import { featureNetworks, layersOf } from "../../lib/train/vae/lpips-network.js";
import { type FileTensor, writeSafetensors } from "../support/checkpoint-files.js";
import { expectGradient, wave } from "../support/finite-differences.js";
import { refusal, rejection } from "../support/refusal.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";
import { living } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("LPIPS");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());
const folder = temporaryFolder();

type Name = keyof typeof featureNetworks;
/** Channels first, one image. */
interface Plane {
  readonly c: number;
  readonly h: number;
  readonly w: number;
  readonly data: Float32Array;
}

/** Weights by torchvision's names, of a size that keeps activations about as large from layer to layer. */
function weightsOf(name: Name): Map<string, { shape: number[]; data: Float32Array }> {
  const made = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const { index, inner, out, kernel } of layersOf(featureNetworks[name])) {
    const fan = inner * kernel * kernel;
    const data = new Float32Array(wave(out * fan, index + 1));
    const size = Math.sqrt(6 / fan);
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * size;
    made.set(`features.${index}.weight`, { shape: [out, inner, kernel, kernel], data });
    made.set(`features.${index}.bias`, { shape: [out], data: Float32Array.from(wave(out, index + 2), (v) => 0.1 * v) });
  }
  featureNetworks[name].stages.forEach(({ layers }, i) => {
    const { out } = layers[layers.length - 1] as { readonly out: number };
    made.set(`lin${i}.model.1.weight`, { shape: [1, out, 1, 1], data: Float32Array.from(wave(out, 90 + i), Math.abs) });
  });
  return made;
}

const weights = { alexnet: weightsOf("alexnet"), vgg16: weightsOf("vgg16") };

/** A file with some of the weights, under names of choice. */
function fileOf(name: Name, file: string, rename: (key: string) => string | undefined): string {
  const tensors = [...weights[name]].flatMap(([key, { shape, data }]): FileTensor[] => {
    const as = rename(key);
    return as === undefined ? [] : [{ name: as, dtype: "f32", shape, data: new Uint8Array(data.buffer) }];
  });
  const path = join(folder, file);
  writeSafetensors(path, tensors);
  return path;
}

function convolve(x: Plane, { shape, data }: { shape: number[]; data: Float32Array }, bias: Float32Array): Plane {
  const [out = 0, inner = 0, k = 0] = shape;
  const [stride, rim] = k === 11 ? [4, 2] : [1, (k - 1) / 2];
  const [h, w] = [x.h, x.w].map((n) => Math.floor((n + 2 * rim - k) / stride) + 1) as [number, number];
  const y = new Float32Array(out * h * w);
  const seen = new Float32Array(inner * k * k);
  for (let i = 0; i < h * w; i++) {
    const [top, left] = [Math.floor(i / w) * stride - rim, (i % w) * stride - rim];
    for (let tap = 0; tap < seen.length; tap++) {
      const [row, column] = [top + (Math.floor(tap / k) % k), left + (tap % k)];
      const inside = row >= 0 && row < x.h && column >= 0 && column < x.w;
      seen[tap] = inside ? (x.data[(Math.floor(tap / (k * k)) * x.h + row) * x.w + column] as number) : 0;
    }
    for (let o = 0; o < out; o++) {
      let sum = bias[o] as number;
      for (let tap = 0, at = o * seen.length; tap < seen.length; tap++, at++) {
        sum += (seen[tap] as number) * (data[at] as number);
      }
      y[o * h * w + i] = Math.max(0, sum);
    }
  }
  return { c: out, h, w, data: y };
}

function pooled(x: Plane, side: number): Plane {
  const [h, w] = [x.h, x.w].map((n) => Math.floor((n - side) / 2) + 1) as [number, number];
  const data = new Float32Array(x.c * h * w).map((_, i) => {
    const [c, y, left] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    let most = -Infinity;
    for (let a = 0; a < side; a++) {
      for (let b = 0; b < side; b++) {
        most = Math.max(most, x.data[(c * x.h + 2 * y + a) * x.w + 2 * left + b] as number);
      }
    }
    return most;
  });
  return { c: x.c, h, w, data };
}

/** Features of each stage, each place's channels brought to length 1. */
function plainFeatures(name: Name, image: Plane): Plane[] {
  const shift = [-0.03, -0.088, -0.188];
  const scale = [0.458, 0.448, 0.45];
  const places = image.h * image.w;
  let x: Plane = {
    ...image,
    data: image.data.map(
      (v, i) => (v - (shift[Math.floor(i / places)] as number)) / (scale[Math.floor(i / places)] as number),
    ),
  };
  const { stages }: { readonly stages: readonly { pool?: number; layers: readonly { index: number }[] }[] } =
    featureNetworks[name];
  return stages.map(({ pool, layers }) => {
    if (pool !== undefined) x = pooled(x, pool);
    for (const { index } of layers) {
      const weight = weights[name].get(`features.${index}.weight`) as { shape: number[]; data: Float32Array };
      x = convolve(x, weight, (weights[name].get(`features.${index}.bias`) as { data: Float32Array }).data);
    }
    const { c, h, w, data } = x;
    const lengths = Array.from({ length: h * w }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < c; k++) sum += (data[k * h * w + i] as number) ** 2;
      return Math.sqrt(sum) + 1e-10;
    });
    return { ...x, data: data.map((v, i) => v / (lengths[i % (h * w)] as number)) };
  });
}

function plainDistance(name: Name, a: Plane, b: Plane): number {
  const [left, right] = [plainFeatures(name, a), plainFeatures(name, b)];
  return left.reduce((total, { h, w, data }, i) => {
    const channel = (weights[name].get(`lin${i}.model.1.weight`) as { data: Float32Array }).data;
    const other = (right[i] as Plane).data;
    const sum = data.reduce(
      (all, v, j) => all + (channel[Math.floor(j / (h * w))] as number) * (v - (other[j] as number)) ** 2,
      0,
    );
    return total + sum / (h * w);
  }, 0);
}

/** Frames as one clip [1, T, H, W, 3]. */
function clipOf(frames: readonly Plane[]): Tensor<"f32"> {
  const [{ h, w } = { h: 0, w: 0 }] = frames;
  const data = new Float32Array(frames.length * h * w * 3).map((_, i) => {
    const frame = frames[Math.floor(i / (3 * h * w))] as Plane;
    return frame.data[(i % 3) * h * w + (Math.floor(i / 3) % (h * w))] as number;
  });
  return tensor(data, { device, shape: [1, frames.length, h, w, 3] });
}

const imageOf = (seed: number, h: number, w: number): Plane => ({
  c: 3,
  h,
  w,
  data: Float32Array.from(wave(3 * h * w, seed)),
});
const owned = (key: string) => (key.startsWith("lin") ? key : undefined);
const torchvision = (key: string) => (key.startsWith("lin") ? undefined : key);

for (const { name, sizes } of [
  // Every remainder of the stride of 4 behind the last window.
  {
    name: "alexnet",
    sizes: [
      { h: 31, w: 32, frames: 2 },
      { h: 33, w: 34, frames: 1 },
    ],
  },
  { name: "vgg16", sizes: [{ h: 16, w: 17, frames: 1 }] },
] as const) {
  test(`${name}: the mean over frames, as in plain JavaScript`, async () => {
    await device.sync();
    const before = living(device);
    const files = [fileOf(name, `${name}.safetensors`, torchvision), fileOf(name, `${name}-lin.safetensors`, owned)];
    using lpips = await loadLpips(files, { device });
    assert.is(lpips.network, name);
    for (const { h, w, frames } of sizes) {
      const pairs = Array.from({ length: frames }, (_, i) => [imageOf(i + 1, h, w), imageOf(i + 8, h, w)] as const);
      const got = scope(() => lpips.distance(clipOf(pairs.map(([a]) => a)), clipOf(pairs.map(([, b]) => b))));
      const expected = pairs.reduce((sum, [a, b]) => sum + plainDistance(name, a, b), 0) / pairs.length;
      const value = await got.item();
      assert.ok(Math.abs(value - expected) < 1e-4 * expected, `${h} × ${w}: ${value}, expected ${expected}`);
      got.dispose();
      const same = scope(() => lpips.distance(clipOf([pairs[0]![0]]), clipOf([pairs[0]![0]])));
      assert.is(await same.item(), 0);
      same.dispose();
    }
    lpips.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("one file of the lpips package, and its gradient for the clip", async () => {
  const slices = [0, 3, 6, 8, 10];
  const path = fileOf("alexnet", "whole.safetensors", (key) => {
    const index = /^features\.(\d+)\.(.*)$/.exec(key);
    return index === null ? key : `net.slice${slices.indexOf(Number(index[1])) + 1}.${index[1]}.${index[2]}`;
  });
  using lpips = await loadLpips(path, { device, dtype: "f64" });
  const shape = [1, 1, 31, 31, 3] as const;
  const target = () => tensor(wave(31 * 31 * 3, 3), { device, shape });
  const options = { places: 4, step: 1e-7, tolerance: 1e-4 };
  await expectGradient(device, shape, wave(31 * 31 * 3, 4), (x) => lpips.distance(x, target()), options);
});

test("files that hold something else, and clips that are too small", async () => {
  const before = living(device);
  const channels = fileOf("alexnet", "lin.safetensors", owned);
  const features = fileOf("alexnet", "features.safetensors", torchvision);
  const wrong = fileOf("alexnet", "wrong.safetensors", (key) =>
    key === "features.3.weight" ? "features.0.weight" : undefined,
  );
  for (const [files, what] of [
    [channels, /features\.0\.weight/],
    [features, /lin0\.model\.1\.weight/],
    [[wrong, channels], /expected VGG16/],
    [
      [fileOf("alexnet", "part.safetensors", (key) => (key.startsWith("features.0") ? key : undefined)), channels],
      /missing/,
    ],
  ] as const) {
    const { code, message } = await rejection(loadLpips(files, { device }));
    assert.is(code, "CHECKPOINT_INVALID");
    assert.match(message, what);
  }
  const lpips = await loadLpips([features, channels], { device });
  const [small, other] = [clipOf([imageOf(1, 24, 40)]), clipOf([imageOf(1, 40, 40)])];
  assert.match(refusal(() => lpips.distance(small, small)).message, /31 pixels/);
  assert.is(refusal(() => lpips.distance(other, small)).code, "SHAPE_MISMATCH");
  for (const one of [small, other, lpips]) one.dispose();
  await device.sync();
  assert.equal(living(device), before);
});
test.run();
