// What the functions of pointwise, unary, reduce, fill and loss refuse, and what they say then.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  argmax,
  backward,
  clamp,
  crossEntropy,
  div,
  type ErrorCode,
  full,
  gelu,
  isHunyuanError,
  less,
  max,
  mean,
  mse,
  mul,
  openDevice,
  requiresGrad,
  scope,
  softmax,
  sum,
  sumTo,
  type Tensor,
  tensor,
  where,
} from "../lib/tensor.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const ones = (shape: readonly number[]) => full(shape, 1, { device });

/** fn throws an error of the code whose message holds all the parts. */
function refuses(fn: () => unknown, code: ErrorCode, ...parts: readonly string[]): void {
  try {
    scope(fn);
  } catch (error) {
    if (!isHunyuanError(error)) throw error;
    assert.is(error.code, code);
    for (const part of parts) assert.ok(error.message.includes(part), `"${error.message}" does not say "${part}"`);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

test("shapes that do not broadcast", () => {
  refuses(() => add(ones([2, 3]), ones([4])), "SHAPE_MISMATCH", "add", "[2, 3]", "[4]");
  refuses(() => less(ones([2]), ones([3])), "SHAPE_MISMATCH", "less");
  refuses(() => where(less(ones([2]), 0), ones([3]), 0), "SHAPE_MISMATCH", "where");
  refuses(() => sumTo(ones([2, 3]), [2]), "SHAPE_MISMATCH", "sumTo");
  refuses(() => mse(ones([2, 3]), ones([3])), "SHAPE_MISMATCH", "mse", "[3]");
});

test("types are not promoted", () => {
  const i32: Tensor = full([2], 1, { dtype: "i32", device });
  const f32: Tensor = ones([2]);
  refuses(() => add(f32, i32), "DTYPE_UNSUPPORTED", "add: b is i32", "f32");
  refuses(() => div(i32, i32), "DTYPE_UNSUPPORTED", "div: a is i32");
  refuses(() => add(i32, 0.5), "INVALID_ARGUMENT", "add: b is 0.5", "i32");
  refuses(() => mul(i32, Number.NaN), "INVALID_ARGUMENT", "mul");
  refuses(() => where(f32, f32, 0), "DTYPE_UNSUPPORTED", "where", "bool");
  refuses(() => mse(f32 as Tensor<"f32">, i32 as Tensor<"f32">), "DTYPE_UNSUPPORTED", "mse");
  refuses(() => mean(i32 as Tensor<"f32">), "DTYPE_UNSUPPORTED", "mean: x is i32");
  refuses(() => softmax(i32 as Tensor<"f32">), "DTYPE_UNSUPPORTED", "softmax");
  i32.dispose();
  f32.dispose();
});

test("arguments that are no tensors or make no sense", () => {
  refuses(() => add(1, 2 as never), "INVALID_ARGUMENT", "add", "tensor");
  refuses(() => add(null as never, 2), "INVALID_ARGUMENT", "null");
  refuses(() => gelu("x" as never), "INVALID_ARGUMENT", "tensor");
  refuses(() => gelu(ones([1]), { approximate: "fast" as never }), "INVALID_ARGUMENT", "fast");
  refuses(() => clamp(ones([1]), { min: Number.NaN }), "INVALID_ARGUMENT", "min");
  refuses(() => clamp(full([1], 1, { dtype: "i32", device }), { max: 1.5 }), "INVALID_ARGUMENT", "1.5");
  refuses(() => full([-1], 1), "INVALID_ARGUMENT", "full");
  refuses(() => full([1], 1, { dtype: "f12" as never }), "INVALID_ARGUMENT", "f12");
  refuses(() => sum(ones([2, 3]), { axes: 2 }), "INVALID_ARGUMENT", "axis 2");
  refuses(() => sum(ones([2, 3]), { axes: [0, -2] }), "INVALID_ARGUMENT", "twice");
});

test("nothing has no largest element", () => {
  refuses(() => max(ones([3, 0]), { axes: 1 }), "INVALID_ARGUMENT", "max", "[3, 0]");
  refuses(() => argmax(ones([0])), "INVALID_ARGUMENT", "argmax");
});

test("equal elements share the gradient of max equally", async () => {
  const x = requiresGrad(
    tensor(
      [
        [1, 3, 3, 2],
        [5, 5, 5, 5],
      ],
      { device, dtype: "f32" },
    ),
  );
  scope(() => backward(sum(max(x, { axes: 1 }))));
  assert.equal([...(await x.grad!.read())], [0, 0.5, 0.5, 0, 0.25, 0.25, 0.25, 0.25]);
  x.dispose();
});

test("the gradient of a broadcast operand has its shape and type", async () => {
  const x = requiresGrad(full([3, 4], 2, { dtype: "bf16", device }));
  const b = requiresGrad(full([4], 3, { dtype: "bf16", device }));
  scope(() => backward(sum(mul(x, b))));
  assert.equal([...b.grad!.shape], [4]);
  assert.equal([...(await b.grad!.read())], [6, 6, 6, 6]);
  x.dispose();
  b.dispose();
});

test("what a gradient does not need is not kept", async () => {
  await device.sync();
  const before = device.memory().live;
  const w = requiresGrad(ones([1]));
  const y = scope(() => add(mul(ones([1 << 16]), w), 1));
  await device.sync();
  // mul keeps its first operand for w's gradient, and nothing else; add keeps nothing.
  assert.ok(device.memory().live - before < 2.1 * 4 * (1 << 16));
  y.dispose();
  w.dispose();
});

test("labels outside the classes reject the next wait", async () => {
  const logits = ones([2, 3]);
  const labels = tensor([0, 3], { dtype: "i32", device });
  const loss = crossEntropy(logits, labels);
  try {
    await loss.read();
    assert.unreachable("expected an error");
  } catch (error) {
    if (!isHunyuanError(error, "INVALID_ARGUMENT")) throw error;
    assert.match(error.message, "label");
  }
  for (const t of [logits, labels, loss]) t.dispose();
});

test.run();
