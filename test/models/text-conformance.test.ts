/**
 * Llama and CLIP against results of the public reference implementations (test/fixtures/llama_small.*, clip_small.*:
 * random weights and ids, computed in PyTorch), over the rows that are not padding.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ClipText, clipSpec } from "../../lib/models/text/clip.js";
import { clipConfigOfHf } from "../../lib/models/text/clip-config.js";
import { Llama, llamaSpec } from "../../lib/models/text/llama.js";
import { llamaConfigOfHf } from "../../lib/models/text/llama-config.js";
import { paramsFromTensors } from "../../lib/nn/load.js";
import type { Params } from "../../lib/nn/params.js";
import type { ParameterSpec } from "../../lib/nn/spec.js";
import { type FloatDType, isHunyuanError, openDevice, slice, type Tensor, tensor } from "../../lib/tensor.js";
import { type FixtureTensor, readSafetensors } from "../support/safetensors.js";

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures");

interface CaseFile {
  readonly config: unknown;
  readonly crop_start_here?: number;
  readonly tensors: { readonly [name: string]: { readonly bf16_vs_fp64?: number } };
  readonly tolerance: { readonly float32: number };
}

function load(name: string) {
  const about: CaseFile = JSON.parse(readFileSync(join(fixtures, `${name}.json`), "utf8"));
  const stored = readSafetensors(join(fixtures, `${name}.safetensors`));
  const get = (key: string): FixtureTensor => {
    const found = stored.get(key);
    if (found === undefined) throw new Error(`${name} has no tensor ${key}`);
    return found;
  };
  const rowsOf = (key: string): number[][] => {
    const { data, shape } = get(key);
    const [, width = 0] = shape;
    return Array.from({ length: shape[0] ?? 0 }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]);
  };
  return { about, get, ids: rowsOf("in.input_ids"), mask: rowsOf("in.attention_mask") };
}

type Case = ReturnType<typeof load>;
const llamaCase = load("llama_small");
const clipCase = load("clip_small");
const device = openDevice("cpu");
const runner = suite("conformance: text encoders");
// What earlier tests let go of must be gone before a test counts bytes.
runner.before.each(() => device.sync());
runner.after(() => device.dispose());
/** uvu cannot show an error whose details are an object. */
const test = (name: string, run: () => Promise<void>) =>
  runner(name, async () => {
    try {
      await run();
    } catch (error) {
      throw isHunyuanError(error) ? new Error(`${error.code}: ${error.message}`) : error;
    }
  });

function paramsOf(from: Case, specs: readonly ParameterSpec[], dtype: FloatDType): Params {
  const weights = new Map(
    specs.map(({ name }) => {
      const { data, shape } = from.get(`w.${name}`);
      return [name, tensor(data, { dtype, shape, device })] as const;
    }),
  );
  const params = paramsFromTensors(specs, weights);
  for (const weight of weights.values()) weight.dispose();
  return params;
}

/** Largest difference over the largest value wanted, both over the rows with mask 1 (all rows without a mask). */
function distance(got: ArrayLike<number>, want: FixtureTensor, mask?: readonly (readonly number[])[]): number {
  assert.is(got.length, want.data.length);
  const width = want.shape.at(-1) ?? 0;
  const valid = mask?.flat();
  let [worst, largest, rows] = [0, 0, 0];
  for (let row = 0; row < want.data.length / width; row++) {
    if (valid !== undefined && valid[row] !== 1) continue;
    rows++;
    for (let i = row * width; i < (row + 1) * width; i++) {
      const far = Math.abs((got[i] as number) - (want.data[i] as number));
      worst = Number.isNaN(far) ? Number.POSITIVE_INFINITY : Math.max(worst, far);
      largest = Math.max(largest, Math.abs(want.data[i] as number));
    }
  }
  assert.ok(rows > 0, "no rows to compare");
  return worst / largest;
}

async function check(
  from: Case,
  name: string,
  dtype: FloatDType,
  got: Tensor,
  mask?: readonly (readonly number[])[],
  bf16Of = name,
): Promise<void> {
  const { float32 } = from.about.tolerance;
  const reference = from.about.tensors[bf16Of]?.bf16_vs_fp64;
  assert.ok(reference !== undefined, `no bf16_vs_fp64 for ${bf16Of}`);
  const tolerance = dtype === "f32" ? float32 : 2 * (reference ?? 0) + 2 ** -8;
  const far = distance(Float32Array.from(await got.read(), Number), from.get(name), mask);
  assert.ok(far <= tolerance, `${name} in ${dtype}: ${far}, allowed ${tolerance}`);
}

