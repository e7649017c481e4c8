/** AdamW and Muon against plain f64 code, masters of bf16 parameters, groups, skipped steps, the average. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DType, mul, openDevice, scope, sum, type Tensor, tensor } from "../../lib/tensor.js";
import { Ema } from "../../lib/train/ema.js";
import { Learner } from "../../lib/train/learner.js";
import { orthogonalised } from "../../lib/train/muon.js";
import { matchesAny } from "../../lib/train/names.js";
import { Optimizer } from "../../lib/train/optimizer.js";
import { ParameterSet } from "../../lib/train/parameters.js";
import { rateFactor } from "../../lib/train/schedule.js";
import { living } from "../support/dit-case.js";
import { refusal } from "../support/refusal.js";

const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const wave = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(1.37 * i + seed) + 0.3 * Math.cos(0.11 * i * i + 2 * seed));
const shapeSize = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const upload = (values: Float64Array, shape: readonly number[], dtype: DType): Tensor =>
  tensor(values, { shape, dtype, device });

/** Gives a leaf the gradient `values`, through the tape. */
function pull(learner: Learner, leaf: Tensor, values: Float64Array): void {
  scope(() => {
    const weights = tensor(values, { shape: leaf.shape, dtype: leaf.dtype, device });
    learner.accumulate(sum(mul(leaf, weights)) as Tensor<"f32">);
  });
}

function farthest(seen: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.is(seen.length, expected.length);
  let worst = 0;
  for (let i = 0; i < seen.length; i++)
    worst = Math.max(worst, Math.abs((seen[i] as number) - (expected[i] as number)));
  return worst;
}

/** AdamW as its paper has it, on one tensor. */
function referenceAdamw(start: Float64Array, grads: readonly Float64Array[], lr: number, decay: number): Float64Array {
  const [value, m, v] = [Float64Array.from(start), new Float64Array(start.length), new Float64Array(start.length)];
  grads.forEach((grad, t) => {
    for (let i = 0; i < value.length; i++) {
      const g = grad[i] as number;
      m[i] = 0.9 * (m[i] as number) + 0.1 * g;
      v[i] = 0.999 * (v[i] as number) + 0.001 * g * g;
      const mHat = (m[i] as number) / (1 - 0.9 ** (t + 1));
      const vHat = (v[i] as number) / (1 - 0.999 ** (t + 1));
      value[i] = (value[i] as number) * (1 - lr * decay) - (lr * mHat) / (Math.sqrt(vHat) + 1e-8);
    }
  });
  return value;
}

type Matrix = { readonly rows: number; readonly columns: number; readonly data: Float64Array };

function product(a: Matrix, b: Matrix): Matrix {
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < b.columns; j++)
      for (let k = 0; k < a.columns; k++)
        data[i * b.columns + j] =
          (data[i * b.columns + j] as number) +
          (a.data[i * a.columns + k] as number) * (b.data[k * b.columns + j] as number);
  return { rows: a.rows, columns: b.columns, data };
}

const transposed = ({ rows, columns, data }: Matrix): Matrix => ({
  rows: columns,
  columns: rows,
  data: Float64Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)] as number),
});

/** Five Newton–Schulz iterations. */
function referenceOrthogonalised(matrix: Matrix): Matrix {
  if (matrix.rows > matrix.columns) return transposed(referenceOrthogonalised(transposed(matrix)));
  const size = Math.sqrt(matrix.data.reduce((all, x) => all + x * x, 0));
  let x: Matrix = { ...matrix, data: matrix.data.map((one) => one / size) };
  for (let i = 0; i < 5; i++) {
    const gram = product(x, transposed(x));
    const square = product(gram, gram);
    const polynomial = { ...gram, data: gram.data.map((g, j) => -4.775 * g + 2.0315 * (square.data[j] as number)) };
    const moved = product(polynomial, x);
    x = { ...x, data: x.data.map((one, j) => 3.4445 * one + (moved.data[j] as number)) };
  }
  return x;
}

