/** Text encoders that learn: gradients against finite differences, and together with the transformer. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { ClipText, clipSpec } from "../../lib/models/text/clip.js";
import { TextEncoders } from "../../lib/models/text/encode.js";
import { Llama, llamaSpec } from "../../lib/models/text/llama.js";
import { paramsFromTensors } from "../../lib/nn/load.js";
import { Params } from "../../lib/nn/params.js";
import type { ParameterSpec } from "../../lib/nn/spec.js";
import {
  type FloatDType,
  grad,
  mean,
  mul,
  openDevice,
  randn,
  requiresGrad,
  scope,
  sum,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { Learner } from "../../lib/train/learner.js";
import { velocityLosses } from "../../lib/train/objective.js";
import { ParameterSet, selectedOf } from "../../lib/train/parameters.js";
import { conditionsOf } from "../../lib/train/text-conditions.js";
import { randomValues, tinyDit, type Values } from "../support/dit-files.js";
import { wave } from "../support/finite-differences.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";
import { textValues, tinyClip, tinyLlama, writeTinyTextEncoders } from "../support/tiny-text.js";

const device = openDevice("cpu");
const test = suite("train: text encoders");
test.after(() => device.dispose());

const llamaConfig = { ...tinyLlama, numLayers: 2, vocabSize: 12 };
const clipConfig = { ...tinyClip, numLayers: 1, vocabSize: 12, maxLength: 8, eosTokenId: 11 };
const ids = [
  [1, 4, 7, 4, 11],
  [2, 9, 11, 0, 0],
];

/** Values by parameter. */
type Numbers = ReadonlyMap<string, readonly number[] | Float32Array>;

function paramsOf(specs: readonly ParameterSpec[], values: Numbers, dtype: FloatDType = "f64"): Params {
  const tensors = new Map(
    specs.map(({ name, shape }) => [name, tensor(values.get(name) ?? [], { shape, dtype, device })]),
  );
  try {
    return paramsFromTensors(specs, tensors);
  } finally {
    for (const one of tensors.values()) one.dispose();
  }
}

/** A number that depends on all of a result. */
function weighed(x: Tensor<FloatDType>): Tensor<"f64"> {
  return sum(mul(x as Tensor<"f64">, tensor(wave(x.size), { shape: x.shape, dtype: "f64", device })));
}

async function expectGradients(
  specs: readonly ParameterSpec[],
  values: Values,
  run: (params: Params) => Tensor<"f64">,
): Promise<void> {
  const params = paramsOf(specs, values);
  const leaves = specs.map(({ name }) => requiresGrad(params.get(name)));
  const out = scope(() => run(params));
  const grads = grad(out, leaves);
  out.dispose();
  params.dispose();
  for (const [i, { name }] of specs.entries()) {
    const found = grads[i];
    assert.ok(found, `${name} gets no gradient`);
    const list = Array.from(await found.read(), Number);
    found.dispose();
    const place = list.reduce((best, value, at) => (Math.abs(value) > Math.abs(list[best] ?? 0) ? at : best), 0);
    const at = async (by: number) => {
      const moved = new Map<string, readonly number[] | Float32Array>(values);
      moved.set(
        name,
        Array.from(values.get(name) ?? [], (value, j) => (j === place ? value + by : value)),
      );
      const other = paramsOf(specs, moved);
      const y = scope(() => run(other));
      const value = await y.item();
      y.dispose();
      other.dispose();
      return value;
    };
    const expected = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
    const seen = list[place] ?? Number.NaN;
    assert.ok(Math.abs(seen) > 0, `the gradient of ${name} is zero`);
    assert.ok(Math.abs(seen - expected) < 1e-5 * Math.max(1, Math.abs(expected)), `${name}: ${seen}, not ${expected}`);
  }
}

test("Llama: embedding, attention, MLP and norms of all layers", async () => {
  const specs = llamaSpec(llamaConfig);
  await expectGradients(specs, textValues(specs, 1), (params) =>
    weighed(new Llama(llamaConfig, params).hiddenState(ids, { skip: 0 })),
  );
});

