/** Random numbers: Philox against its published answers, and PyTorch's CPU generator against recorded ones. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import {
  concat,
  type Device,
  type FloatDType,
  isHunyuanError,
  openDevice,
  rand,
  randn,
  scope,
  type Tensor,
  torchGenerator,
} from "../../lib/tensor.js";
import { onEachDevice } from "../support/each-device.js";
import { readSafetensors } from "../support/safetensors.js";

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url);
const random = await onEachDevice("random");

async function values(make: () => Tensor): Promise<number[]> {
  const made = scope(make);
  try {
    return Array.from(await made.read(), Number);
  } finally {
    made.dispose();
  }
}

/** Philox 4x32-10, straight from the paper. */
function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  const low = (x: bigint) => x & 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const [p0, p1] = [0xd2511f53n * c0, 0xcd9e8d57n * c2];
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, low(p1), (p0 >> 32n) ^ c3 ^ k1, low(p0)];
    [k0, k1] = [low(k0 + 0x9e3779b9n), low(k1 + 0xbb67ae85n)];
  }
  return [c0, c1, c2, c3].map(Number);
}

/** Word e of the stream of a seed. */
function word(seed: number, e: number): number {
  const block = Math.floor(e / 4);
  return philox([block % 2 ** 32, Math.floor(block / 2 ** 32), 0, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)])[
    e % 4
  ] as number;
}