function referenceMuon(
  start: Float64Array,
  grads: readonly Float64Array[],
  rows: readonly number[],
  columns: number,
  lr: number,
  decay: number,
): Float64Array {
  const value = Float64Array.from(start);
  const momentum = new Float64Array(value.length);
  for (const grad of grads) {
    for (let i = 0; i < value.length; i++) momentum[i] = 0.95 * (momentum[i] as number) + (grad[i] as number);
    let at = 0;
    for (const count of rows) {
      const [from, to] = [at * columns, (at + count) * columns];
      const data = grad.slice(from, to).map((g, i) => g + 0.95 * (momentum[from + i] as number));
      const turned = referenceOrthogonalised({ rows: count, columns, data });
      const size = lr * 0.2 * Math.sqrt(Math.max(count, columns));
      for (let i = from; i < to; i++) {
        value[i] = (value[i] as number) * (1 - lr * decay) - size * (turned.data[i - from] as number);
      }
      at += count;
    }
  }
  return value;
}

for (const dtype of ["f64", "f32"] as const) {
  const bound = dtype === "f64" ? 1e-12 : 2e-6;

  test(`AdamW over many tensors, ${dtype}`, async () => {
    const before = living(device);
    const shapes = { "a.weight": [5, 7], "a.bias": [5], scale: [3, 1, 2, 2] } as const;
    const starts = Object.entries(shapes).map(([name, shape], i) => [name, shape, wave(shapeSize(shape), i)] as const);
    const tensors = starts.map(([name, shape, values]) => [name, upload(values, shape, dtype)] as const);
    const learner = new Learner(new ParameterSet(tensors), { lr: 0.01, weightDecay: 0.1 });
    const grads = starts.map(([, shape], i) => [1, 2, 3].map((t) => wave(shapeSize(shape), 10 * i + t)));
    for (let t = 0; t < 3; t++) {
      tensors.forEach(([, leaf], i) => {
        pull(learner, leaf, grads[i]?.[t] as Float64Array);
      });
      const { gradNorm, skipped } = await learner.update();
      const expected = Math.sqrt(
        grads.reduce((all, list) => all + (list[t] as Float64Array).reduce((s, g) => s + g * g, 0), 0),
      );
      assert.ok(Math.abs(gradNorm - expected) < 1e-5 * expected);
      assert.not(skipped);
    }
    for (const [i, [name, shape, start]] of starts.entries()) {
      const expected = referenceAdamw(start, grads[i] as Float64Array[], 0.01, shape.length > 1 ? 0.1 : 0);
      const seen = await ((tensors[i] as [string, Tensor])[1] as Tensor<"f64">).read();
      assert.ok(farthest(seen, expected) < bound, `${name}: ${farthest(seen, expected)}`);
    }
    learner.dispose();
    for (const [, one] of tensors) one.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });

  test(`Muon: wide, tall and fused matrices, convolutions, ${dtype}`, async () => {
    const before = living(device);
    const weights = {
      "wide.weight": { shape: [4, 9], rows: [4] },
      "tall.weight": { shape: [10, 4], rows: [10] },
      "qkv.weight": { shape: [15, 5], rows: [5, 5, 5] },
      "uneven.weight": { shape: [13, 4], rows: [4, 4, 5] },
      "conv.weight": { shape: [6, 1, 3, 3, 2], rows: [6] },
    } as const;
    const list = Object.entries(weights).map(([name, { shape, rows }], i) => {
      const start = wave(shapeSize(shape), i);
      return { name, rows, start, columns: shapeSize(shape.slice(1)), leaf: upload(start, shape, dtype) };
    });
    const rowsOf = (name: string) => list.find((one) => one.name === name)?.rows;
    const learner = new Learner(new ParameterSet(list.map(({ name, leaf }) => [name, leaf])), {
      lr: 0.02,
      weightDecay: 0.05,
      groups: [{ kind: "muon", match: ["*.weight"] }],
      rowsOf,
    });
    const grads = list.map(({ start }, i) => [1, 2].map((t) => wave(start.length, 20 * i + t)));
    for (let t = 0; t < 2; t++) {
      list.forEach(({ leaf }, i) => {
        pull(learner, leaf, grads[i]?.[t] as Float64Array);
      });
      await learner.update();
    }
    for (const [i, { name, rows, columns, start, leaf }] of list.entries()) {
      const expected = referenceMuon(start, grads[i] as Float64Array[], rows, columns, 0.02, 0.05);
      const worst = farthest(await (leaf as Tensor<"f64">).read(), expected);
      assert.ok(worst < 10 * bound, `${name}: ${worst}`);
    }
    learner.dispose();
    for (const { leaf } of list) leaf.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("orthogonalised: singular values near one, whatever they were", async () => {
  // Diagonals, so that the singular values can be read off.
  const [n, sizes] = [4, [1, 0.5, 0.1, 0.05]];
  const data = new Float64Array(n * n);
  sizes.forEach((size, i) => {
    data[i * n + i] = size;
  });
  const turned = scope(() => orthogonalised(upload(data, [1, n, n], "f64") as Tensor<"f64">));
  const seen = await turned.read();
  sizes.forEach((_, i) => {
    const value = seen[i * n + i] as number;
    assert.ok(value > 0.6 && value < 1.25, `${i}: ${value}`);
  });
  turned.dispose();
});

test("bf16: steps smaller than its rounding add up in the masters", async () => {
  const before = living(device);
  const weight = tensor(new Float32Array(64).fill(1), { shape: [8, 8], dtype: "bf16", device });
  const matrix = tensor(new Float32Array(64).fill(1), { shape: [8, 8], dtype: "bf16", device });
  const set = new ParameterSet([
    ["w", weight],
    ["m", matrix],
  ]);
  const options = { lr: 1e-4, weightDecay: 0, groups: [{ kind: "muon", match: ["m"] }] } as const;
  const learner = new Learner(set, options);
  const ones = new Float64Array(64).fill(1);
  for (let t = 0; t < 50; t++) {
    pull(learner, weight, ones);
    pull(learner, matrix, ones);
    await learner.update();
  }
  // AdamW goes down by lr a step: 0.005 in all, while bf16's neighbours of 1 are 0.0039 below and 0.0078 above.
  const lowered = (await set.find("w")?.master?.read()) as Float32Array;
  assert.ok(Math.abs((lowered[0] as number) - 0.995) < 1e-5);
  assert.is((await weight.read())[0], 0.99609375);
  const wide = (await set.find("m")?.master?.read()) as Float32Array;
  assert.ok((wide[0] as number) < 1 - 1e-4);
  assert.equal(
    await matrix.read(),
    Float32Array.from(wide, (x) => Math.round(x * 256) / 256),
  );
  learner.dispose();
  weight.dispose();
  matrix.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("a parameter without a gradient stays, and its first step is a first step", async () => {
  const start = wave(6, 1);
  const [early, late] = [upload(start, [2, 3], "f64"), upload(start, [2, 3], "f64")];
  const learner = new Learner(
    new ParameterSet([
      ["early", early],
      ["late", late],
    ]),
    { lr: 0.1, weightDecay: 0 },
  );
  const grad = wave(6, 2);
  pull(learner, early, grad);
  await learner.update();
  assert.equal(await late.read(), start);
  pull(learner, early, grad);
  pull(learner, late, grad);
  await learner.update();
  const seen = (await late.read()) as Float64Array;
  assert.ok(farthest(seen, referenceAdamw(start, [grad], 0.1, 0)) < 1e-12);
  assert.ok(farthest((await early.read()) as Float64Array, referenceAdamw(start, [grad, grad], 0.1, 0)) < 1e-12);
  learner.dispose();
  early.dispose();
  late.dispose();
});

test("clipping by the norm of all; gradients that are not finite move nothing", async () => {
  const leaf = upload(new Float64Array([1, 2]), [2], "f64");
  const learner = new Learner(new ParameterSet([["x", leaf]]), { lr: 1, eps: 10, beta1: 0, beta2: 0, clipNorm: 5 });
  pull(learner, leaf, new Float64Array([30, 40]));
  assert.is((await learner.update()).gradNorm, 50);
  // Clipped to (3, 4): each moves by g / (|g| + 10).
  const moved = (await leaf.read()) as Float64Array;
  assert.ok(farthest(moved, [1 - 3 / 13, 2 - 4 / 14]) < 1e-12);
  pull(learner, leaf, new Float64Array([Number.NaN, 1]));
  assert.ok((await learner.update()).skipped);
  assert.equal(await leaf.read(), moved);
  assert.is(leaf.grad, undefined);
  assert.equal(await learner.update(), { gradNorm: 0, skipped: false });
  learner.dispose();
  leaf.dispose();
});

test("the average: follows, is put in place and taken out bit for bit", async () => {
  const before = living(device);
  const leaf = tensor(new Float32Array([1, 2, 3]), { dtype: "bf16", device });
  const set = new ParameterSet([["x", leaf]]);
  const ema = new Ema(set, { decay: 0.9 });
  const learner = new Learner(set, { lr: 0.5, weightDecay: 0 });
  const expected = [1, 2, 3];
  for (let n = 1; n <= 30; n++) {
    pull(learner, leaf, new Float64Array([1, -1, 0.5]));
    await learner.update();
    ema.update();
    const now = (await set.find("x")?.master?.read()) as Float32Array;
    const keep = Math.min(0.9, (1 + n) / (10 + n));
    expected.forEach((value, i) => {
      expected[i] = keep * value + (1 - keep) * (now[i] as number);
    });
  }
  const average = await (ema.values().get("x") as Tensor<"f32">).read();
  assert.ok(farthest(average, expected) < 1e-4, `${farthest(average, expected)}`);
  const own = await leaf.read();
  const shown = await ema.using(() => leaf.read());
  assert.ok(farthest(shown, average) < 0.1 && farthest(shown, own) > 0.5);
  await ema.using(() => Promise.reject(new Error("out"))).then(assert.unreachable, () => {});
  assert.equal(await leaf.read(), own);
  learner.dispose();
  ema.dispose();
  leaf.dispose();
  await device.sync();
  assert.equal(living(device), before);
});

test("learning rates", () => {
  assert.is(rateFactor({}, 7), 1);
  assert.is(rateFactor({ warmup: 4 }, 0), 0.25);
  assert.is(rateFactor({ warmup: 4 }, 3), 1);
  const cosine = { kind: "cosine", warmup: 100, steps: 1000, final: 0.1 } as const;
  assert.is(rateFactor(cosine, 100), 1);
  assert.ok(Math.abs(rateFactor(cosine, 550) - 0.55) < 1e-12);
  assert.ok(Math.abs(rateFactor(cosine, 5000) - 0.1) < 1e-12);
});

test("patterns of names, and what is refused", () => {
  assert.ok(matchesAny("double_blocks.3.img_attn_qkv.weight", ["*_blocks.*.weight"]));
  assert.ok(matchesAny("ab", ["ab"]) && matchesAny("ab", ["*"]) && matchesAny("aXbXb", ["a*b"]));
  assert.not(matchesAny("ab", ["ab*b"]) || matchesAny("xab", ["ab"]) || matchesAny("a", ["a*a"]));
  const leaf = upload(wave(2, 1), [2], "f32");
  const set = new ParameterSet([["x", leaf]]);
  assert.is(
    refusal(() => new Optimizer(set, { lr: 1, groups: [{ kind: "muon", match: ["*"] }] })).code,
    "INVALID_ARGUMENT",
  );
  assert.is(refusal(() => new ParameterSet([])).code, "INVALID_ARGUMENT");
  assert.is(refusal(() => rateFactor({ kind: "cosine" }, 3)).code, "INVALID_ARGUMENT");
  leaf.dispose();
});

test.run();
