/** LoRAs: five spellings of one, strengths, fusing and unfusing. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { LoraFuser, type LoraUse } from "../../lib/models/lora/apply.js";
import { type Lora, loadLora } from "../../lib/models/lora/load.js";
import { loadParams } from "../../lib/nn/load.js";
import { type Params, Params as ParamsOf, ResidentStore } from "../../lib/nn/params.js";
import { releasedNaming } from "../../lib/nn/spec.js";
import { type DType, openDevice, scope, tensor } from "../../lib/tensor.js";
import { writeSafetensors } from "../support/checkpoint-files.js";
import { ditTensors, f32Bytes, randomNumbers, randomValues, tinyDit } from "../support/dit-files.js";
import { type LoraPair, loraPairs, loraRank, loraStyles, loraTargets, loraTensors } from "../support/lora-files.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-lora-"));
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true });
});

const specs = ditSpec(tinyDit);
/** An eighth keeps activations small and the numbers exact in bf16. */
const values = new Map([...randomValues(specs)].map(([name, list]) => [name, list.map((v) => v / 8)]));
const base = join(folder, "base.safetensors");
writeSafetensors(base, ditTensors(tinyDit, "tencent", { dtype: "f32", values }));

async function load(dtype: DType): Promise<{ params: Params; origin: NonNullable<Origin> }> {
  const origin = { checkpoint: await openCheckpoint(base), specs, naming: releasedNaming, dtype };
  const params = await loadParams(device, origin.checkpoint, specs, releasedNaming, { dtype });
  return { params, origin };
}
type Origin = NonNullable<ConstructorParameters<typeof LoraFuser>[1]>["origin"];

let written = 0;
function loraFile(
  style: (typeof loraStyles)[number],
  pairs: readonly LoraPair[],
  more: Parameters<typeof writeSafetensors>[1] = [],
) {
  const path = join(folder, `lora${written++}.safetensors`);
  writeSafetensors(path, [...loraTensors(style, pairs), ...more]);
  return path;
}

async function read(params: Params): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const { name } of specs) all.set(name, Float32Array.from(await params.get<"f32">(name).read()));
  return all;
}

/** W + strength · alpha / rank · up · down in f64. */
function expected(pairs: readonly LoraPair[], strength: number): Map<string, Float64Array> {
  const sums = new Map([...values].map(([name, list]) => [name, Float64Array.from(list)]));
  for (const { spec, up, down, alpha } of pairs) {
    const sum = sums.get(spec.name);
    if (sum === undefined) throw new Error(spec.name);
    const width = down.length / loraRank;
    for (let i = 0; i < sum.length; i++) {
      const [row, column] = [Math.floor(i / width), i % width];
      let product = 0;
      for (let r = 0; r < loraRank; r++) product += (up[row * loraRank + r] ?? 0) * (down[r * width + column] ?? 0);
      sum[i] = (sum[i] ?? 0) + ((strength * alpha) / loraRank) * product;
    }
  }
  return sums;
}

function worst(got: ReadonlyMap<string, ArrayLike<number>>, want: ReadonlyMap<string, ArrayLike<number>>): number {
  let error = 0;
  for (const [name, list] of want) {
    const seen = got.get(name);
    if (seen === undefined || seen.length !== list.length) throw new Error(`${name} differs in size`);
    for (let i = 0; i < list.length; i++) error = Math.max(error, Math.abs((seen[i] ?? Number.NaN) - (list[i] ?? 0)));
  }
  return error;
}

/** The model's answer to fixed inputs. */
async function answer(params: Params): Promise<Float32Array> {
  const model = new HunyuanDit(tinyDit, params);
  const velocity = scope(() =>
    model.forward({
      latents: tensor(randomNumbers(2 * 4 * 4 * 16, 71), { shape: [1, 2, 4, 4, 16], device }),
      timestep: tensor([700], { device }),
      text: tensor(randomNumbers(5 * 56, 72), { shape: [1, 5, 56], device }),
      textLengths: [4],
      pooled: tensor(randomNumbers(48, 73), { shape: [1, 48], device }),
      guidance: tensor([6000], { device }),
    }),
  );
  const result = await velocity.read();
  velocity.dispose();
  return result;
}

/** Runs with a loaded model and sees that nothing is left behind. */
async function withModel(dtype: DType, run: (params: Params, origin: NonNullable<Origin>) => Promise<void>) {
  const before = device.memory();
  const { params, origin } = await load(dtype);
  try {
    await run(params, origin);
  } finally {
    params.dispose();
    await device.sync();
  }
  assert.is(device.memory().tensors, before.tensors, "tensors left behind");
  assert.is(device.memory().live, before.live, "bytes left behind");
}

const pairs = loraPairs(loraTargets, { alpha: 2 });

