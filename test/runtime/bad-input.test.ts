/** Bad input is a typed error, never a crash, a hang or a silent result: property tests over many calls. */
import fc from "fast-check";
import ndarray from "ndarray";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as api from "../../lib/tensor.js";
import { Device, isHunyuanError, openDevice, Scope, Tensor, tensor } from "../../lib/tensor.js";
import { goodCalls } from "../support/good-calls.js";

const full = process.env.HUNYUAN_TEST_FULL === "1";
const calls = full ? 10_000 : 2_000;
const seed = Number(process.env.HUNYUAN_TEST_SEED ?? 20261122);
const device = openDevice("cpu", { memoryLimit: 64 << 20 });
const other = openDevice("cpu");
const gone = openDevice("cpu");
await gone.dispose();
test.after(async () => {
  await device.dispose();
  await other.dispose();
});

type AnyFunction = (...args: unknown[]) => unknown;

/** Public functions, found by name, so that a new op is tested without being listed. These two take no arguments. */
const notTested = new Set(["defaultDevice", "describeBackends"]);
const functions = Object.entries(api).filter(
  ([name, value]) => typeof value === "function" && /^[a-z]/.test(name) && !notTested.has(name),
) as [string, AnyFunction][];
const good = goodCalls(device);

const disposed = tensor([1, 2], { device });
disposed.dispose();
const cyclic: unknown[] = [];
cyclic.push(cyclic);
const detached = new Float32Array(2);
structuredClone(detached.buffer, { transfer: [detached.buffer] });

const oddNumbers = [Number.NaN, -1, -2.5, 0.5, 2 ** 53, 2 ** 60, 1e15, Number.POSITIVE_INFINITY, -0, 1e308, 7, 3];
const oddThings = [
  ...[undefined, null, "", "f32", "x", "cpu:99", "__proto__", true, Symbol.iterator, Symbol("odd"), 10n, {}, [], [[]]],
  ...[() => 1, new Date(0), new Map(), new Error("odd"), Promise.resolve(1), Object.create(null), [Symbol("odd")]],
  ...[cyclic, [Object.create(null)], new Array(2 ** 32 - 1), new Array(3), [[1, 2], [3]], detached, detached.buffer],
  ...[new DataView(new ArrayBuffer(8)), new Uint32Array(2), new SharedArrayBuffer(8), disposed, [disposed], gone],
  ...[{ device: gone }, { signal: 1 }, { generator: {} }, { into: {} }, { shape: [2], dtype: "f32", data: [1, 2] }],
  { shape: [2], dtype: "f32", handle: 3, device, strides: [1], offset: 0, rank: 1, requiresGrad: true },
  ndarray(new Float32Array(4), [2, 2], [2, 1], 3),
  ndarray(new Float32Array(4), [2 ** 40], [0], 0),
  { shape: 3, stride: 3, get: 3, data: 3 },
];

const oddNumber = fc.constantFrom(...oddNumbers);
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  oddNumber,
  fc.constantFrom(...oddThings),
  fc.array(oddNumber, { maxLength: 7 }),
  fc.record({ shape: fc.constant([2]), dtype: fc.constant("f32"), handle: oddNumber, device: fc.constant(device) }),
  fc.record({
    axis: oddNumber,
    eps: oddNumber,
    dtype: fc.constantFrom("f32", "nope"),
    groups: oddNumber,
    stride: oddNumber,
  }),
);

class Recipe {
  constructor(
    readonly shape: number[],
    readonly dtype: api.DType,
    readonly onOther: boolean,
  ) {}

  make(): Tensor {
    const { shape, dtype, onOther } = this;
    const size = shape.reduce((a, b) => a * b, 1);
    return tensor(new Float32Array(size).fill(1), { shape, dtype, device: onOther && size === 2 ? other : device });
  }
}
const goodTensor = fc
  .record({
    shape: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 5 }),
    dtype: fc.constantFrom("f32", "bf16", "i32", "i64", "u8", "bool", "f64", "f8e4m3"),
    onOther: fc.boolean(),
  })
  .map(({ shape, dtype, onOther }) => new Recipe(shape, dtype as api.DType, onOther));
const argument = fc.oneof(
  { weight: 6, arbitrary: goodTensor },
  { weight: 4, arbitrary: oddValue },
  { weight: 1, arbitrary: fc.array(goodTensor, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.record({ weight: goodTensor, bias: goodTensor, gradient: goodTensor, eps: oddNumber }) },
);

function realise(value: unknown): unknown {
  if (value instanceof Recipe) return value.make();
  if (Array.isArray(value) && value[0] instanceof Recipe) return value.map(realise);
  if (typeof value !== "object" || value === null || !("gradient" in value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, realise(item)]));
}

