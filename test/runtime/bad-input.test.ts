/** Bad input is a typed error, never a crash, a hang or a silent result: a property test over many op calls. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as api from "../../lib/tensor.js";
import { isHunyuanError, openDevice, Tensor, tensor } from "../../lib/tensor.js";

const calls = process.env.HUNYUAN_TEST_FULL === "1" ? 10_000 : 2_000;
const device = openDevice("cpu", { memoryLimit: 64 << 20 });
const other = openDevice("cpu");
test.after(async () => {
  await device.dispose();
  await other.dispose();
});

/** Public functions that take tensors; found by name, so that a new op is tested without being listed. */
const notOps = new Set([
  "openDevice",
  "defaultDevice",
  "describeBackends",
  "scope",
  "checkpoint",
  "noGrad",
  "isHunyuanError",
  "bytesOf",
]);
const ops = Object.entries(api).filter(
  ([name, value]) => typeof value === "function" && /^[a-z]/.test(name) && !notOps.has(name),
) as [string, (...args: unknown[]) => unknown][];

const disposed = tensor([1, 2], { device });
disposed.dispose();

const oddNumber = fc.constantFrom(
  Number.NaN,
  -1,
  -2.5,
  0.5,
  2 ** 53,
  2 ** 60,
  Number.POSITIVE_INFINITY,
  -0,
  1e308,
  7,
  3,
);
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  oddNumber,
  fc.constantFrom(
    undefined,
    null,
    "",
    "f32",
    "x",
    true,
    Symbol.iterator,
    10n,
    {},
    [],
    [[]],
    () => 1,
    new Date(0),
    new Map(),
  ),
  fc.array(oddNumber, { maxLength: 7 }),
  fc.constant(disposed),
  fc.record({ shape: fc.constant([2]), dtype: fc.constant("f32"), handle: oddNumber, device: fc.constant(device) }),
  fc.record({
    axis: oddNumber,
    eps: oddNumber,
    dtype: fc.constantFrom("f32", "nope"),
    groups: oddNumber,
    stride: oddNumber,
  }),
);
const goodTensor = fc
  .record({
    shape: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 5 }),
    dtype: fc.constantFrom("f32", "bf16", "i32", "i64", "u8", "bool", "f64", "f8e4m3"),
    onOther: fc.boolean(),
  })
  .map((recipe) => ({ recipe }));
const argument = fc.oneof({ weight: 3, arbitrary: goodTensor }, { weight: 2, arbitrary: oddValue });

function realise(value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("recipe" in value)) return value;
  const { shape, dtype, onOther } = value.recipe as { shape: number[]; dtype: api.DType; onOther: boolean };
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(new Float32Array(size).fill(1), { shape, dtype, device: onOther && size === 2 ? other : device });
}

test(`${calls} calls with odd arguments`, async () => {
  let refused = 0;
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...ops), fc.array(argument, { maxLength: 4 }), async ([name, op], args) => {
      const real = args.map(realise);
      const made: unknown[] = [];
      try {
        const result = op(...real);
        accepted++;
        made.push(...(Array.isArray(result) ? result : [result]));
        for (const item of made) {
          if (item instanceof Tensor && item.size < 1e6) {
            await item.read().catch((error) => {
              if (!isHunyuanError(error)) throw new Error(`${name}: reading rejected with ${String(error)}`);
            });
          }
          if (item instanceof Promise) await item.catch(() => {});
        }
      } catch (error) {
        refused++;
        assert.ok(
          isHunyuanError(error),
          `${name}(${real.map(String).join(", ")}) threw ${error instanceof Error ? error.stack : String(error)}`,
        );
      } finally {
        for (const item of [...made, ...real]) if (item instanceof Tensor && item !== disposed) item.dispose();
      }
    }),
    { numRuns: calls, seed: 20261122 },
  );
  console.log(`${calls} calls: ${refused} refused by a typed error, ${accepted} accepted`);
  await device.sync().catch(() => {});
  assert.is(device.memory().live, 0);
});

test("sizes beyond memory and beyond 2^53", async () => {
  const huge = api.zeros([2 ** 40], { device });
  assert.is(await huge.read().catch((error) => error.code), "OUT_OF_MEMORY");
  huge.dispose();
  for (const shape of [[2 ** 53], [2 ** 30, 2 ** 30], [-1], [Number.NaN], [1.5], [1, 1, 1, 1, 1, 1, 1]]) {
    try {
      api.zeros(shape, { device });
      assert.unreachable(String(shape));
    } catch (error) {
      assert.ok(isHunyuanError(error), String(error));
    }
  }
  const next = api.ones([4], { device });
  assert.equal(Array.from(await next.read()), [1, 1, 1, 1]);
  next.dispose();
});

test.run();
