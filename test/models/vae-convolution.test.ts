/** The autoencoder's convolutions with taps added up beforehand, against the same written plainly. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Stride } from "../../lib/models/vae/config.js";
import { causalConvolution, upsampledConvolution } from "../../lib/models/vae/convolution.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { copyInto } from "../../lib/ops/copy.js";
import {
  conv3d,
  type FloatDType,
  grad,
  groupNorm,
  isHunyuanError,
  mul,
  openDevice,
  randn,
  requiresGrad,
  scope,
  slice,
  sum,
  type Tensor,
  upsampleNearest,
  zeros,
} from "../../lib/tensor.js";
import { living } from "../support/vae-case.js";

const device = openDevice("cpu");
const test = suite("autoencoder: convolutions");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

function layer(out: number, inner: number, dtype: FloatDType): Params {
  const weight = randn([out, 3, 3, 3, inner], { seed: 1, dtype, device });
  const bias = randn([out], { seed: 2, dtype, device });
  return new Params(
    new ResidentStore([
      ["weight", weight],
      ["bias", bias],
    ]),
  );
}

/** The largest difference, in parts of the largest value. */
async function far(got: Tensor, want: Tensor): Promise<number> {
  assert.equal(got.shape, want.shape);
  const [a, b] = [await got.read(), await want.read()];
  let [worst, largest] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    const difference = Math.abs(Number(a[i]) - Number(b[i]));
    // A NaN is as far as can be.
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    largest = Math.max(largest, Math.abs(Number(b[i])));
  }
  return worst / largest;
}

const limits = { f64: 1e-13, f32: 3e-6, bf16: 1e-2, f16: 2e-3 } as const;
const dtypes = Object.keys(limits) as (keyof typeof limits)[];
const plain = { recorded: false };

// Frames: one, two and more; sides of one voxel, odd and even.
const clips = [
  [1, 1, 1, 1],
  [1, 1, 5, 4],
  [2, 2, 3, 1],
  [1, 3, 4, 7],
  [1, 5, 1, 6],
] as const;
const factorList: readonly Stride[] = [
  [1, 2, 2],
  [2, 2, 2],
  [2, 1, 1],
];

for (const dtype of dtypes) {
  test(`enlarged, then convolved, in ${dtype}`, async () => {
    const before = living(device);
    using p = layer(5, 3, dtype);
    for (const [b, t, h, w] of clips) {
      using x = randn([b, t, h, w, 3], { seed: 3, dtype, device });
      for (const factors of factorList) {
        const [got, want] = scope(() => [
          upsampledConvolution(plain, p, x, factors),
          conv3d(upsampleNearest(x, factors), p.get("weight"), { bias: p.find("bias") }),
        ]);
        const distance = await far(got as Tensor, want as Tensor);
        assert.ok(distance <= limits[dtype], `[${b}, ${t}, ${h}, ${w}] × ${factors}: ${distance}`);
        got?.dispose();
        want?.dispose();
      }
    }
    p.dispose();
    await device.sync();
    assert.equal(living(device), before);
  });

  test(`single frames in ${dtype}`, async () => {
    using p = layer(5, 3, dtype);
    for (const stride of [
      [1, 1, 1],
      [1, 2, 2],
      [2, 2, 2],
      [2, 1, 1],
    ] as const) {
      using x = randn([2, 1, 5, 6, 3], { seed: 3, dtype, device });
      const [got, want] = scope(() => [
        causalConvolution(p, x, stride),
        conv3d(x, p.get("weight"), { bias: p.find("bias"), stride }),
      ]);
      const distance = await far(got as Tensor, want as Tensor);
      assert.ok(distance <= limits[dtype], `${stride}: ${distance}`);
      got?.dispose();
      want?.dispose();
    }
  });
}

test("a strided view goes in as it is", async () => {
  using p = layer(4, 3, "f32");
  using whole = randn([1, 5, 8, 9, 3], { seed: 4, device });
  const copies = device.insertedCopies;
  const [got, want] = scope(() => {
    const part = slice(slice(slice(whole, 1, 1, 4), 2, 2, 6), 3, 3, 8);
    return [
      upsampledConvolution(plain, p, part, [2, 2, 2]),
      conv3d(upsampleNearest(part, [2, 2, 2]), p.get("weight"), { bias: p.find("bias") }),
    ];
  });
  assert.ok((await far(got as Tensor, want as Tensor)) < limits.f32);
  assert.is(device.insertedCopies, copies);
  got?.dispose();
  want?.dispose();
});

test("gradients are those of the plain ones", async () => {
  using p = layer(4, 3, "f64");
  const [weight, bias] = [requiresGrad(p.get<"f64">("weight")), requiresGrad(p.get<"f64">("bias"))];
  for (const [b, t, h, w] of clips) {
    using x = requiresGrad(randn([b, t, h, w, 3], { seed: 5, dtype: "f64", device }));
    const compare = async (what: string, made: () => Tensor<"f64">, plainly: () => Tensor<"f64">) => {
      const [got, want] = [made, plainly].map((make) =>
        scope(() => {
          const y = make();
          return grad(sum(mul(y, randn(y.shape, { seed: 6, dtype: "f64", device }))), [x, weight, bias]);
        }),
      );
      for (const [i, one] of (got ?? []).entries()) {
        const other = want?.[i] as Tensor;
        const distance = await far(one as Tensor, other);
        assert.ok(distance <= 1e-12, `${what} [${b}, ${t}, ${h}, ${w}], ${i}: ${distance}`);
        one?.dispose();
        other.dispose();
      }
    };
    for (const factors of factorList) {
      const enlarged = () => upsampleNearest(x, factors);
      await compare(
        `× ${factors}`,
        () => upsampledConvolution({ recorded: true }, p, x, factors),
        () => conv3d(enlarged(), weight, { bias }),
      );
    }
    for (const stride of [
      [1, 1, 1],
      [2, 2, 2],
    ] as const) {
      await compare(
        `stride ${stride}`,
        () => causalConvolution(p, x, stride),
        () => conv3d(x, weight, { bias, stride }),
      );
    }
  }
});

test("a norm may be written over its input, but not where a gradient needs it", async () => {
  for (const dtype of ["f32", "bf16"] as const) {
    using x = randn([2, 3, 4, 5, 8], { seed: 6, dtype, device });
    const options = { groups: 4, silu: true } as const;
    using want = groupNorm(x, options);
    const got = groupNorm(x, { ...options, into: x });
    assert.is(got, x);
    assert.is(await far(got, want), 0);
  }
  using x = requiresGrad(randn([1, 4, 8], { seed: 6, device }));
  try {
    groupNorm(x, { groups: 2, into: x });
    assert.unreachable();
  } catch (error) {
    if (!isHunyuanError(error, "GRADIENT_UNAVAILABLE")) throw error;
  }
});

test("a part of a tensor is filled from another", async () => {
  using whole = zeros([2, 4, 6, 3], { device });
  using part = randn([2, 2, 3, 3], { seed: 7, device });
  scope(() => copyInto(part, slice(slice(whole, 1, 1, 3), 2, 2, 5)));
  using seen = scope(() => slice(slice(whole, 1, 1, 3), 2, 2, 5));
  assert.is(await far(seen, part), 0);
  const inside = await part.read();
  const all = await whole.read();
  const total = (values: Float32Array) => values.reduce((n, v) => n + (v !== 0 ? 1 : 0), 0);
  assert.is(total(all), total(inside), "nothing beside it was touched");
});

test.run();
