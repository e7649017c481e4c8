/** Updates in place: AdamW against its formulas in f64, averages, norms and clipping; nothing left behind. */
import * as assert from "uvu/assert";
import {
  type AdamWOptions,
  adamwStep,
  cast,
  clipScale,
  type Device,
  type DType,
  emaStep,
  globalNorm,
  isHunyuanError,
  randn,
  requiresGrad,
  scaleInPlace,
  scope,
  slice,
  type Tensor,
  tensor,
  zeros,
} from "../../lib/tensor.js";
import { onEachDevice } from "../support/each-device.js";

const optim = await onEachDevice("optim");

const host = async (t: Tensor) => Float64Array.from(await t.read(), Number);
const hosts = (list: readonly Tensor[]) => Promise.all(list.map(host));
const dispose = (...lists: (readonly Tensor[])[]) => {
  for (const t of lists.flat()) t.dispose();
};

/** One below and above the runs of 512 and the chunks of 32768; none, one, a prime. */
const shapes = [[1], [0, 3], [7, 73], [512], [513], [2, 16384], [32769], [5, 6, 7]];
const some = (device: Device, dtype: "f32" | "f64" | "bf16", seed: number) =>
  shapes.map((shape, i) => randn(shape, { seed: 100 * seed + i, dtype, device }));
const none = (device: Device, dtype: "f32" | "f64") => shapes.map((shape) => zeros(shape, { dtype, device }));

type Settings = Required<Pick<AdamWOptions, "lr" | "beta1" | "beta2" | "eps" | "weightDecay" | "step">>;

/** The step as torch.optim.AdamW's documentation writes it. */
function adamw(p: Float64Array, g: Float64Array, m: Float64Array, v: Float64Array, o: Settings, scale: number): void {
  for (let i = 0; i < p.length; i++) {
    const grad = (g[i] as number) * scale;
    p[i] = (p[i] as number) - o.lr * o.weightDecay * (p[i] as number);
    m[i] = o.beta1 * (m[i] as number) + (1 - o.beta1) * grad;
    v[i] = o.beta2 * (v[i] as number) + (1 - o.beta2) * grad * grad;
    const first = (m[i] as number) / (1 - o.beta1 ** o.step);
    const second = (v[i] as number) / (1 - o.beta2 ** o.step);
    p[i] = (p[i] as number) - (o.lr * first) / (Math.sqrt(second) + o.eps);
  }
}

function near(got: readonly Float64Array[], want: readonly Float64Array[], tolerance: number, what: string): void {
  want.forEach((list, k) => {
    assert.is(got[k]?.length, list.length, `${what} ${k}`);
    list.forEach((w, i) => {
      const g = got[k]?.[i] as number;
      assert.ok(
        Math.abs(g - w) <= tolerance * Math.max(1, Math.abs(w)),
        `${what} ${k}, element ${i}: ${g}, expected ${w}`,
      );
    });
  });
}

const settings = { lr: 0.01, beta1: 0.8, beta2: 0.95, eps: 1e-6, weightDecay: 0.1 };

for (const [dtype, tolerance] of [
  ["f64", 1e-14],
  ["f32", 1e-6],
] as const) {
  const threeSteps = async (device: Device) => {
    const [params, m, v] = [some(device, dtype, 1), none(device, dtype), none(device, dtype)];
    const [wp, wm, wv] = [await hosts(params), await hosts(m), await hosts(v)];
    for (let step = 1; step <= 3; step++) {
      const grads = some(device, dtype, 1 + step);
      const gradScale = step === 2 ? tensor(0.25, { dtype: "f32", device }) : undefined;
      adamwStep(params, grads, m, v, { ...settings, step, ...(gradScale ? { gradScale } : {}) });
      (await hosts(grads)).forEach((g, i) => {
        const [p, mi, vi] = [wp[i], wm[i], wv[i]] as [Float64Array, Float64Array, Float64Array];
        adamw(p, g, mi, vi, { ...settings, step }, gradScale ? 0.25 : 1);
      });
      dispose(grads, gradScale ? [gradScale] : []);
    }
    near(await hosts(params), wp, tolerance, "params");
    near(await hosts(m), wm, tolerance, "m");
    near(await hosts(v), wv, tolerance, "v");
    dispose(params, m, v);
  };
  optim.test(`adamwStep in ${dtype}, three steps`, threeSteps, ["adamw_step", dtype]);
}

