/** Layout ops where a table of cases does not reach: what is a view, what it costs, what is refused, and very large ones. */
import * as assert from "uvu/assert";
import {
  backward,
  broadcastTo,
  cast,
  concat,
  contiguous,
  type Device,
  embedding,
  fromBytes,
  gather,
  isHunyuanError,
  pad,
  patchify,
  permute,
  repeat,
  requiresGrad,
  reshape,
  scope,
  select,
  slice,
  split,
  squeeze,
  sum,
  type Tensor,
  tensor,
  transpose,
  unpatchify,
  unsqueeze,
  zeros,
} from "../../lib/tensor.js";
import { onEachDevice } from "../support/each-device.js";
import { rejection } from "../support/refusal.js";

const layout = await onEachDevice("layout");

const read = async (t: Tensor) => Array.from(await t.read(), Number);

layout.test("views take no memory, and outlive what they look at", async (device) => {
  const x = tensor(
    Float32Array.from({ length: 60 }, (_, i) => i),
    { shape: [3, 4, 5], device },
  );
  await device.sync();
  const { live } = device.memory();
  const views = [
    slice(x, 1, 1, 3),
    ...split(x, [2, 3], 2),
    select(x, 0, 1),
    reshape(x, [12, 5]),
    unsqueeze(x, 1),
    permute(x, [1, 0, 2]),
    broadcastTo(x, [7, 3, 4, 5]),
  ];
  await device.sync();
  assert.is(device.memory().live, live);
  x.dispose();
  const want = [0, 1, 2].flatMap((i) => Array.from({ length: 10 }, (_, j) => 20 * i + 5 + j));
  assert.equal(await read(views[0] as Tensor), want);
  for (const view of views) view.dispose();
});

layout.test("which permutations, selections and reshapes copy", (device) => {
  scope(() => {
    const x = zeros([2, 3, 4], { device });
    const shares = (y: Tensor) => y.strides.join() !== "" && !y.isDense;
    assert.ok(shares(permute(x, [1, 0, 2])));
    assert.equal(permute(x, [0, 2, 1]).strides, [12, 3, 1]);
    assert.equal(select(x, 2, 0).strides, [3, 1]);
    assert.equal(select(x, 1, 0).strides, [12, 1]);
    assert.equal(reshape(slice(x, 0, 0, 1), [12]).strides, [1]);
    assert.equal(reshape(slice(x, 2, 0, 2), [2, 3, 2, 1]).strides, [12, 4, 1, 1]);
    assert.equal(reshape(slice(x, 2, 0, 2), [6, 2]).strides, [4, 1]);
    assert.equal(reshape(slice(x, 2, 0, 2), [12]).strides, [1]);
    assert.equal(broadcastTo(zeros([3, 1], { device }), [2, 3, 4]).strides, [12, 4, 1]);
    assert.equal(broadcastTo(zeros([1, 4], { device }), [2, 3, 4]).strides, [0, 0, 1]);
    assert.is(cast(x, "f32"), x);
    assert.is(contiguous(x), x);
    assert.is(repeat(x, [1, 1, 1]), x);
  });
});

layout.test("outside of scopes each call leaves one tensor, the result", async (device) => {
  const x = zeros([1, 2, 4, 6, 3], { device });
  const view = slice(x, 4, 0, 2);
  const calls = [
    () => patchify(view),
    () => repeat(view, [2, 1, 3, 1, 1]),
    () => reshape(view, [8, 12]),
    () => cast(view, "bf16"),
    () => concat([view, view], 1),
  ];
  for (const call of calls) {
    const { tensors } = device.memory();
    const y = call();
    assert.is(device.memory().tensors, tensors + 1);
    y.dispose();
  }
  view.dispose();
  x.dispose();
});