for (const dtype of ["f32", "bf16"] as const) {
  test(`llama_small in ${dtype}`, async () => {
    const { live, tensors } = device.memory();
    const config = llamaConfigOfHf(llamaCase.about.config);
    const llama = new Llama(config, paramsOf(llamaCase, llamaSpec(config), dtype));
    const states = llama.hiddenStates(llamaCase.ids);
    assert.is(states.length, config.numLayers + 1);
    for (const [i, state] of states.entries()) {
      await check(llamaCase, `mid.hidden_states.${i}`, dtype, state, llamaCase.mask);
      state.dispose();
    }

    const picked = llama.hiddenState(llamaCase.ids);
    const crop = llamaCase.about.crop_start_here ?? 0;
    const cropped = slice(picked, 1, crop);
    const mask = llamaCase.mask.map((row) => row.slice(crop));
    await check(llamaCase, "out.hidden_state", dtype, cropped, mask);
    assert.equal(mask.flat(), [...llamaCase.get("out.attention_mask").data]);
    for (const t of [picked, cropped]) t.dispose();
    llama.dispose();
    await device.sync();
    assert.equal([device.memory().live, device.memory().tensors], [live, tensors], "memory comes back");
  });

  test(`clip_small in ${dtype}`, async () => {
    const { live, tensors } = device.memory();
    const config = clipConfigOfHf(clipCase.about.config);
    const clip = new ClipText(config, paramsOf(clipCase, clipSpec(config), dtype));
    const states = clip.hiddenStates(clipCase.ids);
    for (const i of [0, 1, 3]) {
      await check(clipCase, `mid.hidden_states.${i}`, dtype, states[i] as Tensor, clipCase.mask);
    }
    for (const state of states) state.dispose();
    const pooled = clip.pooled(clipCase.ids);
    await check(clipCase, "out.pooler_output", dtype, pooled);
    pooled.dispose();
    clip.dispose();
    await device.sync();
    assert.equal([device.memory().live, device.memory().tensors], [live, tensors], "memory comes back");
  });
}

test("only the layers that are asked for are needed", async () => {
  const config = llamaConfigOfHf(llamaCase.about.config);
  const specs = llamaSpec(config, { numLayers: 2 });
  assert.not(specs.some(({ name }) => name === "norm.weight" || name.startsWith("layers.2.")));
  using llama = new Llama(config, paramsOf(llamaCase, specs, "f32"));
  using state = llama.hiddenState(llamaCase.ids, { skip: 2 });
  await check(llamaCase, "mid.hidden_states.2", "f32", state, llamaCase.mask);
  assert.throws(
    () => llama.hiddenState(llamaCase.ids, { skip: 1 }),
    (error: Error) => /no parameter layers\.2\./.test(error.message),
  );
});

test("padding has no effect on what comes before", async () => {
  const config = llamaConfigOfHf(llamaCase.about.config);
  using llama = new Llama(config, paramsOf(llamaCase, llamaSpec(config), "f32"));
  for (const [i, ids] of llamaCase.ids.entries()) {
    const length = (llamaCase.mask[i] ?? []).reduce((a, b) => a + b, 0);
    using alone = llama.hiddenState([ids.slice(0, length)]);
    const whole = llamaCase.get("mid.hidden_states.2");
    const width = whole.shape[2] ?? 0;
    const from = i * (whole.shape[1] ?? 0) * width;
    const want = { dtype: "F32", shape: [length, width], data: whole.data.subarray(from, from + length * width) };
    assert.ok(distance(Float32Array.from(await alone.read(), Number), want) <= 1e-5);
  }
  const clipConfig = clipConfigOfHf(clipCase.about.config);
  using clip = new ClipText(clipConfig, paramsOf(clipCase, clipSpec(clipConfig), "f32"));
  for (const [i, ids] of clipCase.ids.entries()) {
    using pooled = clip.pooled([ids.slice(0, ids.indexOf(clipConfig.eosTokenId) + 1)]);
    const all = clipCase.get("out.pooler_output");
    const want = { dtype: "F32", shape: [1, 48], data: all.data.subarray(i * 48, (i + 1) * 48) };
    assert.ok(distance(Float32Array.from(await pooled.read(), Number), want) <= 1e-5);
  }
});

runner.run();