random.test("the reference in this file gives Random123's known answers", () => {
  const hex = (words: readonly number[]) => words.map((w) => w.toString(16).padStart(8, "0")).join(" ");
  assert.is(hex(philox([0, 0, 0, 0], [0, 0])), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  const ones = 0xffffffff;
  assert.is(hex(philox([ones, ones, ones, ones], [ones, ones])), "408f276d 41c83b0e a20bc7c6 6d5451fd");
  const pi = philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
  assert.is(hex(pi), "d16cfe09 94fdcceb 5001e420 24126ea1");
});

const seeds = [0, 42, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER];

random.test("uniform numbers are the leading bits of Philox, exactly", async (device) => {
  for (const [dtype, bits] of [
    ["f32", 24],
    ["f64", 24],
    ["f16", 11],
    ["bf16", 8],
  ] as [FloatDType, number][]) {
    for (const seed of seeds) {
      const got = await values(() => rand([3, 7], { seed, dtype, device }));
      got.forEach((v, i) =>
        assert.is(v, Math.floor(word(seed, i) / 2 ** (32 - bits)) / 2 ** bits, `${dtype} ${seed} ${i}`),
      );
    }
  }
});

random.test("normal numbers are Box-Muller over pairs of words", async (device) => {
  for (const seed of seeds) {
    const got = await values(() => randn([1031], { seed, device }));
    got.forEach((v, i) => {
      // u is rounded to f32 first: where it is close to 1 that decides the radius.
      const [u, turn] = [
        Math.fround((word(seed, i - (i % 2)) + 1) / 2 ** 32),
        (2 * Math.PI * word(seed, i - (i % 2) + 1)) / 2 ** 32,
      ];
      const want = Math.sqrt(-2 * Math.log(u)) * (i % 2 === 0 ? Math.cos(turn) : Math.sin(turn));
      assert.ok(Math.abs(v - want) < 2e-6, `seed ${seed}, element ${i}: ${v}, expected ${want}`);
    });
  }
});

random.test("any cut of the stream gives the same numbers", async (device) => {
  const whole = await values(() => randn([3000], { seed: 9, device }));
  for (const at of [1, 2, 3, 511, 512, 513, 1501]) {
    const parts = await values(() =>
      concat([randn([at], { seed: 9, device }), randn([3000 - at], { seed: 9, offset: at, device })]),
    );
    assert.equal(parts, whole, `cut at ${at}`);
  }
  const far = 4 * 2 ** 32 + 6;
  assert.is(
    (await values(() => rand([1], { seed: 1, offset: far, device })))[0],
    Math.floor(word(1, far) / 256) / 2 ** 24,
  );
  assert.equal(await values(() => rand([0, 3], { seed: 1, device })), []);
});

random.test("every device gives the CPU's numbers", async (device) => {
  await using cpu = openDevice("cpu");
  // Without fused multiply-add the CPU rounds once more here and there.
  const tolerance = cpu.describe().detail.startsWith("avx") ? 0 : 5e-7;
  for (const dtype of ["f32", "f64", "f16", "bf16"] as const) {
    for (const [n, offset] of [
      [1, 0],
      [1023, 0],
      [4097, 5],
      [70_000, 2 ** 40 + 2],
    ] as const) {
      const options = { seed: 2 ** 33 + 7, offset, dtype };
      const on = (place: Device) =>
        Promise.all([rand, randn].map((fn) => values(() => fn([n], { ...options, device: place }))));
      const [[uniform, normal], [cpuUniform, cpuNormal]] = [await on(device), await on(cpu)];
      assert.equal(uniform, cpuUniform, `uniform ${dtype} ${n}`);
      const off = normal?.findIndex(
        (v, i) => !(Math.abs(v - (cpuNormal?.[i] as number)) <= tolerance * Math.max(1, Math.abs(v))),
      );
      assert.is(off, -1, `normal ${dtype} ${n}: ${normal?.[off ?? 0]}, expected ${cpuNormal?.[off ?? 0]}`);
    }
  }
});

random.test("a million normal numbers have the moments of the normal distribution", async (device) => {
  const n = 1_000_000;
  const x = await values(() => randn([n], { seed: 3, device }));
  const moment = (k: number) => x.reduce((sum, v) => sum + v ** k, 0) / n;
  assert.ok(Math.abs(moment(1)) < 4e-3, "mean");
  assert.ok(Math.abs(moment(2) - 1) < 6e-3, "variance");
  assert.ok(Math.abs(moment(3)) < 2e-2, "skewness");
  assert.ok(Math.abs(moment(4) - 3) < 5e-2, "kurtosis");
  assert.ok(x.every((v) => Number.isFinite(v)));
});

interface TorchCase {
  readonly config: {
    readonly seeds: readonly number[];
    readonly shapes: readonly (readonly number[])[];
    readonly sequence: { readonly seed: number; readonly sizes: readonly number[] };
  };
  readonly tolerance: { readonly float32: number };
}
const torch: TorchCase = JSON.parse(readFileSync(fixture("rng_torch.json"), "utf8"));
const stored = readSafetensors(fixture("rng_torch.safetensors"));

function expected(name: string): Float64Array {
  const found = stored.get(`out.${name}`);
  if (found === undefined) throw new Error(`no tensor ${name}`);
  return found.data;
}

function checkNear(got: readonly number[], want: ArrayLike<number>, what: string): void {
  assert.is(got.length, want.length, what);
  got.forEach((v, i) => {
    const error = Math.abs(v - (want[i] as number));
    assert.ok(error <= torch.tolerance.float32, `${what}: element ${i} is ${v}, expected ${want[i]}`);
  });
}

random.test("PyTorch's rand and randn by seed", async (device) => {
  for (const seed of torch.config.seeds) {
    for (const shape of torch.config.shapes) {
      const label = `seed${seed}_${shape.length === 1 ? `n${shape[0]}` : shape.join("x")}`;
      const options = { seed, rng: "torch", device } as const;
      assert.equal(await values(() => rand(shape, options)), Array.from(expected(`rand_${label}`)), label);
      checkNear(await values(() => randn(shape, options)), expected(`randn_${label}`), label);
    }
  }
});

random.test("PyTorch's generator goes on from call to call, and keeps the second of a pair", async (device) => {
  const { seed, sizes } = torch.config.sequence;
  const generator = torchGenerator(seed);
  const got = await values(() => concat(sizes.map((n) => randn([n], { generator, device }))));
  checkNear(got, expected("sequence"), "sequence");
});

random.test("of a seed for PyTorch's generator the low 32 bits count", async (device) => {
  const [low, wide] = [5, 5 + 2 ** 32].map((seed) => values(() => rand([20], { seed, rng: "torch", device })));
  assert.equal(await low, await wide);
});

random.test("bf16 normals of PyTorch's generator are the f32 ones rounded", async (device) => {
  const options = { seed: 42, rng: "torch", device } as const;
  const [narrow, wide] = [
    await values(() => randn([40], { ...options, dtype: "bf16" })),
    await values(() => randn([40], options)),
  ];
  narrow.forEach((v, i) => assert.ok(Math.abs(v - (wide[i] as number)) <= Math.abs(wide[i] as number) / 256));
});

random.test("a large tensor after many draws does not hold up the event loop", async (device) => {
  const generator = torchGenerator(1);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  try {
    await values(() => {
      // The emulator is slow enough with less.
      const size = device.name === "simt" ? 200_000 : 2_000_000;
      for (let i = 0; i < 3; i++) randn([size], { generator, device }).dispose();
      return rand([16], { generator, device });
    });
  } finally {
    clearInterval(timer);
  }
  assert.ok(ticks >= 3, `the timer ran ${ticks} times`);
});

random.test("what is refused", (device) => {
  const refused = (code: "INVALID_ARGUMENT" | "DTYPE_UNSUPPORTED", call: () => unknown) =>
    assert.throws(call, (error: unknown) => isHunyuanError(error, code));
  refused("INVALID_ARGUMENT", () => rand([2], { seed: -1, device }));
  refused("INVALID_ARGUMENT", () => rand([2], { seed: 0.5, device }));
  refused("INVALID_ARGUMENT", () => randn([2], { seed: 2 ** 53, device }));
  refused("INVALID_ARGUMENT", () => randn([2, -1], { seed: 1, device }));
  refused("INVALID_ARGUMENT", () => randn([2], { seed: 1, offset: -4, device }));
  refused("INVALID_ARGUMENT", () => torchGenerator(Number.NaN));
  refused("DTYPE_UNSUPPORTED", () => randn([2], { seed: 1, rng: "torch", dtype: "f64", device }));
  refused("DTYPE_UNSUPPORTED", () => rand([2], { seed: 1, rng: "torch", dtype: "bf16", device }));
});

random.run();