layout.test("parts of a split used more than once, and one not at all", async (device) => {
  const x = requiresGrad(tensor([[1, 2, 3, 4, 5, 6]], { device }));
  scope(() => {
    const [a, , c] = split(x, 3) as [Tensor, Tensor, Tensor];
    backward(concat([c, a, c], 1), { gradient: tensor([[1, 2, 10, 20, 100, 200]], { device }) });
  });
  assert.equal(await read(x.grad as Tensor), [10, 20, 0, 0, 101, 202]);
  x.dispose();
});

layout.test("gradients of several types meet in a split of a bf16 parameter", async (device) => {
  const x = requiresGrad(
    tensor(
      [
        [1, 2],
        [3, 4],
      ],
      { dtype: "bf16", device },
    ),
  );
  scope(() => {
    const [table, rest] = split(x, 2, 0) as [Tensor<"bf16">, Tensor<"bf16">];
    const rows = embedding(table, tensor([0, 0, 0], { dtype: "i32", device }));
    backward(concat([rows, rest], 0), {
      gradient: tensor(
        [
          [1, 1],
          [1, 1],
          [1, 2 ** -10],
          [5, 6],
        ],
        { dtype: "bf16", device },
      ),
    });
  });
  const grad = x.grad as Tensor;
  assert.is(grad.dtype, "f32");
  // 2 + 2^-10 has no room in bf16.
  assert.equal(await read(grad), [3, 2 + 2 ** -10, 5, 6]);
  x.dispose();
});

layout.test("no gradient passes through integers", (device) => {
  scope(() => {
    const x = requiresGrad(tensor([1.5, 2.5], { device }));
    assert.is(cast(x, "i32").requiresGrad, false);
    assert.is(cast(x, "bf16").requiresGrad, true);
  });
});

layout.test("an index outside the axis fails at the read; the device works on", async (device) => {
  for (const bad of [-1, 4, 2 ** 31 - 1]) {
    const x = zeros([4, 3], { device });
    const ids = tensor([0, bad], { dtype: "i32", device });
    const y = gather(x, ids);
    const error = await rejection(y.read());
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, /gather: an index lies outside the axis/);
    for (const t of [x, ids, y]) t.dispose();
  }
  const fine = zeros([2], { device });
  assert.equal(await read(fine), [0, 0]);
  fine.dispose();
});

layout.test("cast rounds to nearest even, whatever the source", async (device) => {
  const exact = tensor([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -40, 3.4e38], { dtype: "f64", device });
  const narrow = cast(exact, "bf16");
  assert.equal(await read(narrow), [1, 1 + 2 ** -6, 1 + 2 ** -7, Number.POSITIVE_INFINITY]);
  const big = tensor(BigInt64Array.of(2n ** 53n + 1n, -(2n ** 62n)), { device });
  const [wide, back] = [cast(big, "f64"), cast(big, "i32")];
  assert.equal(await read(wide), [2 ** 53, -(2 ** 62)]);
  assert.equal(await read(back), [2 ** 31 - 1, -(2 ** 31)]);
  for (const t of [exact, narrow, big, wide, back]) t.dispose();
});

