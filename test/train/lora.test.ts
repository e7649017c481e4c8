/** LoRA in training: what the adapters compute, their gradients, and files that load, fuse and unload. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { LoraFuser } from "../../lib/models/lora/apply.js";
import { loadLora } from "../../lib/models/lora/load.js";
import { loadParams, paramsFromTensors } from "../../lib/nn/load.js";
import type { Params } from "../../lib/nn/params.js";
import { releasedNaming } from "../../lib/nn/spec.js";
import {
  adamwStep,
  cast,
  grad,
  isHunyuanError,
  mse,
  noGrad,
  openDevice,
  requiresGrad,
  scope,
  type Tensor,
  tensor,
  zerosLike,
} from "../../lib/tensor.js";
import { LoraAdapters, type LoraSettings } from "../../lib/train/lora/adapters.js";
import { saveLora } from "../../lib/train/lora/save.js";
import { writeSafetensors } from "../support/checkpoint-files.js";
import { ditTensors, randomNumbers, randomValues, tinyDit } from "../support/dit-files.js";
import { loraStyles } from "../support/lora-files.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-train-lora-"));
const device = openDevice("cpu");
const test = suite("train: LoRA");
test.after(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true });
});

const specs = ditSpec(tinyDit);
const values = new Map([...randomValues(specs)].map(([name, list]) => [name, list.map((v) => v / 8)]));
const baseFile = join(folder, "base.safetensors");
writeSafetensors(baseFile, ditTensors(tinyDit, "tencent", { dtype: "f32", values }));
const everything: LoraSettings = { rank: 3, alpha: 6, targets: [/./], seed: 5 };

async function loadBase(dtype: "f32" | "bf16" = "f32"): Promise<Params> {
  return loadParams(device, await openCheckpoint(baseFile), specs, releasedNaming, { dtype });
}

function velocity(params: Params, dtype: "f32" | "bf16" = "f32", checkpoint = false): Tensor<"f32"> {
  const given = (count: number, seed: number, shape: number[]) =>
    tensor(randomNumbers(count, seed), { shape, device, dtype });
  return scope(() =>
    cast(
      new HunyuanDit(tinyDit, params).forward(
        {
          latents: given(2 * 2 * 4 * 4 * 16, 71, [2, 2, 4, 4, 16]),
          timestep: tensor([700, 200], { device }),
          text: given(2 * 5 * 56, 72, [2, 5, 56]),
          textLengths: [4, 5],
          pooled: given(2 * 48, 73, [2, 48]),
          guidance: tensor([6000, 1000], { device }),
        },
        { checkpoint },
      ),
      "f32",
    ),
  );
}

function lossOf(params: Params, checkpoint = false): Tensor<"f32"> {
  return scope(() => {
    const predicted = velocity(params, "f32", checkpoint);
    return mse(predicted, tensor(randomNumbers(predicted.size, 9), { shape: predicted.shape, device }));
  });
}

/** B gets values too: at its zeros A has no gradient and the adapters do nothing. */
async function stirred(base: Params, settings: LoraSettings): Promise<LoraAdapters> {
  const lora = new LoraAdapters(base, specs, settings);
  const ups = lora.layers.map(({ adapter }) => adapter.up);
  const grads = scope(() =>
    ups.map((up, i) => tensor(randomNumbers(up.size, 300 + i), { shape: up.shape, device, dtype: up.dtype })),
  );
  step(ups, grads, 0.02);
  return lora;
}

/** One AdamW step; disposes of the gradients. */
function step(params: readonly Tensor[], grads: readonly Tensor[], lr: number): void {
  const [m, v] = scope(() => [params.map((p) => zerosLike(p)), params.map((p) => zerosLike(p))] as const);
  adamwStep([...params], [...grads], m, v, { lr, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, step: 1 });
  for (const one of [...m, ...v, ...grads]) one.dispose();
}

const read = async (x: Tensor): Promise<number[]> => Array.from(await x.read(), Number);

function off(got: readonly number[], want: readonly number[]): number {
  assert.is(got.length, want.length);
  const largest = Math.max(...want.map(Math.abs), 1e-12);
  return Math.max(...got.map((value, i) => Math.abs(value - (want[i] ?? Number.NaN)))) / largest;
}

async function withoutLeaks(run: () => Promise<void>): Promise<void> {
  await device.sync();
  const before = device.memory();
  await run();
  await device.sync();
  const after = device.memory();
  assert.is(after.tensors, before.tensors, "tensors left behind");
  assert.is(after.live, before.live, "bytes left behind");
}

test("fresh adapters change nothing; a seed gives the same ones", async () => {
  await withoutLeaks(async () => {
    using base = await loadBase();
    using lora = new LoraAdapters(base, specs, everything);
    using again = new LoraAdapters(base, specs, everything);
    using other = new LoraAdapters(base, specs, { ...everything, seed: 6 });
    const [plain, adapted] = [velocity(base), velocity(lora.params)];
    assert.ok(adapted.requiresGrad && !plain.requiresGrad);
    // Rounded in other places: a recorded pass is made of plain ops.
    assert.ok(off(await read(adapted), await read(plain)) < 1e-5);
    const firstA = (one: LoraAdapters) => read(one.layers[0]?.adapter.down as Tensor);
    const a = await firstA(lora);
    assert.equal(await firstA(again), a);
    assert.not.equal(await firstA(other), a);
    const bound = 1 / Math.sqrt(16 * 4);
    assert.ok(a.every((x) => Math.abs(x) <= bound) && a.some((x) => x > bound / 2) && a.some((x) => x < -bound / 2));
    plain.dispose();
    adapted.dispose();
  });
});

