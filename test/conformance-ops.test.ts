/**
 * Norms, activations and rotary embedding against results of the public reference implementation (test/fixtures/ops.*
 * and rope.*: random inputs, computed in PyTorch). The distance is max|got − want| / max|want|, a tensor at a time.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type DType,
  type FloatDType,
  gelu,
  groupNorm,
  layerNorm,
  openDevice,
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
const device = openDevice("cpu");

function storedTensor(from: typeof ops, name: string) {
  const found = from.stored.get(name);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found;
}

function input<D extends DType>(from: typeof ops, name: string, dtype: D): Tensor<D> {
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

/** What an op of the transformer or the autoencoder makes of the stored inputs, in a type. */
const made: { readonly [output: string]: (dtype: FloatDType) => Tensor } = {
  "out.layer_norm": (dtype) => layerNorm(input(ops, "in.norm", dtype), { eps: 1e-6 }),
  "out.rms_norm": (dtype) => rmsNorm(input(ops, "in.norm", dtype), input(ops, "in.rms_weight", dtype), { eps: 1e-6 }),
  "out.group_norm": (dtype) => {
    // Stored [B, C, T, H, W]; ours is channels last.
    const x = permute(input(ops, "in.group_norm", dtype), [0, 2, 3, 4, 1]);
    const weight = input(ops, "in.group_norm_weight", dtype);
    const bias = input(ops, "in.group_norm_bias", dtype);
    return permute(groupNorm(x, { groups: 4, weight, bias, eps: 1e-6 }), [0, 4, 1, 2, 3]);
  },
  "out.gelu_tanh": (dtype) => gelu(input(ops, "in.act", dtype), { approximate: "tanh" }),
  "out.silu": (dtype) => silu(input(ops, "in.act", dtype)),
};

const test = suite("conformance: ops");
test.after(() => device.dispose());

for (const [name, make] of Object.entries(made)) {
  for (const dtype of ["f32", "bf16"] as const) {
    test(`${name} in ${dtype}`, async () => {
      const result = scope(() => make(dtype));
      const got = Float32Array.from(await result.read(), Number);
      result.dispose();
      const own = 2 * (ops.about.tensors[name]?.bf16_vs_fp64 ?? 0) + 2 ** -8;
      const tolerance = dtype === "bf16" ? own : ops.about.tolerance.float32;
      const far = distance(got, storedTensor(ops, name).data);
      assert.ok(far <= tolerance, `${name}: ${far}, allowed ${tolerance}`);
    });
  }
}

test("silu within group norm is group norm, then silu", async () => {
  const [fused, composed] = scope(() => {
    const x = permute(input(ops, "in.group_norm", "f32"), [0, 2, 3, 4, 1]);
    const options = {
      groups: 4,
      weight: input(ops, "in.group_norm_weight", "f32"),
      bias: input(ops, "in.group_norm_bias", "f32"),
    };
    return [groupNorm(x, { ...options, silu: true }), silu(groupNorm(x, options))];
  });
  assert.ok(distance(await fused.read(), await composed.read()) < 1e-6);
  fused.dispose();
  composed.dispose();
});

for (const [grid, checksum] of Object.entries(ropeCase.about.checksums ?? {})) {
  test(`rope tables of ${grid}`, async () => {
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

test("rotation", async () => {
  const rotated = scope(() => {
    const { cos, sin } = ropeTables3d({ t: 1, h: 4, w: 6 }, { device });
    return rope(input(ropeCase, "in.q", "f32"), cos, sin);
  });
  const far = distance(await rotated.read(), storedTensor(ropeCase, "out.q_rotated").data);
  rotated.dispose();
  assert.ok(far <= ropeCase.about.tolerance.float32, `${far}`);
});

test.run();