/** Disposes of every tensor, device and scope in a value, arrays and plain objects included. */
function dispose(value: unknown, depth = 0): void {
  if (value === device || value === other || value === disposed || depth > 3) return;
  if (value instanceof Tensor) value.dispose();
  else if (value instanceof Device) void value.dispose();
  else if (value instanceof Scope) value[Symbol.dispose]();
  else if (Array.isArray(value)) for (const item of value.slice(0, 8)) dispose(item, depth + 1);
  else if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) dispose(item, depth + 1);
}

function show(value: unknown): string {
  return value instanceof Tensor ? value.toString() : typeof value === "object" ? "an object" : String(value);
}

const times = new Map(functions.map(([name]) => [name, { accepted: 0, refused: 0 }]));

/** One call. Answers whether it was refused, at once or by the promise it gave; any other failure fails the test. */
async function refuses(name: string, fn: AnyFunction, args: readonly unknown[]): Promise<boolean> {
  const counts = times.get(name) as { accepted: number; refused: number };
  const started = performance.now();
  let result: unknown;
  let refusal: unknown;
  try {
    result = fn(...args);
    const ms = performance.now() - started;
    assert.ok(ms < 1000, `${name}(${args.map(show).join(", ")}) held the event loop for ${ms} ms`);
    // A scope that stays open would own what the next calls make.
    if (result instanceof Scope) result[Symbol.dispose]();
    if (result instanceof Promise) await result;
    for (const item of Array.isArray(result) ? result.slice(0, 4) : [result]) {
      if (item instanceof Tensor && item.size < 1e6 && item !== disposed) await item.read();
    }
  } catch (error) {
    assert.ok(
      isHunyuanError(error),
      `${name}(${args.map(show).join(", ")}) threw ${error instanceof Error ? error.stack : String(error)}`,
    );
    assert.ok(!/undefined\.|NaN bytes|\[object/.test(error.message), `${name}: ${error.message}`);
    refusal = error;
  } finally {
    dispose(result);
    dispose(args);
  }
  if (refusal === undefined) counts.accepted++;
  else counts.refused++;
  return refusal !== undefined;
}

async function nothingIsLeft(): Promise<void> {
  await device.sync().catch(() => {});
  assert.is(device.memory().live, 0);
  assert.is(device.memory().tensors, 0);
}

test(`${calls} calls with odd arguments`, async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...functions), fc.array(argument, { maxLength: 4 }), async ([name, fn], args) => {
      await refuses(name, fn, args.map(realise));
    }),
    { numRuns: calls, seed },
  );
  const all = [...times.values()];
  const sum = (key: "accepted" | "refused") => all.reduce((total, counts) => total + counts[key], 0);
  const rarest = Math.min(...all.map(({ accepted, refused }) => accepted + refused));
  console.log(
    `${functions.length} functions, each called ${rarest} times or more: ` +
      `${sum("refused")} calls refused by a typed error, ${sum("accepted")} accepted`,
  );
  assert.ok(rarest >= 3, "every function is called a few times");
  await nothingIsLeft();
});

test("the valid calls are valid", async () => {
  for (const [name, fn] of functions) {
    const args = good[name]?.() ?? [api.ones([2, 2], { device })];
    assert.not(await refuses(name, fn, args), `${name} refuses a valid call`);
  }
  await nothingIsLeft();
});

/** Where a symbol or a NaN in the place of a number is no error: numbers that may be anything, and what takes unknown. */
const takesAnySymbol = new Set(["isHunyuanError 0", "isHunyuanError 1", "backward 2"]);
const takesNaN = new Set(["full 1", "tensor 0", "isHunyuanError 0"]);

/** Every place of a valid call that can be spoiled: an argument, an option, or an entry of a list in either. */
function* places(args: readonly unknown[]): Generator<readonly (string | number)[]> {
  for (const [i, arg] of args.entries()) {
    yield [i];
    if (typeof arg !== "object" || arg === null || arg instanceof Tensor || ArrayBuffer.isView(arg)) continue;
    if (!Array.isArray(arg) && Object.getPrototypeOf(arg) !== Object.prototype) continue;
    for (const [key, value] of Object.entries(arg)) {
      yield [i, key];
      if (Array.isArray(value)) for (const inner of value.keys()) yield [i, key, inner];
    }
  }
}

/** The value at the end of the path, after putting another one there (in copies: constants are shared between calls). */
function spoil(args: unknown[], path: readonly (string | number)[], value: unknown): unknown {
  let at: unknown = args;
  for (const key of path.slice(0, -1)) {
    const parent = at as { [key: string | number]: object };
    const inner = parent[key] as object;
    at = parent[key] = Array.isArray(inner) ? [...inner] : { ...inner };
  }
  const holder = at as { [key: string | number]: unknown };
  const last = path.at(-1) as string | number;
  const before = holder[last];
  holder[last] = value;
  return before;
}