test("which layers", async () => {
  using base = await loadBase();
  const namesFor = (settings: Partial<LoraSettings>) => {
    using lora = new LoraAdapters(base, specs, { rank: 2, seed: 1, ...settings });
    return lora.layers.map(({ name }) => name);
  };
  const usual = namesFor({});
  assert.ok(usual.includes("double_blocks.1.txt_mlp.fc2") && usual.includes("single_blocks.0.linear1"));
  assert.not.ok(
    usual.some((name) => /mod|refiner|_in\.|final|norm/.test(name)),
    usual.join(),
  );
  assert.is(usual.length, 2 * 8 + 2 * 2);
  assert.equal(namesFor({ targets: [/0\.img_attn/] }), [
    "double_blocks.0.img_attn_qkv",
    "double_blocks.0.img_attn_proj",
  ]);
  assert.equal(namesFor({ targets: [/0\.img_attn/], exclude: [/proj/] }), ["double_blocks.0.img_attn_qkv"]);
  assert.is(namesFor({ targets: [/./] }).length, specs.filter(({ shape }) => shape.length >= 2).length);
  for (const bad of [{ targets: [/nothing/] }, { rank: 0 }, { alpha: 0 }, { rank: 1.5 }]) {
    assert.throws(
      () => namesFor(bad),
      (error: unknown) => isHunyuanError(error, "INVALID_ARGUMENT"),
    );
  }
});

test("gradients are those of the merged weights, dB = s dW Aᵀ and dA = s Bᵀ dW", async () => {
  await withoutLeaks(async () => {
    using base = await loadBase();
    using lora = await stirred(base, everything);
    const adaptedLoss = lossOf(lora.params);
    const named = [...lora.named()];
    const grads = grad(
      adaptedLoss,
      named.map(([, leaf]) => leaf),
    );
    using merged = await mergedWeights(lora);
    const weights = lora.layers.map(({ spec }) => requiresGrad(merged.get(spec.name)));
    const mergedLoss = lossOf(merged);
    const dWs = grad(mergedLoss, weights);
    assert.ok(Math.abs((await adaptedLoss.item()) - (await mergedLoss.item())) < 1e-6);
    for (const [i, { name, adapter }] of lora.layers.entries()) {
      const [dA, dB, dW] = [grads[2 * i], grads[2 * i + 1], dWs[i]];
      assert.ok(dA && dB && dW, `${name} has no gradient`);
      const [a, b, w] = [await read(adapter.down), await read(adapter.up), await read(dW)];
      const want = chain(a, b, w, 3, 2);
      assert.ok(off(await read(dA), want.dA) < 1e-4, `dA of ${name}: ${off(await read(dA), want.dA)}`);
      assert.ok(off(await read(dB), want.dB) < 1e-4, `dB of ${name}: ${off(await read(dB), want.dB)}`);
      for (const one of [dA, dB, dW]) one.dispose();
    }
    adaptedLoss.dispose();
    mergedLoss.dispose();
  });
});

function chain(a: readonly number[], b: readonly number[], w: readonly number[], rank: number, scale: number) {
  const [inner, rows] = [a.length / rank, b.length / rank];
  const at = (list: readonly number[], i: number) => list[i] ?? Number.NaN;
  const sum = (count: number, term: (i: number) => number) => {
    let total = 0;
    for (let i = 0; i < count; i++) total += term(i);
    return scale * total;
  };
  const dA = a.map((_, i) => {
    const [r, k] = [Math.floor(i / inner), i % inner];
    return sum(rows, (n) => at(b, n * rank + r) * at(w, n * inner + k));
  });
  const dB = b.map((_, i) => {
    const [n, r] = [Math.floor(i / rank), i % rank];
    return sum(inner, (k) => at(w, n * inner + k) * at(a, r * inner + k));
  });
  return { dA, dB };
}

/** W + s B A of each layer, in plain numbers. */
async function mergedWeights(lora: LoraAdapters): Promise<Params> {
  const all = new Map(values);
  for (const { spec, adapter } of lora.layers) {
    const [a, b] = [await read(adapter.down), await read(adapter.up)];
    const rank = adapter.down.shape[0] ?? 1;
    const inner = a.length / rank;
    const sum = Float32Array.from(values.get(spec.name) ?? [], (weight, i) => {
      const [n, k] = [Math.floor(i / inner), i % inner];
      let delta = 0;
      for (let r = 0; r < rank; r++) delta += (b[n * rank + r] ?? 0) * (a[r * inner + k] ?? 0);
      return weight + adapter.scale * delta;
    });
    all.set(spec.name, sum);
  }
  const tensors = new Map(specs.map(({ name, shape }) => [name, tensor(all.get(name) ?? [], { shape, device })]));
  try {
    return paramsFromTensors(specs, tensors, {});
  } finally {
    for (const one of tensors.values()) one.dispose();
  }
}

