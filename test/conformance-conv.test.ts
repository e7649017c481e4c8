/** The autoencoder's single ops against results of the reference implementation (test/fixtures/ops.json says how made). */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import {
  add,
  attention,
  conv3d,
  type Device,
  groupNorm,
  linear,
  reshape,
  scope,
  type Tensor,
  tensor,
  upsampleNearest,
} from "../lib/tensor.js";
import { onEachDevice } from "./support/each-device.js";
import { readSafetensors } from "./support/safetensors.js";

const fixture = (name: string) => new URL(`./fixtures/${name}`, import.meta.url);
const values = readSafetensors(fixture("ops.safetensors"));
const description: { tolerance: { float32: number }; tensors: { [name: string]: unknown } } = JSON.parse(
  readFileSync(fixture("ops.json"), "utf8"),
);

function stored(name: string) {
  const found = values.get(name);
  if (found === undefined) throw new Error(`no ${name} in ops.safetensors`);
  return found;
}

/** [B, C, T, H, W] to [B, T, H, W, C], so also weights: the reference keeps channels in front, we keep them last. */
function channelsLast(shape: readonly number[], data: Float64Array): { shape: number[]; data: Float64Array } {
  const [outer, channels] = [shape[0] ?? 0, shape[1] ?? 0];
  const inner = shape.slice(2).reduce((a, b) => a * b, 1);
  const moved = new Float64Array(data.length);
  for (let o = 0; o < outer; o++) {
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < inner; i++) {
        moved[(o * inner + i) * channels + c] = data[(o * channels + c) * inner + i] as number;
      }
    }
  }
  return { shape: [outer, ...shape.slice(2), channels], data: moved };
}

const conformance = await onEachDevice("conformance: convolution, upsampling, attention of the autoencoder");

type Load = (name: string) => Tensor<"f32">;

/** A stored tensor in our layout; matrices and vectors need no change. */
function load(device: Device, name: string): Tensor<"f32"> {
  const { shape, data } = stored(name);
  const ours = shape.length === 5 ? channelsLast(shape, data) : { shape, data };
  return tensor(ours.data, { dtype: "f32", device, shape: ours.shape });
}

async function check(name: string, device: Device, make: (load: Load) => Tensor): Promise<void> {
  const out = scope(() => make((key) => load(device, key)));
  try {
    const { shape, data } = stored(name);
    const want = channelsLast(shape, data);
    assert.is(out.size, want.data.length, name);
    const got = await out.read();
    let [error, largest] = [0, 0];
    want.data.forEach((v, i) => {
      error = Math.max(error, Math.abs(Number(got[i]) - v));
      largest = Math.max(largest, Math.abs(v));
    });
    assert.ok(
      error <= description.tolerance.float32 * largest,
      `${name}: off by ${error / largest} of the largest value`,
    );
  } finally {
    out.dispose();
  }
}

/** The stored outputs that start so, each with the digits at its end: `out.down_2x5x4_stride122` has 1, 2, 2. */
const outputs = (kind: string) =>
  Object.keys(description.tensors).flatMap((name) => {
    const parts = name.match(`^out\\.${kind}_([0-9x]+)_[a-z]+(\\d)(\\d)(\\d)$`);
    if (parts === null) return [];
    const [t, h, w] = parts.slice(2).map(Number) as [number, number, number];
    return [{ name, video: `in.video_${parts[1]}`, three: [t, h, w] as const }];
  });

assert.is(outputs("down").length, 9);
assert.is(outputs("up").length, 6);

for (const { name, video, three } of outputs("down")) {
  conformance.test(name, (device) =>
    check(name, device, (of) => conv3d(of(video), of("w.conv.weight"), { bias: of("w.conv.bias"), stride: three })),
  );
}

for (const { name, video, three } of outputs("up")) {
  conformance.test(name, (device) =>
    check(name, device, (of) =>
      conv3d(upsampleNearest(of(video), three), of("w.up.weight"), { bias: of("w.up.bias") }),
    ),
  );
}

conformance.test("out.attention", (device) =>
  check("out.attention", device, (of) => {
    const x = of("in.attention");
    const [B, T, H, W, C] = x.shape as [number, number, number, number, number];
    const project = (from: Tensor<"f32">, name: string) =>
      linear(from, of(`w.attention.${name}.weight`), { bias: of(`w.attention.${name}.bias`) });
    const normed = groupNorm(x, {
      groups: 4,
      weight: of("w.attention.group_norm.weight"),
      bias: of("w.attention.group_norm.bias"),
    });
    const tokens = reshape(normed, [B, T * H * W, C]);
    const heads = (name: string) => reshape(project(tokens, name), [B, T * H * W, 1, C]);
    const o = attention(heads("to_q"), heads("to_k"), heads("to_v"), { frameTokens: H * W });
    return add(reshape(project(reshape(o, [B, T * H * W, C]), "to_out.0"), x.shape), x);
  }),
);

conformance.run();
