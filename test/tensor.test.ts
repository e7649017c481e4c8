/** Tensors from and to JavaScript's data, what they say of themselves, and how they end. */
import { inspect } from "node:util";
import ndarray from "ndarray";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  bytesOf,
  cast,
  type DType,
  dtypes,
  fromBytes,
  type HunyuanError,
  isHunyuanError,
  openDevice,
  readNd,
  reshape,
  slice,
  type Tensor,
  tensor,
} from "../lib/tensor.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

async function values(t: Tensor): Promise<number[]> {
  const read = Array.from(await t.read(), Number);
  t.dispose();
  return read;
}

function thrown(fn: () => unknown): HunyuanError {
  try {
    fn();
  } catch (error) {
    if (isHunyuanError(error)) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("nested arrays carry their shape, and numbers are f32", async () => {
  using t = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { device },
  );
  assert.equal(t.shape, [2, 3]);
  assert.is(t.dtype, "f32");
  assert.equal(Array.from(await t.read()), [1, 2, 3, 4, 5, 6]);
});

test("a number is a tensor without axes", async () => {
  using t = tensor(2.5, { device });
  assert.equal(t.shape, []);
  assert.is(await t.item(), 2.5);
});

test("booleans, bigints and typed arrays choose their types", () => {
  const kinds: [Parameters<typeof tensor>[0], DType][] = [
    [[true, false], "bool"],
    [[1n, 2n], "i64"],
    [new Float64Array(2), "f64"],
    [new Int32Array(2), "i32"],
    [new Int8Array(2), "i32"],
    [new Uint8Array(2), "u8"],
    [new BigInt64Array(2), "i64"],
  ];
  for (const [data, dtype] of kinds) {
    using t = tensor(data, { device });
    assert.is(t.dtype, dtype);
  }
});

test("every type keeps small whole numbers exactly, there and back", async () => {
  for (const dtype of Object.keys(dtypes) as DType[]) {
    const want = dtype === "bool" ? [0, 1, 1, 0] : [0, 1, 2, 16];
    using t = tensor(want, { dtype, device });
    assert.is(t.bytes, bytesOf(dtype, 4));
    assert.equal(Array.from(await t.read(), Number), want, dtype);
  }
});

test("f64 keeps what f32 would round", async () => {
  assert.equal(await values(tensor([0.1], { dtype: "f64", device })), [0.1]);
  assert.equal(await values(tensor([0.1], { device })), [Math.fround(0.1)]);
});

test("the data are copied at the call", async () => {
  const data = Float32Array.of(1, 2, 3);
  using t = tensor(data, { device });
  data.fill(9);
  assert.equal(Array.from(await t.read()), [1, 2, 3]);
});

test("ndarrays go in by their strides and come out with their shape", async () => {
  const array = ndarray(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]).transpose(1, 0);
  using t = tensor(array, { device });
  assert.equal(t.shape, [3, 2]);
  assert.equal(Array.from(await t.read(), Number), [1, 4, 2, 5, 3, 6]);
  const back = await readNd(t as Tensor<"f32">);
  assert.equal(back.shape, [3, 2]);
  assert.is(back.get(2, 1), 6);
});

test("raw bytes keep their bits", async () => {
  using t = fromBytes(Uint16Array.of(0x3f80, 0xc000), { dtype: "bf16", shape: [2], device });
  assert.equal(Array.from(await t.read()), [1, -2]);
});

test("data that are no tensor are refused by name", () => {
  const bad: [unknown, RegExp][] = [
    [[[1, 2], [3]], /ragged/],
    [[1, [2]], /ragged/],
    [[1, "2"], /numbers, booleans or bigints/],
    [["a"], /got string/],
    [null, /got null/],
    [undefined, /got undefined/],
    [[1, true], /different types/],
    [new DataView(new ArrayBuffer(4)), /DataView/],
    [new Uint32Array(1), /Uint32Array/],
  ];
  for (const [data, message] of bad) {
    const error = thrown(() => tensor(data as number, { device }));
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, message);
  }
  assert.is(thrown(() => tensor(new Float32Array(3), { shape: [2], device })).code, "INVALID_ARGUMENT");
  assert.is(thrown(() => tensor([1], { dtype: "f31" as "f32", device })).code, "INVALID_ARGUMENT");
  assert.is(thrown(() => fromBytes(new Uint8Array(3), { dtype: "f32", shape: [1], device })).code, "INVALID_ARGUMENT");
});

test("a detached buffer is refused", () => {
  const data = new Float32Array(4);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  assert.is(thrown(() => tensor(data, { device, shape: [4] })).code, "INVALID_ARGUMENT");
});

test("views share storage and outlive their base", async () => {
  const base = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { device },
  );
  const column = slice(base, 1, 1, 3);
  const flat = reshape(base, [6]);
  // Outputs are allocated when their record is executed, not when it is queued.
  await device.sync();
  const before = device.memory();
  base.dispose();
  assert.equal(await values(column), [2, 3, 5, 6]);
  assert.equal(await values(flat), [1, 2, 3, 4, 5, 6]);
  await device.sync();
  assert.ok(device.memory().live < before.live);
});

test("use after dispose throws DISPOSED, a second dispose does nothing", async () => {
  const t = tensor([1], { device });
  using other = tensor([2], { device });
  t.dispose();
  t.dispose();
  assert.is(thrown(() => add(t, other)).code, "DISPOSED");
  assert.is(thrown(() => reshape(t, [1, 1])).code, "DISPOSED");
  assert.is(await t.read().catch((error) => error.code), "DISPOSED");
});

test("tensors of two devices do not mix", async () => {
  await using second = openDevice("cpu");
  using a = tensor([1], { device });
  using b = tensor([1], { device: second });
  assert.is(thrown(() => add(a, b)).code, "DEVICE_MISMATCH");
});

test("inspect shows type, shape, device and state, never data", () => {
  const t = tensor([[1, 2]], { dtype: "bf16", device });
  assert.is(inspect(t), "Tensor<bf16> [1, 2] on cpu");
  t.dispose();
  assert.is(inspect(t), "Tensor<bf16> [1, 2] on cpu disposed");
});

test("item wants one element", async () => {
  using t = tensor([1, 2], { device });
  assert.is(await t.item().catch((error) => error.code), "SHAPE_MISMATCH");
});

test("casts round to nearest even and saturate integers", async () => {
  using t = tensor([1.00390625, 1.01171875, 300.7, -1.5], { device });
  using narrow = cast(t, "bf16");
  assert.equal(Array.from(await narrow.read()).slice(0, 2), [1, 1.015625]);
  using bytes = cast(t, "u8");
  assert.equal(Array.from(await bytes.read()), [1, 1, 255, 0]);
});

test("empty tensors are tensors", async () => {
  using t = tensor(new Float32Array(0), { shape: [0, 3], device });
  using sum = add(t, t);
  assert.equal(sum.shape, [0, 3]);
  assert.is((await sum.read()).length, 0);
});

test.run();