layout.test("what is refused", (device) => {
  scope(() => {
    const refused = (
      code: "INVALID_ARGUMENT" | "SHAPE_MISMATCH" | "DTYPE_UNSUPPORTED",
      ...calls: (() => unknown)[]
    ) => {
      for (const call of calls) assert.throws(call, (error: unknown) => isHunyuanError(error, code), String(call));
    };
    const x = zeros([2, 3, 4], { device });
    const ids = tensor([0], { dtype: "i32", device });
    refused(
      "INVALID_ARGUMENT",
      () => slice(x, 3, 0),
      () => slice(x, 0, 3),
      () => slice(x, 0, 1, 0),
      () => slice(x, 0, 0.5),
      () => slice(x, 0, 0, Number.NaN),
      () => split(x, 0),
      () => select(x, 0, 2),
      () => permute(x, [0, 1]),
      () => permute(x, [0, 1, 1]),
      () => transpose(x, 0, 3),
      () => unsqueeze(x, 4),
      () => unsqueeze(zeros([1, 1, 1, 1, 1, 1], { device }), 0),
      () => reshape(x, [-2, 12]),
      () => reshape(x, [-1, -1]),
      () => reshape(x, [1, 1, 1, 1, 1, 1, 24]),
      () => concat([]),
      () => concat([x], 3),
      () =>
        pad(x, [
          [0, 0],
          [0, 0],
        ]),
      () =>
        pad(x, [
          [0, 0],
          [0, 0],
          [-1, 0],
        ]),
      () =>
        pad(
          x,
          [
            [0, 0],
            [0, 0],
            [0, 0],
          ],
          { mode: "reflect" as "zero" },
        ),
      () => gather(x, ids, { axis: 3 }),
      () => repeat(x, [1, 2]),
      () => repeat(x, [1, 2, -1]),
    );
    refused(
      "SHAPE_MISMATCH",
      () => split(x, [1, 2]),
      () => split(x, 3),
      () => split(x, [5, -1]),
      () => reshape(x, [5, 5]),
      () => reshape(x, [-1, 7]),
      () => squeeze(x, 0),
      () => broadcastTo(x, [3, 4]),
      () => broadcastTo(x, [2, 3, 5]),
      () => concat([x, zeros([2, 3], { device })]),
      () => concat([x, zeros([2, 4, 4], { device })]),
      () => pad(zeros([0], { device }), [[1, 0]], { mode: "replicate" }),
      () => embedding(x, ids),
      () => patchify(zeros([1, 1, 3, 2, 1], { device })),
      () => unpatchify(zeros([1, 3, 4], { device }), [1, 2, 4]),
    );
    refused("DTYPE_UNSUPPORTED", () => concat([x, zeros([2, 3, 4], { dtype: "f64", device }) as Tensor<never>]));
    refused("DTYPE_UNSUPPORTED", () => gather(x, zeros([1], { device }) as Tensor<never>));
  });
});

/** 2 GiB and a little: element i is i mod 251, so that a place that lost its upper bits shows. */
function large(device: Device): Tensor<"u8"> {
  const size = 2 ** 31 + 7;
  const rows = Math.ceil(size / 251);
  const cycle = fromBytes(
    Uint8Array.from({ length: 251 }, (_, i) => i),
    { dtype: "u8", shape: [1, 251], device },
  );
  return slice(reshape(contiguous(broadcastTo(cycle, [rows, 251])), [-1]), 0, 0, size);
}

layout.heavy("a u8 tensor of 2^31 + 7 elements: slices, copies, joins, casts, sums", async (device) => {
  const n = 2 ** 31 + 7;
  const tail = Array.from({ length: 9 }, (_, i) => (n - 9 + i) % 251);
  const check = async (make: (x: Tensor<"u8">) => Tensor, want: number[], what: string) => {
    const end = scope(() => make(large(device)));
    assert.equal(await read(end), want, what);
    end.dispose();
  };
  await check((x) => slice(x, 0, -9), tail, "slice");
  await check((x) => cast(slice(x, 0, -9), "i32"), tail, "cast of a slice");
  await check((x) => slice(contiguous(slice(x, 0, 1)), 0, -9), tail, "copy of a slice");
  await check((x) => slice(concat([slice(x, 0, 0, 5), slice(x, 0, 5)]), 0, -9), tail, "concat");
  // Whole cycles of 0 … 250, then the first few of one more.
  const rest = n % 251;
  const total = ((n - rest) / 251) * ((250 * 251) / 2) + (rest * (rest - 1)) / 2;
  await check((x) => sum(x), [total], "sum");
  await check((x) => slice(pad(x, [[3, 0]]), 0, -9), tail, "pad");
  const pairs = (x: Tensor<"u8">) => transpose(reshape(slice(x, 0, 7), [2, 2 ** 30]));
  await check((x) => slice(reshape(pairs(x), [-1]), 0, -2), [(2 ** 30 + 6) % 251, (2 ** 31 + 6) % 251], "transpose");
});

layout.run();