test("five styles of one LoRA give the same weights and the same output", async () => {
  await withModel("f32", async (params, origin) => {
    const fuser = new LoraFuser(params, { origin });
    const plain = await answer(params);
    const want = expected(pairs, 0.75);
    let first: Float32Array | undefined;
    for (const style of loraStyles) {
      const lora = await loadLora(loraFile(style, pairs), tinyDit);
      assert.is(lora.style, style);
      assert.is(lora.rank, loraRank);
      assert.equal(lora.unmatched, []);
      await fuser.set([{ lora, strength: 0.75 }]);
      const error = worst(await read(params), want);
      assert.ok(error < 1e-6, `${style}: a weight is off by ${error}`);
      const out = await answer(params);
      first ??= out;
      const largest = Math.max(...first.map(Math.abs));
      const off = worst(new Map([["out", out]]), new Map([["out", first]])) / largest;
      assert.ok(off < 1e-5, `${style}: the output is off by ${off} of the largest`);
      assert.ok(worst(new Map([["out", out]]), new Map([["out", plain]])) > 0.01 * largest, "the LoRA changes nothing");
    }
    await fuser.set([]);
    assert.equal(await answer(params), plain);
  });
});

for (const dtype of ["bf16", "f16", "f32"] as const) {
  for (const kept of [false, true]) {
    test(`fused and unfused ${dtype} weights are the same bits, ${kept ? "kept" : "read again"}`, async () => {
      await withModel(dtype, async (params, origin) => {
        const before = await read(params);
        using fuser = new LoraFuser(params, kept ? {} : { origin });
        const lora = await loadLora(loraFile("kohya", pairs), tinyDit);
        await fuser.set([{ lora }]);
        assert.ok(worst(await read(params), before) > 0.01);
        assert.is(params.get("single_blocks.0.linear1.weight").dtype, dtype);
        await fuser.set([]);
        assert.is(worst(await read(params), before), 0);
        assert.equal(fuser.active, []);
      });
    });
  }
}

test("bf16 weights round the f32 sum once", async () => {
  await withModel("bf16", async (params, origin) => {
    const fuser = new LoraFuser(params, { origin });
    await fuser.set([{ lora: await loadLora(loraFile("diffusers", pairs), tinyDit) }]);
    const got = await read(params);
    for (const [name, list] of expected(pairs, 1)) {
      list.forEach((v, i) => {
        const seen = got.get(name)?.[i] ?? Number.NaN;
        // Half a step of bf16, and the f32 sum's own rounding.
        assert.ok(Math.abs(seen - v) <= Math.abs(v) * 2 ** -8 * 1.0001 + 1e-7, `${name}[${i}] is ${seen}, not ${v}`);
      });
    }
    await fuser.set([]);
  });
});

test("several LoRAs add up, and what is fused depends on the list alone", async () => {
  const other = loraPairs(loraTargets.slice(3, 30), { seed: 500 });
  const one = await loadLora(loraFile("kohya", pairs), tinyDit);
  const two = await loadLora(loraFile("comfyui", other), tinyDit);
  await withModel("f32", async (params, origin) => {
    const fuser = new LoraFuser(params, { origin });
    const uses: LoraUse[] = [
      { lora: one, strength: 0.5 },
      { lora: two, strength: -1.5 },
    ];
    await fuser.set(uses);
    const both = await read(params);
    const want = expected(pairs, 0.5);
    for (const [name, list] of expected(other, -1.5)) {
      const sum = want.get(name);
      list.forEach((v, i) => {
        if (sum !== undefined) sum[i] = (sum[i] ?? 0) + v - (values.get(name)?.[i] ?? 0);
      });
    }
    assert.ok(worst(both, want) < 2e-6);
    await fuser.set([{ lora: two }]);
    assert.ok(worst(await read(params), expected(other, 1)) < 1e-6);
    await fuser.set(uses);
    assert.is(worst(await read(params), both), 0);
    assert.is(fuser.active.length, 2);
    await fuser.set([]);
  });
});

