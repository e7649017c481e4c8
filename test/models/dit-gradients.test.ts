/**
 * Gradients through the whole transformer, and three AdamW steps, against PyTorch's (test/fixtures/dit_grad_small.* and
 * dit_train_small.*; of large tensors only some rows are stored).
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { DitInput, HunyuanDit } from "../../lib/models/dit/model.js";
import {
  adamwStep,
  cast,
  detach,
  type FloatDType,
  grad,
  mse,
  openDevice,
  requiresGrad,
  reshape,
  scope,
  type Tensor,
  zerosLike,
} from "../../lib/tensor.js";
import { ConformanceCase } from "../conformance/case-file.js";
import { compare } from "../conformance/compare.js";
import {
  channelsFirst,
  channelsLast,
  disposeInputs,
  ditOf,
  hostOf,
  inputsOf,
  living,
  upload,
} from "../support/dit-case.js";

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures");
const device = openDevice("cpu");
const test = suite("transformer: gradients");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const gradCase = new ConformanceCase(fixtures, "dit_grad_small");
const base = new ConformanceCase(fixtures, "dit_t2v_small");

function lossOf(dit: HunyuanDit, input: DitInput): Tensor<"f32"> {
  return scope(() => {
    const target = channelsLast(upload(gradCase.input("target"), device, "f32"));
    return mse(cast(dit.forward(input), "f32"), target);
  });
}

/** A gradient or parameter as the checkpoint has it: there patches are a convolution, and latents have channels first. */
function asStored(name: string, x: Tensor<FloatDType>, from: ConformanceCase, stored: string): Tensor<FloatDType> {
  if (name === "grad_in.latents") return channelsFirst(x);
  const facts = from.about.tensors[stored];
  return reshape(x, facts?.full_shape ?? facts?.shape ?? x.shape);
}

async function expectClose(from: ConformanceCase, stored: string, x: Tensor, dtype: "f32" | "bf16"): Promise<void> {
  const seen = scope(() => detach(asStored(stored.replace("out.", ""), cast(x, "f32"), from, stored)));
  const { subsample, absmax } = from.about.tensors[stored] ?? {};
  // Of large tensors few rows are stored; the largest magnitude is that of all of them.
  const rule = subsample === undefined || absmax === undefined ? {} : { scale: absmax };
  const { maxRelErr, tolerance, pass } = compare(from, stored, await hostOf(seen), { dtype, rule });
  seen.dispose();
  assert.ok(pass, `${dtype} ${stored}: ${maxRelErr}, allowed ${tolerance}`);
}

for (const dtype of ["f32", "bf16"] as const) {
  test(`dit_grad_small in ${dtype}`, async () => {
    const before = living(device);
    const dit = ditOf(base, device, dtype);
    const input = inputsOf(base, device, dtype);
    const names = [...dit.params.names()];
    const wanted = new Map<string, Tensor>(names.map((name) => [`grad.${name}`, dit.params.get(name)]));
    wanted.set("grad_in.latents", input.latents).set("grad_in.text_states", input.text);
    wanted.set("grad_in.text_states_2", input.pooled);
    for (const leaf of wanted.values()) requiresGrad(leaf);
    const copies = device.insertedCopies;
    const loss = lossOf(dit, input);
    const gradients = grad(loss, [...wanted.values()]);
    assert.is(device.insertedCopies, copies, "copies that nobody asked for");
    assert.is(names.length, 120);
    await expectClose(gradCase, "out.loss", loss, dtype);
    for (const [i, name] of [...wanted.keys()].entries()) {
      const gradient = gradients[i];
      assert.ok(gradient, `no gradient of ${name}`);
      await expectClose(gradCase, `out.${name}`, gradient, dtype);
      gradient.dispose();
    }
    loss.dispose();
    disposeInputs(input);
    dit.params.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("dit_train_small: three steps of AdamW", async () => {
  const from = new ConformanceCase(fixtures, "dit_train_small");
  const { lr, beta1, beta2, eps, weight_decay: weightDecay } = from.about.optimizer as { [name: string]: number };
  const before = living(device);
  const dit = ditOf(base, device, "f32");
  const input = inputsOf(base, device, "f32");
  const names = [...dit.params.names()];
  const params = names.map((name) => requiresGrad(dit.params.get(name)));
  const [m, v] = scope(() => [params.map((p) => zerosLike(p)), params.map((p) => zerosLike(p))] as const);
  const losses: number[] = [];
  for (let step = 1; step <= 3; step++) {
    const loss = lossOf(dit, input);
    const gradients = grad(loss, params) as Tensor[];
    losses.push(await loss.item());
    adamwStep(params, gradients, m, v, { lr, beta1, beta2, eps, weightDecay, step } as Parameters<typeof adamwStep>[4]);
    for (const one of [loss, ...gradients]) one.dispose();
  }
  const last = lossOf(dit, input);
  losses.push(await last.item());
  const { maxRelErr, pass } = compare(from, "out.loss", { shape: [4], data: losses }, { dtype: "f32" });
  assert.ok(pass, `losses ${losses}: ${maxRelErr}`);
  const trained = from.expected.filter((name) => name.startsWith("out.param."));
  assert.ok(trained.length > 10);
  for (const stored of trained) {
    await expectClose(from, stored, dit.params.get(stored.slice("out.param.".length)), "f32");
  }
  for (const one of [last, ...m, ...v]) one.dispose();
  disposeInputs(input);
  dit.params.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test.run();