test("CLIP: both embeddings, attention, MLP and norms", async () => {
  const specs = clipSpec(clipConfig);
  // A bias of the keys moves all scores of a query alike: it has no gradient but rounding.
  const learnt = (params: Params) => weighed(new ClipText(clipConfig, params).pooled(ids));
  const without = specs.filter(({ name }) => !name.endsWith("k_proj.bias"));
  const values = textValues(specs, 2);
  const fixed = paramsOf(
    specs.filter(({ name }) => name.endsWith("k_proj.bias")),
    values,
  );
  await expectGradients(without, values, (params) => {
    const store = { find: (name: string) => params.store.find(name) ?? fixed.store.find(name) };
    return learnt(new Params({ ...store, names: () => params.names(), dispose() {} }));
  });
  fixed.dispose();
});

test("together with the transformer: the loss falls and both encoders move; prompts alone as encodePrompts has them", async () => {
  await device.sync();
  const before = device.memory();
  const folder = temporaryFolder();
  const widths = writeTinyTextEncoders(folder);
  const paths = {
    llm: "text_encoder",
    llmTokenizer: "tokenizer",
    clip: "text_encoder_2",
    clipTokenizer: "tokenizer_2",
  };
  const at = Object.fromEntries(Object.entries(paths).map(([name, part]) => [name, `${folder}/${part}`]));
  const encoders = await TextEncoders.load(at as typeof paths, device, { dtype: "f32" });
  const prompts = ["a cat walks", "a red ball on the grass"];
  const embeddings = await encoders.encodePrompts(prompts);
  const made = scope(() => conditionsOf(encoders, prompts));
  for (const [i, { text, pooled }] of embeddings.entries()) {
    const [length = 0, width = 0] = text.shape.slice(1);
    assert.is(made.textLengths[i], length);
    const start = i * (made.text.shape[1] ?? 0) * width;
    const all = Array.from(await made.text.read());
    const off = Array.from(await text.read()).map((v, j) => Math.abs(v - (all[start + j] ?? Number.NaN)));
    assert.ok(Math.max(...off) < 1e-6);
    assert.equal(Array.from(await pooled.read()), Array.from(await made.pooled.read()).slice(i * 48, (i + 1) * 48));
  }
  for (const one of [made.text, made.pooled, ...embeddings]) one.dispose();
  const config = { ...tinyDit, ...widths, guidanceEmbed: false, numDoubleBlocks: 1, numSingleBlocks: 1 };
  const values = new Map([...randomValues(ditSpec(config))].map(([name, list]) => [name, list.map((x) => x / 6)]));
  const dit = new HunyuanDit(config, paramsOf(ditSpec(config), values, "f32"));
  const trained = new ParameterSet([
    ...selectedOf(dit.params, { prefix: "dit." }),
    ...selectedOf(encoders.llama.params, { prefix: "llama." }),
    ...selectedOf(encoders.clip.params, { prefix: "clip." }),
  ]);
  const table = encoders.llama.params.get<"f32">("embed_tokens.weight");
  const first = Array.from(await table.read());
  const learner = new Learner(trained, { lr: 2e-3, clipNorm: 1 });
  const losses: number[] = [];
  for (let step = 0; step < 12; step++) {
    const loss = scope(() =>
      mean(
        velocityLosses(dit, {
          ...conditionsOf(encoders, prompts),
          latents: randn([2, 1, 4, 4, 16], { seed: 1, device }),
          noise: randn([2, 1, 4, 4, 16], { seed: 2, device }),
          sigmas: Float32Array.of(0.4, 0.7),
          dtype: "f32",
        }),
      ),
    );
    learner.accumulate(loss);
    losses.push(await loss.item());
    loss.dispose();
    if (step === 0) {
      const still = trained.list.filter(({ tensor: { grad: g } }) => g === undefined).map(({ name }) => name);
      assert.equal(still, [], "parameters without a gradient");
    }
    await learner.update();
  }
  assert.ok((losses.at(-1) ?? 1) < 0.8 * (losses[0] ?? 0), losses.join());
  assert.not.equal(Array.from(await table.read()), first);
  learner.dispose();
  dit.params.dispose();
  encoders.dispose();
  await device.sync();
  assert.is(device.memory().tensors, before.tensors);
  assert.is(device.memory().live, before.live);
});

test.run();