test("one odd argument or option in an otherwise valid call", async () => {
  const values: unknown[] = [...oddNumbers, ...oddThings];
  const wrongDevice = api.zeros([2, 3], { device: other });
  values.push(wrongDevice);
  for (const [name, fn] of functions) {
    const make = good[name] ?? (() => [api.ones([2, 2], { device })]);
    const sample = make();
    const paths = [...places(sample)];
    dispose(sample);
    for (const path of paths) {
      // Without FULL a third of them, another third in each place.
      for (const [i, value] of values.entries()) {
        const sure = typeof value === "symbol" || Number.isNaN(value);
        if (!full && !sure && (i + paths.indexOf(path)) % 3 !== 0) continue;
        const args = make();
        const before = spoil(args, path, value);
        dispose(before);
        const refused = await refuses(name, fn, args);
        const place = `${name} ${path.join(".")}`;
        if (typeof value === "symbol") assert.ok(refused || takesAnySymbol.has(place), `${place} takes a symbol`);
        if (Number.isNaN(value) && typeof before === "number")
          assert.ok(refused || takesNaN.has(`${name} ${path[0]}`), `${place} takes NaN`);
      }
    }
  }
  wrongDevice.dispose();
  await nothingIsLeft();
});

test("sizes beyond memory and beyond 2^53", async () => {
  const huge = api.zeros([2 ** 40], { device });
  assert.is(await huge.read().catch((error) => error.code), "OUT_OF_MEMORY");
  huge.dispose();
  for (const shape of [
    [2 ** 53],
    [2 ** 30, 2 ** 30],
    [0, 2 ** 53 - 1, 2],
    [-1],
    [Number.NaN],
    [1.5],
    [1, 1, 1, 1, 1, 1, 1],
  ]) {
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

test("huge counts neither loop nor allocate in JavaScript", async () => {
  const wide = api.zeros([0, 3], { device });
  const one = api.ones([1, 1], { device });
  const repeated = api.broadcastTo(one, [2 ** 40, 1]);
  const results = [
    () => api.repeat(one, [1e15, 1]),
    () => api.repeat(one, [2 ** 25, 2 ** 24]),
    () => api.repeat(wide, [1e15, 1]),
    () => api.arange(2 ** 49, { device }),
    () =>
      api.pad(one, [
        [2 ** 48, 0],
        [0, 0],
      ]),
    () => api.split(wide, 1e9, 0),
    () => api.split(repeated, 2 ** 40, 0),
    () => api.ropeTables1d(2 ** 40, 128, { device }),
    () => api.randn([2 ** 45], { seed: 1, device }),
    () => api.upsampleNearest(api.reshape(one, [1, 1, 1, 1, 1]), [1, 2 ** 20, 2 ** 20]),
  ];
  for (const call of results) {
    const started = performance.now();
    try {
      const made = call();
      for (const item of made instanceof Tensor ? [made] : Object.values(made)) {
        if (!(item instanceof Tensor)) continue;
        if (item.size > 0)
          assert.is(await item.read().catch((error: unknown) => (error as api.HunyuanError).code), "OUT_OF_MEMORY");
        item.dispose();
      }
    } catch (error) {
      assert.ok(isHunyuanError(error), `${call}: ${String(error)}`);
    }
    assert.ok(performance.now() - started < 1000, `${call} took ${performance.now() - started} ms`);
  }
  for (const t of [wide, one, repeated]) t.dispose();
});

test("a generator is not moved on by numbers that found no room", async () => {
  const generator = api.torchGenerator(7);
  const none = api.randn([2 ** 40], { generator, device });
  assert.is(await none.read().catch((error) => error.code), "OUT_OF_MEMORY");
  const [next, fresh] = [api.randn([4], { generator, device }), api.randn([4], { seed: 7, rng: "torch", device })];
  assert.equal(await next.read(), await fresh.read());
  for (const t of [none, next, fresh]) t.dispose();
});

test("methods and constructors", async () => {
  const x = tensor([1, 2], { device });
  const bad: [string, () => unknown][] = [
    ["read", () => x.read(null as never)],
    ["read's signal", () => x.read({ signal: {} as never })],
    ["item of two", () => x.item()],
    ["sync", () => device.sync(3 as never)],
    ["sync's signal", () => device.sync({ signal: 1 as never })],
    ["setMemoryLimit", () => device.setMemoryLimit(Number.NaN)],
    ["keep", () => api.scope((s) => s.keep(3 as never))],
    ["TorchGenerator", () => new api.TorchGenerator(-1)],
    ["read after dispose", () => disposed.read()],
    ["item after dispose", () => disposed.item()],
  ];
  for (const [what, call] of bad) {
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    assert.ok(isHunyuanError(error), `${what}: ${String(error)}`);
  }
  const loop: unknown[] = [];
  loop.push(loop, [loop]);
  assert.is(
    api.scope(() => loop),
    loop,
  );
  x.dispose();
});

test("rows without end and without elements are done at once", async () => {
  const empty = api.zeros([2 ** 44, 0], { device });
  for (const op of [api.softmax, api.logSoftmax, (x: api.Tensor<"f32">) => api.rmsNorm(x)]) {
    const y = op(empty);
    assert.is((await y.read()).length, 0);
    y.dispose();
  }
  empty.dispose();
});

test.run();
