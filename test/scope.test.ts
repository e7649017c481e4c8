/** Scopes: who lives on, who goes, and what an await inside one does. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { add, isHunyuanError, mul, openDevice, scope, type Tensor, tensor } from "../lib/tensor.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

async function liveTensors(): Promise<number> {
  await device.sync();
  return device.memory().tensors;
}

test("a scope returns its result and nothing else stays", async () => {
  using x = tensor([1, 2], { device });
  const before = await liveTensors();
  const y = scope(() => add(mul(x, 2), 1));
  assert.is(await liveTensors(), before + 1);
  assert.equal(Array.from(await y.read()), [3, 5]);
  y.dispose();
});

test("arrays and plain objects of tensors come out whole", async () => {
  using x = tensor([1], { device });
  const { sum, parts } = scope(() => {
    const a = add(x, 1);
    const b = add(x, 2);
    add(x, 3);
    return { sum: add(a, b), parts: [a, b] };
  });
  assert.is(await sum.item(), 5);
  for (const t of [sum, ...parts]) t.dispose();
});

test("inner results belong to the outer scope", async () => {
  using x = tensor([1], { device });
  const before = await liveTensors();
  let inner: Tensor | undefined;
  scope(() => {
    inner = scope(() => add(x, 1));
    assert.not(inner.disposed);
  });
  assert.ok(inner?.disposed);
  assert.is(await liveTensors(), before);
});

test("using and keep", async () => {
  using x = tensor([1], { device });
  const before = await liveTensors();
  const kept = (() => {
    using s = scope();
    return s.keep(add(mul(x, 3), 1));
  })();
  assert.is(await liveTensors(), before + 1);
  assert.is(await kept.item(), 4);
  kept.dispose();
});

test("an exception leaves nothing behind", async () => {
  using x = tensor([1], { device });
  const before = await liveTensors();
  assert.throws(
    () =>
      scope(() => {
        add(x, 1);
        throw new Error("stop");
      }),
    "stop",
  );
  assert.is(await liveTensors(), before);
});

test("a function that returns a promise is refused", () => {
  try {
    scope(async () => 1);
    assert.unreachable();
  } catch (error) {
    assert.ok(isHunyuanError(error, "SCOPE_ACROSS_AWAIT"));
  }
});

test("a scope held across an await ends there and says so", async () => {
  using x = tensor([1], { device });
  const before = await liveTensors();
  let inside: Tensor | undefined;
  const failed = await (async () => {
    using _s = scope();
    inside = add(x, 1);
    await Promise.resolve();
  })().catch((error) => error);
  assert.ok(isHunyuanError(failed, "SCOPE_ACROSS_AWAIT"));
  assert.ok(inside?.disposed);
  assert.is(await liveTensors(), before);
});

test("a tensor disposed of by hand inside a scope is not disposed of twice", () => {
  using x = tensor([1], { device });
  scope(() => add(x, 1).dispose());
});

test.run();