test("adapters of the first blocks learn also where blocks are computed twice", async () => {
  await withoutLeaks(async () => {
    using base = await loadBase();
    using lora = await stirred(base, { rank: 2, targets: [/blocks\.\d\.(img_attn|linear)/], seed: 3 });
    const leaves = [...lora.leaves()];
    const [kept, again] = [lossOf(lora.params), lossOf(lora.params, true)];
    const [want, got] = [grad(kept, leaves), grad(again, leaves)];
    for (const [i, one] of got.entries()) {
      assert.ok(one && want[i]);
      assert.ok(off(await read(one), await read(want[i])) < 1e-5);
    }
    for (const one of [kept, again, ...want, ...got]) one?.dispose();
  });
});

for (const style of loraStyles) {
  test(`saved as ${style} it loads, fuses to the same output, and unloads`, async () => {
    await withoutLeaks(async () => {
      using base = await loadBase();
      using lora = await stirred(base, everything);
      const path = await saveLora(join(folder, `${style}.safetensors`), lora, tinyDit, { style });
      const [plain, recorded, quiet] = [velocity(base), velocity(lora.params), noGrad(() => velocity(lora.params))];
      const found = await loadLora(path, tinyDit);
      assert.is(found.style, style);
      assert.is(found.rank, 3);
      assert.equal(found.unmatched, []);
      const fuser = new LoraFuser(base);
      await fuser.set([{ lora: found }]);
      const fused = velocity(base);
      const [want, original] = [await read(fused), await read(plain)];
      assert.ok(off(original, want) > 0.01, "the LoRA changes nothing");
      assert.ok(off(await read(recorded), want) < 1e-4, `recorded: ${off(await read(recorded), want)}`);
      assert.ok(off(await read(quiet), want) < 1e-4, "without recording");
      await fuser.set([]);
      const unloaded = velocity(base);
      assert.equal(await read(unloaded), original);
      fuser.dispose();
      for (const one of [plain, recorded, quiet, fused, unloaded]) one.dispose();
    });
  });
}

test("what other tools look for: names, shapes, alpha, types", async () => {
  using base = await loadBase();
  using lora = await stirred(base, { rank: 3, alpha: 6, targets: [/img_in|0\.img_attn_qkv/], seed: 5 });
  const kohya = await openCheckpoint(
    await saveLora(join(folder, "k.safetensors"), lora, tinyDit, { dtype: "bf16", metadata: { note: "red" } }),
  );
  const shapes = (entries: typeof kohya.entries) =>
    Object.fromEntries([...entries].map(([name, { shape }]) => [name, [...shape]]));
  assert.equal(shapes(kohya.entries), {
    "lora_unet_img_in_proj.lora_down.weight": [3, 16, 1, 2, 2],
    "lora_unet_img_in_proj.lora_up.weight": [64, 3, 1, 1, 1],
    "lora_unet_img_in_proj.alpha": [],
    "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": [3, 64],
    "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": [192, 3],
    "lora_unet_double_blocks_0_img_attn_qkv.alpha": [],
  });
  assert.ok([...kohya.entries.values()].every(({ dtype }) => dtype === "bf16"));
  assert.is(kohya.metadata.get("ss_network_dim"), "3");
  assert.is(kohya.metadata.get("ss_network_alpha"), "6");
  assert.is(kohya.metadata.get("note"), "red");
  const path = await saveLora(join(folder, "d.safetensors"), lora, tinyDit, { style: "diffusers" });
  const names = Object.keys(shapes((await openCheckpoint(path)).entries));
  assert.equal(
    names.filter((name) => name.includes("lora_B")),
    [
      "transformer.x_embedder.proj.lora_B.weight",
      ...["q", "k", "v"].map((x) => `transformer.transformer_blocks.0.attn.to_${x}.lora_B.weight`),
    ],
  );
});

test("a few steps lower the loss, of bf16 weights too, which stay as they were", async () => {
  await withoutLeaks(async () => {
    using base = await loadBase("bf16");
    const before = await read(base.get("single_blocks.1.linear1.weight"));
    using lora = new LoraAdapters(base, specs, { rank: 4, seed: 2 });
    const leaves = [...lora.leaves()];
    const target = tensor(randomNumbers(2 * 2 * 4 * 4 * 16, 9), { shape: [2, 2, 4, 4, 16], device });
    const losses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const loss = scope(() => mse(velocity(lora.params, "bf16"), target));
      losses.push(await loss.item());
      step(leaves, grad(loss, leaves) as Tensor[], 0.01);
      loss.dispose();
    }
    assert.ok((losses.at(-1) ?? 1) < 0.9 * (losses[0] ?? 0), losses.join());
    assert.equal(await read(base.get("single_blocks.1.linear1.weight")), before);
    target.dispose();
  });
});

test.run();