optim.test("bf16 parameters with f32 masters follow small steps that bf16 alone would lose", async (device) => {
  const make = () => tensor([1, 2, -3], { dtype: "bf16", device });
  const [withMaster, alone] = [make(), make()];
  const master = cast(withMaster, "f32");
  const state = [0, 1, 2, 3].map(() => zeros([3], { device })) as [Tensor, Tensor, Tensor, Tensor];
  const grad = tensor([1, 1, 1], { device });
  for (let step = 1; step <= 100; step++) {
    const [m1, m2, v1, v2] = state;
    adamwStep([withMaster, alone], [grad, grad], [m1, m2], [v1, v2], {
      lr: 1e-3,
      weightDecay: 0,
      step,
      masters: [master, undefined],
    });
  }
  // A constant gradient makes every step lr long.
  near([await host(master)], [Float64Array.of(0.9, 1.9, -3.1)], 1e-5, "master");
  near([await host(withMaster)], [Float64Array.of(0.9, 1.9, -3.1)], 4e-3, "params");
  assert.is((await host(alone))[1], 2);
  dispose([withMaster, alone, master, grad], state);
});

optim.test("lists longer than a launch takes, of mixed types and at odd addresses", async (device) => {
  const dtypes = ["f32", "bf16", "f16"] as const;
  const rounding = { f32: 1e-6, bf16: 4e-3, f16: 5e-4 };
  const typeOf = (i: number) => dtypes[i % 3] as (typeof dtypes)[number];
  const count = 170;
  const make = (size: (i: number) => number, dtype: (i: number) => (typeof dtypes)[number], seed: number) =>
    Array.from({ length: count }, (_, i) => randn([size(i)], { seed: seed + i, dtype: dtype(i), device }));
  const size = (i: number) => (i * 37) % 101;
  // Dense views that begin one element further on.
  const stored = make((i) => size(i) + 1, typeOf, 0);
  const params = stored.map((t, i) => (i % 4 === 0 ? slice(t, 0, 1) : slice(t, 0, 0, size(i))));
  const grads = make(size, (i) => typeOf(i + 1), 1000);
  const [m, v] = [0, 1].map(() => params.map(({ shape }) => zeros(shape, { device }))) as [Tensor[], Tensor[]];
  const [wp, wg, wm, wv] = [await hosts(params), await hosts(grads), await hosts(m), await hosts(v)];
  adamwStep(params, grads, m, v, { ...settings, step: 1 });
  wp.forEach((p, i) => {
    adamw(p, wg[i] as Float64Array, wm[i] as Float64Array, wv[i] as Float64Array, { ...settings, step: 1 }, 1);
  });
  near(await hosts(m), wm, 1e-6, "m");
  near(await hosts(v), wv, 1e-6, "v");
  const got = await hosts(params);
  params.forEach((_, i) => {
    near([got[i] as Float64Array], [wp[i] as Float64Array], rounding[typeOf(i)], `parameter ${i}:`);
  });

  emaStep(params, grads, 0.75);
  const averaged = await hosts(params);
  params.forEach((_, i) => {
    const want = (got[i] as Float64Array).map((p, k) => 0.75 * p + 0.25 * (wg[i]?.[k] as number));
    near([averaged[i] as Float64Array], [want], rounding[typeOf(i)], `average ${i}:`);
  });
  scaleInPlace(params, -0.5);
  const scaled = await hosts(params);
  // f16 loses bits of what is small.
  near(
    scaled,
    averaged.map((list) => list.map((x) => -0.5 * x)),
    1e-7,
    "scaled",
  );
  const norm = globalNorm(params);
  const squares = scaled.flatMap((list) => [...list]).reduce((sum, x) => sum + x * x, 0);
  assert.ok(Math.abs((await norm.item()) - Math.sqrt(squares)) < 1e-6 * Math.sqrt(squares));
  dispose(stored, params, grads, m, v, [norm]);
});

optim.test("adamwStep on leaves records nothing and takes gradients in f32 for bf16", async (device) => {
  const param = requiresGrad(tensor([[1, 2]], { dtype: "bf16", device }));
  const [g, m, v] = [tensor([[0.5, -0.5]], { device }), zeros([1, 2], { device }), zeros([1, 2], { device })];
  adamwStep([param], [g], [m], [v], { lr: 0.5, weightDecay: 0, step: 1 });
  assert.is(param.node, undefined);
  near([await host(param)], [Float64Array.of(0.5, 2.5)], 1e-6, "params");
  dispose([param, g, m, v]);
});

