/** The tape: chains, sharing, views, accumulation, checkpoints, and what is freed when. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  backward,
  cast,
  checkpoint,
  concat,
  detach,
  exp,
  grad,
  isHunyuanError,
  linear,
  matmul,
  mean,
  mul,
  noGrad,
  ones,
  openDevice,
  requiresGrad,
  reshape,
  scope,
  silu,
  slice,
  split,
  square,
  sum,
  type Tensor,
  tensor,
} from "../lib/tensor.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const leaf = (data: number[] | number[][]) => requiresGrad(tensor(data, { dtype: "f64", device }));

async function gradOf(t: Tensor): Promise<number[]> {
  assert.ok(t.grad !== undefined, "no gradient");
  return Array.from(await (t.grad as Tensor).read(), Number);
}

test("a chain", async () => {
  using x = leaf([1, 2, 3]);
  scope(() => backward(sum(square(mul(x, 2)))));
  assert.equal(await gradOf(x), [8, 16, 24]);
});

test("a tensor used twice gathers both gradients, and a second backward adds", async () => {
  using x = leaf([3]);
  scope(() => {
    const y = add(mul(x, x), x);
    backward(y);
    backward(y);
  });
  assert.equal(await gradOf(x), [14]);
});

test("a deep diamond is walked once a node", async () => {
  using x = leaf([1]);
  scope(() => {
    let y: Tensor = x;
    for (let i = 0; i < 40; i++) y = add(y, y as typeof x);
    backward(y);
  });
  assert.equal(await gradOf(x), [2 ** 40]);
});

test("views: slice, split, reshape, concat", async () => {
  using x = leaf([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  scope(() => {
    const [a, b] = split(x, [1, 2], 1) as [typeof x, typeof x];
    const rows = reshape(slice(x, 0, 1, 2), [3]);
    backward(add(sum(mul(concat([b, a], 1), 10)), sum(rows)));
  });
  assert.equal(await gradOf(x), [10, 10, 10, 11, 11, 11]);
});

test("an unused part of a split gets zeros", async () => {
  using x = leaf([1, 2, 3, 4]);
  scope(() => backward(sum(square(split(x, [1, 3], 0)[1] as typeof x))));
  assert.equal(await gradOf(x), [0, 4, 6, 8]);
});

test("what grad() answers belongs to the scope that it is called in", async () => {
  const device = openDevice("cpu");
  const total = scope(() => {
    const x = requiresGrad(ones([3], { device }));
    const loss = sum(square(x));
    return add(loss, sum(grad(loss, [x])[0] as Tensor<"f32">));
  });
  assert.is(await total.item(), 9);
  total.dispose();
  await device.sync();
  assert.is(device.memory().tensors, 0);
  await device.dispose();
});

test("grad() leaves .grad alone and answers undefined for strangers", async () => {
  using x = leaf([2]);
  using other = leaf([2]);
  const [dx, none] = scope(() => grad(square(x), [x, other]));
  assert.is(await (dx as Tensor).item(), 4);
  assert.is(none, undefined);
  assert.is(x.grad, undefined);
  dx?.dispose();
});

test("noGrad and detach cut the graph", () => {
  using x = leaf([2]);
  scope(() => {
    assert.not(noGrad(() => square(x)).requiresGrad);
    assert.not(detach(square(x)).requiresGrad);
    assert.ok(square(x).requiresGrad);
  });
});

test("bf16 parameters gather their gradients in f32", async () => {
  using x = requiresGrad(tensor([1, 1], { dtype: "bf16", device }));
  scope(() => {
    for (let i = 0; i < 300; i++) backward(sum(x));
  });
  assert.is(x.grad?.dtype, "f32");
  assert.equal(await gradOf(x), [300, 300]);
});

test("a bf16 parameter used in two ways gathers f32 and bf16 gradients in one sum", async () => {
  using w = requiresGrad(tensor([[0.5, -1]], { dtype: "bf16", device }));
  using x = tensor([[1, 2]], { dtype: "bf16", device });
  scope(() => backward(add(sum(linear(x, mul(w, 1))), sum(mul(w, 1)))));
  assert.equal(await gradOf(w), [2, 3]);
  scope(() => {
    const doubled = mul(w, 2);
    backward(add(sum(linear(x, doubled)), sum(doubled)));
  });
  assert.equal(await gradOf(w), [6, 9]);
});

test("gradients flow through casts", async () => {
  using x = requiresGrad(tensor([1.5], { dtype: "f32", device }));
  scope(() => backward(cast(square(cast(x, "f64")), "f32")));
  assert.equal(await gradOf(x), [3]);
});

test("a checkpoint gives the same gradients, for inputs and for weights it closes over", async () => {
  const run = async (wrap: boolean) => {
    using x = leaf([
      [0.3, -1.2],
      [0.5, 2],
    ]);
    using w = leaf([
      [1, 0.5],
      [-0.7, 0.2],
    ]);
    scope(() => {
      const block = (h: Tensor) => silu(matmul(h as typeof x, w));
      const h = wrap ? checkpoint(block, x) : block(x);
      const again = wrap ? checkpoint(block, h) : block(h);
      backward(mean(exp(again as typeof x)));
    });
    return [...(await gradOf(x)), ...(await gradOf(w))];
  };
  const [plain, saved] = [await run(false), await run(true)];
  plain.forEach((v, i) => assert.ok(Math.abs(v - (saved[i] as number)) < 1e-12 * Math.abs(v)));
});

test("checkpoints nest and may have several outputs", async () => {
  using x = leaf([2]);
  scope(() => {
    const outer = (a: Tensor) => {
      const b = checkpoint((c: Tensor) => square(c as typeof x), a);
      return [mul(b as typeof x, 3), add(b as typeof x, a as typeof x)] as const;
    };
    const [p, q] = checkpoint(outer, x);
    backward(mul(p, q));
  });
  // p q = 3x²(x² + x): derivative 12x³ + 9x²
  assert.equal(await gradOf(x), [132]);
});

test("a checkpoint saves memory", async () => {
  const peak = async (wrap: boolean) => {
    await using own = openDevice("cpu");
    const x = requiresGrad(tensor(new Float32Array(1 << 18).fill(0.1), { device: own }));
    scope(() => {
      let h: Tensor = x;
      for (let i = 0; i < 8; i++) {
        const block = (a: Tensor) => silu(silu(silu(silu(a as Tensor<"f32">))));
        h = wrap ? checkpoint(block, h) : block(h);
      }
      backward(mean(h as Tensor<"f32">));
    });
    await own.sync();
    const bytes = own.memory().peak;
    x.dispose();
    return bytes;
  };
  assert.ok((await peak(true)) < 0.6 * (await peak(false)));
});

test("a graph that is never walked is freed with its tensors", async () => {
  using x = leaf([1, 2]);
  await device.sync();
  const before = device.memory();
  scope(() => {
    square(mul(x, add(x, x)));
  });
  await device.sync();
  const after = device.memory();
  assert.is(after.tensors, before.tensors);
  assert.is(after.live, before.live);
});

test("a very long chain does not overflow the stack", async () => {
  using x = leaf([1]);
  scope(() => {
    let y: Tensor<"f64"> = x as Tensor<"f64">;
    for (let i = 0; i < 20_000; i++) y = add(y, 1);
    backward(y);
  });
  assert.equal(await gradOf(x), [1]);
});

test("misuse is told by code", () => {
  using x = leaf([1, 2]);
  using plain = tensor([1], { device });
  const code = (fn: () => unknown) => {
    try {
      scope(() => void fn());
    } catch (error) {
      return isHunyuanError(error) ? error.code : String(error);
    }
    return "nothing";
  };
  assert.is(
    code(() => backward(plain)),
    "GRADIENT_UNAVAILABLE",
  );
  assert.is(
    code(() => backward(square(x))),
    "SHAPE_MISMATCH",
  );
  assert.is(
    code(() => backward(square(x), { gradient: plain })),
    "SHAPE_MISMATCH",
  );
  assert.is(
    code(() => grad(sum(x), [plain])),
    "GRADIENT_UNAVAILABLE",
  );
  assert.is(
    code(() => requiresGrad(square(x))),
    "INVALID_ARGUMENT",
  );
});

test.run();
