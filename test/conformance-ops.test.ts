/**
 * Norms, activations and rotary embedding against results of the public reference implementation (test/fixtures/ops.*
 * and rope.*: random inputs, computed in PyTorch). The distance is max|got − want| / max|want|, a tensor at a time.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import {
  type Device,
  type DType,
  type FloatDType,
  gelu,
  groupNorm,
  layerNorm,
  permute,
  rmsNorm,
  rope,
  ropeTables3d,
  scope,
  silu,
  sum,
  type Tensor,
  tensor,
} from "../lib/tensor.js";
import { onEachDevice } from "./support/each-device.js";
import { readSafetensors } from "./support/safetensors.js";

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "fixtures");

interface CaseFile {
  readonly tensors: { readonly [name: string]: { readonly bf16_vs_fp64?: number } };
  readonly tolerance: { readonly float32: number };
  readonly checksums?: { readonly [grid: string]: { readonly sum_cos: number; readonly sum_sin: number } };
}

function load(name: string) {
  const about: CaseFile = JSON.parse(readFileSync(join(fixtures, `${name}.json`), "utf8"));
  return { about, stored: readSafetensors(join(fixtures, `${name}.safetensors`)) };
}

const ops = load("ops");
const ropeCase = load("rope");

function storedTensor(from: typeof ops, name: string) {
  const found = from.stored.get(name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

function input<D extends DType>(device: Device, from: typeof ops, name: string, dtype: D): Tensor<D> {
  const { data, shape } = storedTensor(from, name);
  return tensor(data, { dtype, shape, device });
}

function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  assert.is(got.length, want.length);
  let [worst, largest] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs((got[i] as number) - (want[i] as number)));
    largest = Math.max(largest, Math.abs(want[i] as number));
    if (Number.isNaN(got[i])) worst = Number.POSITIVE_INFINITY;
  }
  return worst / largest;
}

/** The stored inputs in one type on one device. */
type Given<D extends FloatDType = FloatDType> = (name: string) => Tensor<D>;

/** What an op of the transformer or the autoencoder makes of the stored inputs. */
const made: { readonly [output: string]: (given: Given) => Tensor } = {
  "out.layer_norm": (given) => layerNorm(given("in.norm"), { eps: 1e-6 }),
  "out.rms_norm": (given) => rmsNorm(given("in.norm"), given("in.rms_weight"), { eps: 1e-6 }),
  "out.group_norm": (given) => {
    // Stored [B, C, T, H, W]; ours is channels last.
    const x = permute(given("in.group_norm"), [0, 2, 3, 4, 1]);
    const [weight, bias] = [given("in.group_norm_weight"), given("in.group_norm_bias")];
    return permute(groupNorm(x, { groups: 4, weight, bias, eps: 1e-6 }), [0, 4, 1, 2, 3]);
  },
  "out.gelu_tanh": (given) => gelu(given("in.act"), { approximate: "tanh" }),
  "out.silu": (given) => silu(given("in.act")),
};

const conformance = await onEachDevice("conformance: ops");

for (const [name, make] of Object.entries(made)) {
  for (const dtype of ["f32", "bf16"] as const) {
    conformance.test(`${name} in ${dtype}`, async (device) => {
      const result = scope(() => make((key) => input(device, ops, key, dtype)));
      const got = Float32Array.from(await result.read(), Number);
      result.dispose();
      const own = 2 * (ops.about.tensors[name]?.bf16_vs_fp64 ?? 0) + 2 ** -8;
      const tolerance = dtype === "bf16" ? own : ops.about.tolerance.float32;
      const far = distance(got, storedTensor(ops, name).data);
      assert.ok(far <= tolerance, `${name}: ${far}, allowed ${tolerance}`);
    });
  }
}

conformance.test("silu within group norm is group norm, then silu", async (device) => {
  const given: Given<"f32"> = (name) => input(device, ops, name, "f32");
  const [fused, composed] = scope(() => {
    const x = permute(given("in.group_norm"), [0, 2, 3, 4, 1]);
    const options = { groups: 4, weight: given("in.group_norm_weight"), bias: given("in.group_norm_bias") };
    return [groupNorm(x, { ...options, silu: true }), silu(groupNorm(x, options))];
  });
  assert.ok(distance(await fused.read(), await composed.read()) < 1e-6);
  fused.dispose();
  composed.dispose();
});

for (const [grid, checksum] of Object.entries(ropeCase.about.checksums ?? {})) {
  conformance.test(`rope tables of ${grid}`, async (device) => {
    const [t = 0, h = 0, w = 0] = grid.split("x").map(Number);
    const { cos, sin } = ropeTables3d({ t, h, w }, { device });
    const rows = [...storedTensor(ropeCase, `out.rows_${grid}`).data];
    for (const [name, table] of Object.entries({ cos, sin })) {
      const whole = await table.read();
      assert.equal([...table.shape], [t * h * w, 128]);
      const got = Float32Array.from(rows.flatMap((row) => [...whole.subarray(row * 128, (row + 1) * 128)]));
      const far = distance(got, storedTensor(ropeCase, `out.${name}_${grid}`).data);
      assert.ok(far <= ropeCase.about.tolerance.float32, `${name}: ${far}`);
    }
    const total = scope(() => [sum(cos), sum(sin)] as const);
    const size = t * h * w * 128;
    assert.ok(Math.abs((await total[0].item()) - checksum.sum_cos) / size < 1e-6, "sum of cos");
    assert.ok(Math.abs((await total[1].item()) - checksum.sum_sin) / size < 1e-6, "sum of sin");
    for (const t of [...total, cos, sin]) t.dispose();
  });
}

conformance.test("rotation", async (device) => {
  const rotated = scope(() => {
    const { cos, sin } = ropeTables3d({ t: 1, h: 4, w: 6 }, { device });
    return rope(input(device, ropeCase, "in.q", "f32"), cos, sin);
  });
  const far = distance(await rotated.read(), storedTensor(ropeCase, "out.q_rotated").data);
  rotated.dispose();
  assert.ok(far <= ropeCase.about.tolerance.float32, `${far}`);
});

conformance.run();