optim.test("emaStep", async (device) => {
  const [targets, sources] = [some(device, "f32", 1), some(device, "bf16", 2)];
  const [t, s] = [await hosts(targets), await hosts(sources)];
  emaStep(targets, sources, 0.9);
  const want = t.map((list, k) => list.map((v, i) => 0.9 * v + 0.1 * (s[k]?.[i] as number)));
  near(await hosts(targets), want, 1e-6, "targets");
  dispose(targets, sources);
});

optim.test("globalNorm, clipScale and scaleInPlace", async (device) => {
  const tensors = some(device, "f32", 4);
  const squares = (await hosts(tensors)).map((list) => list.reduce((sum, v) => sum + v * v, 0));
  const want = Math.sqrt(squares.reduce((a, b) => a + b, 0));
  const norm = globalNorm(tensors);
  assert.equal(norm.shape, []);
  assert.ok(Math.abs((await norm.item()) - want) < 1e-6 * want);
  const [clip, keep] = [clipScale(norm, 2), clipScale(norm, 1e6)];
  assert.ok(Math.abs((await clip.item()) - 2 / want) < 1e-6);
  assert.is(await keep.item(), 1);
  scaleInPlace(tensors, clip);
  const clipped = globalNorm(tensors);
  assert.ok(Math.abs((await clipped.item()) - 2) < 1e-5);
  scaleInPlace(tensors, 3);
  const tripled = globalNorm(tensors);
  assert.ok(Math.abs((await tripled.item()) - 6) < 3e-5);
  dispose(tensors, [norm, clip, keep, clipped, tripled]);
});

optim.test("globalNorm of values whose squares f32 cannot hold, of nothing, and of views", async (device) => {
  const wide = tensor(
    [
      [3e25, 4e25, 7],
      [0, 0, 7],
    ],
    { device },
  );
  const view = slice(wide, 1, 0, 2);
  const nothing = zeros([0], { device });
  const [norm, empty] = [globalNorm([view, nothing]), globalNorm([nothing])];
  assert.ok(Math.abs((await norm.item()) / 5e25 - 1) < 1e-6);
  assert.is(await empty.item(), 0);
  dispose([wide, view, nothing, norm, empty]);
});

optim.test("f64 everywhere stays f64", async (device) => {
  const x = tensor([3, 4], { dtype: "f64", device });
  const norm = globalNorm([x]);
  assert.is(norm.dtype, "f64");
  assert.is(await norm.item(), 5);
  dispose([x, norm]);
});

optim.test("what is refused", (device) => {
  scope(() => {
    const refused = (code: "INVALID_ARGUMENT" | "SHAPE_MISMATCH" | "DTYPE_UNSUPPORTED", call: () => unknown) =>
      assert.throws(call, (error: unknown) => isHunyuanError(error, code));
    const like = (shape: readonly number[], dtype: DType = "f32") => zeros(shape, { dtype, device });
    const [p, q] = [like([2, 3]), like([3, 2])];
    const options = { lr: 1, step: 1 };
    refused("SHAPE_MISMATCH", () => adamwStep([p], [q], [p], [p], options));
    refused("SHAPE_MISMATCH", () => adamwStep([p], [p], [p], [q], options));
    refused("INVALID_ARGUMENT", () => adamwStep([p], [p, p], [p], [p], options));
    refused("INVALID_ARGUMENT", () => adamwStep([p], [p], [p], [p], { lr: 1, step: 0 }));
    const square = like([2, 2]);
    refused("INVALID_ARGUMENT", () => adamwStep([slice(p, 1, 0, 2)], [square], [square], [square], options));
    refused("INVALID_ARGUMENT", () => adamwStep([p], [p], [p], [p], { ...options, masters: [undefined, undefined] }));
    refused("SHAPE_MISMATCH", () => adamwStep([p], [p], [p], [p], { ...options, gradScale: like([2]) }));
    refused("SHAPE_MISMATCH", () =>
      adamwStep([p], [p], [p], [p], { ...options, masters: [zeros([3, 2], { device })] }),
    );
    refused("DTYPE_UNSUPPORTED", () => adamwStep([like([2], "i32")], [like([2])], [like([2])], [like([2])], options));
    refused("SHAPE_MISMATCH", () => emaStep([p], [q], 0.5));
    refused("INVALID_ARGUMENT", () => globalNorm([]));
    refused("INVALID_ARGUMENT", () => clipScale(globalNorm([p]), 0));
    adamwStep([], [], [], [], options);
  });
});

optim.run();
