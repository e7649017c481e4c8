/** The types of the public API: what compiles and what must not. Checked by `tsc`; at run time only that they are run. */
import ndarray from "ndarray";
import { test } from "uvu";
import { HunyuanVideo, type ModelDefaults } from "../lib/index.js";
import {
  add,
  cast,
  type DType,
  gelu,
  type HostArrays,
  isHunyuanError,
  matmul,
  rmsNorm,
  scope,
  type Tensor,
  tensor,
} from "../lib/tensor.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<T>() {
  return <U>(_value: U, ..._same: Same<T, U> extends true ? [] : [never]): void => {};
}

/** Never called: the compiler is the test. */
export function types(f32: Tensor<"f32">, bf16: Tensor<"bf16">, i32: Tensor<"i32">, some: Tensor) {
  expectType<Tensor<"f32">>()(add(f32, 1));
  expectType<Tensor<"bf16">>()(gelu(bf16));
  expectType<Tensor<"bf16">>()(cast(f32, "bf16"));
  expectType<Tensor<"i64">>()(tensor([1], { dtype: "i64" }));
  expectType<Tensor<"f32">>()(tensor([[1], [2]]));
  expectType<Tensor<"bool">>()(tensor([true]));
  expectType<Tensor<"i64">>()(tensor(new BigInt64Array(1)));
  expectType<Tensor>()(tensor(ndarray([1, 2])));
  expectType<Tensor<"f32">>()(scope(() => add(f32, f32)));
  expectType<Tensor<"f32">>()(rmsNorm(f32, bf16));
  expectType<Promise<Float32Array>>()(bf16.read());
  expectType<Promise<Int32Array>>()(i32.read());
  expectType<Promise<HostArrays[DType]>>()(some.read());
  // @ts-expect-error: one type on both sides
  add(f32, bf16);
  // @ts-expect-error: no activation of integers
  gelu(i32);
  // @ts-expect-error: not a type
  cast(f32, "f31");
  // @ts-expect-error: the shape is not to be written
  f32.shape = [1];
  // @ts-expect-error: nor is an element of it
  f32.shape[0] = 1;
  // @ts-expect-error: matmul wants tensors
  matmul(f32, 2);
}

/** The demo model, another one, and either with options. */
export async function models() {
  await using demo = await HunyuanVideo.load();
  expectType<ModelDefaults>()(demo.defaults);
  expectType<Promise<HunyuanVideo>>()(HunyuanVideo.load({ device: "cpu" }));
  expectType<Promise<HunyuanVideo>>()(HunyuanVideo.load("./HunyuanVideo", { dtype: "bf16" }));
  expectType<Promise<HunyuanVideo>>()(HunyuanVideo.load(undefined, { dtype: "f32" }));
  // @ts-expect-error: options come last, and once
  HunyuanVideo.load({ device: "cpu" }, { dtype: "f32" });
  // @ts-expect-error: not an option
  HunyuanVideo.load({ model: "./HunyuanVideo" });
  // @ts-expect-error: what a model suggests is not to be written
  demo.defaults.width = 64;
}

export function errors(error: unknown): string | undefined {
  if (isHunyuanError(error, "DEVICE_MISMATCH")) return error.details.devices.join(", ");
  // @ts-expect-error: devices is not a detail of every code
  if (isHunyuanError(error)) return error.details.devices;
  return undefined;
}

test("the declarations load", () => void types.name);
test.run();