test("changes of biases and whole weights, as FastVideo's files have them", async () => {
  const bias = randomNumbers(192, 41);
  const weight = randomNumbers(64 * 64, 42);
  const gain = randomNumbers(32, 43);
  const at = "diffusion_model.double_blocks.1";
  const path = loraFile(
    "comfyui",
    [],
    [
      { name: `${at}.img_attn.qkv.diff_b`, dtype: "f32", shape: [192], data: f32Bytes(bias) },
      { name: `${at}.txt_attn.proj.diff`, dtype: "f32", shape: [64, 64], data: f32Bytes(weight) },
      { name: `${at}.img_attn.norm.query_norm.diff`, dtype: "f32", shape: [32], data: f32Bytes(gain) },
    ],
  );
  await withModel("f32", async (params, origin) => {
    const before = await read(params);
    const fuser = new LoraFuser(params, { origin });
    const lora = await loadLora(path, tinyDit);
    assert.is(lora.style, "comfyui");
    await fuser.set([{ lora, strength: 2 }]);
    const after = await read(params);
    const grown = (name: string, by: Float32Array) =>
      by.forEach((v, i) => {
        const want = (before.get(name)?.[i] ?? 0) + 2 * v;
        assert.ok(Math.abs((after.get(name)?.[i] ?? 0) - want) < 1e-6, `${name}[${i}]`);
      });
    grown("double_blocks.1.img_attn_qkv.bias", bias);
    grown("double_blocks.1.txt_attn_proj.weight", weight);
    grown("double_blocks.1.img_attn_q_norm.weight", gain);
    await fuser.set([]);
  });
});

test("after an abort the weights are the originals", async () => {
  await withModel("bf16", async (params, origin) => {
    const before = await read(params);
    const lora = await loadLora(loraFile("original", pairs), tinyDit);
    for (const options of [{ origin }, {}]) {
      using fuser = new LoraFuser(params, options);
      await fuser.set([{ lora }]);
      const controller = new AbortController();
      const pending = fuser.set([{ lora, strength: 3 }], { signal: controller.signal });
      controller.abort();
      assert.is(await pending.catch((error) => error.code), "ABORTED");
      assert.equal(fuser.active, []);
      assert.is(worst(await read(params), before), 0);
    }
  });
});

test("weights in f8e4m3 are refused, or widened until unfused", async () => {
  const before = device.memory();
  const name = "double_blocks.0.img_mlp.fc1.weight";
  const bytes = Float32Array.from({ length: 160 * 64 }, (_, i) => ((i * 7) % 15) / 8);
  const made = () => {
    const store = new ResidentStore([
      [name, tensor(bytes, { dtype: "f8e4m3", shape: [160, 64], device })],
      [`${name}_scale`, tensor([0.5], { device })],
    ]);
    return new ParamsOf(store);
  };
  const some = loraPairs(loraTargets.filter((spec) => spec.name === name));
  const lora = await loadLora(loraFile("kohya", some), tinyDit);
  const params = made();
  const refused = await new LoraFuser(params).set([{ lora }]).catch((error) => error);
  assert.is(refused.code, "MODEL_UNSUPPORTED");
  assert.is(params.get(name).dtype, "f8e4m3");
  {
    using fuser = new LoraFuser(params, { fp8: "f32" });
    await fuser.set([{ lora }]);
    assert.is(params.get(name).dtype, "f32");
    assert.is(params.find(`${name}_scale`), undefined);
    const wide = await params.get<"f32">(name).read();
    const [{ up, down } = { up: new Float32Array(), down: new Float32Array() }] = some;
    const product = [0, 1, 2, 3].reduce((sum, r) => sum + (up[r] ?? 0) * (down[r * 64 + 1] ?? 0), 0);
    assert.ok(Math.abs((wide[1] ?? 0) - ((bytes[1] ?? 0) * 0.5 + product)) < 1e-6);
    await fuser.set([]);
    assert.is(params.get(name).dtype, "f8e4m3");
    assert.equal(Float32Array.from(await params.get<"f32">(name).read()), bytes);
    assert.is(await params.get<"f32">(`${name}_scale`).item(), 0.5);
  }
  params.dispose();
  await device.sync();
  assert.is(device.memory().tensors, before.tensors);
  assert.is(device.memory().live, before.live);
});

test("parameters that are streamed take no LoRA", () => {
  const streamed = new ParamsOf({ find: () => undefined, names: () => [], dispose: () => {} });
  assert.throws(() => new LoraFuser(streamed), /offload: "none"/);
});

test("a LoRA of a deeper model is refused before a weight is touched", async () => {
  await withModel("f32", async (params) => {
    const deep = { ...tinyDit, numSingleBlocks: 5 };
    const spec = ditSpec(deep).filter(({ name }) => /single_blocks\.[04]\.linear2\.weight/.test(name));
    const lora: Lora = await loadLora(loraFile("kohya", loraPairs(spec)), deep);
    const before = await read(params);
    const error = await new LoraFuser(params).set([{ lora }]).catch((one) => one);
    assert.is(error.code, "CHECKPOINT_INVALID");
    assert.match(error.message, /single_blocks\.4\.linear2\.weight/);
    assert.is(worst(await read(params), before), 0);
    const infinite = await new LoraFuser(params).set([{ lora, strength: Number.NaN }]).catch((one) => one.code);
    assert.is(infinite, "INVALID_ARGUMENT");
  });
});

test.run();
