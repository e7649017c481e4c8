/** What attention promises beyond values: segments that are apart, the same bytes each time, lengths that cannot be. */
import * as assert from "uvu/assert";
import {
  attention,
  type Device,
  type FloatDType,
  grad,
  requiresGrad,
  scope,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { onEachDevice } from "../support/each-device.js";
import { rejection } from "../support/refusal.js";

const each = await onEachDevice("attention");

interface Problem {
  readonly dtype: FloatDType;
  readonly tokens: number;
  readonly width: number;
  readonly lengths: readonly number[];
  /** Of q, k and v at a token; default sines. */
  readonly value?: (token: number, i: number) => number;
}

/** o, lse and the gradients of q, k and v, each as numbers. */
async function attend(device: Device, { dtype, tokens, width, lengths, value }: Problem): Promise<number[][]> {
  const results = scope(() => {
    const make = (phase: number) =>
      tensor(
        Float64Array.from({ length: tokens * width }, (_, i) => {
          return value?.(Math.floor(i / width), i) ?? Math.sin(phase + 0.7 * i);
        }),
        { dtype, device, shape: [1, tokens, 1, width] },
      );
    const [q, k, v] = [requiresGrad(make(1)), requiresGrad(make(2)), requiresGrad(make(3))] as const;
    const cuSeqlens = tensor(lengths, { dtype: "i32", device });
    const { o, lse } = attention(q, k, v, { cuSeqlens, returnLse: true });
    return [o, lse, ...grad(o, [q, k, v], { gradient: make(4) })] as Tensor[];
  });
  try {
    const read: number[][] = [];
    for (const t of results) read.push(Array.from(await t.read(), Number));
    return read;
  } finally {
    for (const t of results) t.dispose();
  }
}

const isNaNs = (numbers: readonly number[]) => numbers.every(Number.isNaN);

for (const dtype of ["f32", "bf16", "f16"] as const) {
  const needs = [
    ["attention", dtype],
    ["attention_backward", dtype],
  ] as const;

  each.test(
    `the same bytes each time, ${dtype}`,
    async (device) => {
      const problem: Problem = { dtype, tokens: 150, width: 24, lengths: [0, 131, 150] };
      assert.equal(await attend(device, problem), await attend(device, problem));
    },
    ...needs,
  );

  for (const width of [24, 72, 200]) {
    const problem: Problem = { dtype, tokens: 20, width, lengths: [0, 9, 20] };
    each.test(
      `NaN stays in its segment, ${dtype}, width ${width}`,
      async (device) => {
        const value = (token: number, i: number) => (token < 9 ? Math.sin(i) : Number.NaN);
        for (const [n, numbers] of (await attend(device, { ...problem, value })).entries()) {
          const heads = numbers.length / 20;
          assert.ok(numbers.slice(0, 9 * heads).every(Number.isFinite), `result ${n} of the first segment`);
          assert.ok(isNaNs(numbers.slice(9 * heads)) || n === 1, `result ${n} of the second segment`);
        }
      },
      ...needs,
    );

    each.test(
      `lengths that fall or leave the axis are refused, ${dtype}, width ${width}`,
      async (device) => {
        for (const lengths of [
          [0, 15, 9, 20],
          [0, 21],
          [1, 20],
          [0, -3, 20],
        ]) {
          const { code } = await rejection(attend(device, { ...problem, lengths }));
          assert.is(code, "INVALID_ARGUMENT", `lengths ${lengths}`);
        }
        await device.sync().catch(() => {});
      },
      ...needs,
    );
  }
}

each.run();
