/** The transformer's promises beyond the reference's numbers: configurations, padding, shapes, guards, costs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkDitConfig, type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { ditActivationBytes, ditFlops, ditParameters } from "../../lib/models/dit/flops.js";
import { type DitInput, HunyuanDit } from "../../lib/models/dit/model.js";
import { ditConfigOfReference } from "../../lib/models/dit/reference-config.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import {
  cast,
  concat,
  div,
  type FloatDType,
  full,
  grad,
  isHunyuanError,
  linear,
  mul,
  noGrad,
  openDevice,
  randn,
  requiresGrad,
  scope,
  slice,
  square,
  sum,
  type Tensor,
  tensor,
  zeros,
} from "../../lib/tensor.js";
import { living } from "../support/dit-case.js";

const device = openDevice("cpu");
const test = suite("transformer: behaviour");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const small: DitConfig = {
  hiddenSize: 48,
  numHeads: 4,
  ropeAxes: [4, 2, 6],
  ropeTheta: 256,
  numDoubleBlocks: 1,
  numSingleBlocks: 2,
  mlpRatio: 2.7,
  inChannels: 4,
  outChannels: 4,
  patchSize: [1, 2, 2],
  textDim: 10,
  pooledDim: 6,
  guidanceEmbed: true,
  refinerDepth: 1,
};

/** Random parameters, small enough that blocks neither vanish nor explode. */
function randomDit(config: DitConfig): HunyuanDit {
  const named = ditSpec(config).map(({ name, shape, layout }, seed) => {
    const inner = shape.slice(1).reduce((a, b) => a * b, 1);
    const as = layout === "flat" ? [shape[0] ?? 0, inner] : shape;
    return [
      name,
      scope(() => mul(randn(as, { seed, device }), shape.length > 1 ? 1 / Math.sqrt(inner) : 0.3)),
    ] as const;
  });
  return new HunyuanDit(config, new Params(new ResidentStore(named)));
}

interface Size {
  readonly batch?: number;
  readonly latents?: readonly [t: number, h: number, w: number];
  readonly textLengths?: readonly number[];
  readonly room?: number;
}

function randomInput(config: DitConfig, size: Size = {}): DitInput<"f32"> {
  const { batch = 1, latents = [2, 4, 6], textLengths = new Array<number>(batch).fill(5), room = 7 } = size;
  return {
    latents: randn([batch, ...latents, config.inChannels], { seed: 100, device }),
    timestep: full([batch], 321.5, { device }),
    text: randn([batch, room, config.textDim], { seed: 101, device }),
    textLengths,
    pooled: randn([batch, config.pooledDim], { seed: 102, device }),
    guidance: full([batch], 6000, { device }),
  };
}

function disposeAll(dit: HunyuanDit, input: DitInput): void {
  for (const one of [input.latents, input.timestep, input.text, input.pooled, input.guidance]) one?.dispose();
  dit.params.dispose();
}

async function largestDifference(a: Tensor<FloatDType>, b: Tensor<FloatDType>): Promise<number> {
  assert.equal(a.shape, b.shape);
  const [x, y] = [Array.from(await a.read(), Number), await b.read()];
  return x.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (y[i] as number))), 0);
}

function refusal(code: Parameters<typeof isHunyuanError>[1], words: RegExp) {
  return (error: unknown) => isHunyuanError(error, code) && words.test(error.message);
}

test("the released sizes: 13 billion parameters, 12 PFLOP a step at 720p", () => {
  assert.is(ditParameters(ditPresets.t2v), 12_821_012_544);
  assert.is(ditSpec(ditPresets.t2v).length, 24 + 2 * 14 + 20 * 24 + 40 * 8 + 4);
  const hd = ditFlops(ditPresets.t2v, { latentFrames: 33, latentHeight: 90, latentWidth: 160 });
  assert.is((hd.attention / 1e15).toFixed(2), "10.45");
  assert.is((hd.linear / 1e15).toFixed(2), "1.62");
  assert.is((hd.total / 1e15).toFixed(2), "12.07");
  const sd = ditFlops(ditPresets.t2v, { latentFrames: 33, latentHeight: 68, latentWidth: 120 });
  assert.is((sd.total / 1e15).toFixed(2), "4.29");
});

test("variants differ as released", () => {
  const shapeOf = (config: DitConfig, name: string) => ditSpec(config).find((spec) => spec.name === name)?.shape;
  assert.equal(shapeOf(ditPresets.i2vConcat, "img_in.proj.weight"), [3072, 33, 1, 2, 2]);
  assert.equal(shapeOf(ditPresets.i2vTokenReplace, "img_in.proj.weight"), [3072, 16, 1, 2, 2]);
  assert.equal(shapeOf(ditPresets.t2v, "guidance_in.mlp.0.weight"), [3072, 256]);
  assert.is(shapeOf(ditPresets.t2vUndistilled, "guidance_in.mlp.0.weight"), undefined);
  for (const config of Object.values(ditPresets)) checkDitConfig(config);
});

test("configurations that are not run are refused by name", () => {
  const cases: readonly (readonly [Partial<DitConfig>, RegExp])[] = [
    [{ hiddenSize: 50 }, /hiddenSize is 50/],
    [{ ropeAxes: [4, 4, 6] }, /ropeAxes is \[4,4,6\]/],
    [{ ropeAxes: [3, 3, 6] }, /ropeAxes/],
    [{ patchSize: [2, 2, 2] }, /patchSize/],
    [{ numSingleBlocks: 1.5 }, /numSingleBlocks/],
  ];
  for (const [change, words] of cases) {
    assert.throws(() => checkDitConfig({ ...small, ...change }), refusal("MODEL_UNSUPPORTED", words));
  }
  const original = { hidden_size: 64, heads_num: 2, rope_dim_list: [8, 12, 12] };
  const depths = { mm_double_blocks_depth: 3, mm_single_blocks_depth: 5 };
  const config = ditConfigOfReference({ ...original, ...depths, guidance_embed: false, mlp_width_ratio: 3 });
  assert.is(config.numSingleBlocks, 5);
  assert.is(config.mlpRatio, 3);
  assert.is(config.textDim, 4096);
  assert.throws(() => ditConfigOfReference(original), refusal("MODEL_UNSUPPORTED", /mm_double_blocks_depth/));
  const other = { ...original, ...depths, mlp_act_type: "relu" };
  assert.throws(() => ditConfigOfReference(other), refusal("MODEL_UNSUPPORTED", /mlp_act_type is relu/));
});

for (const i2v of [undefined, "token_replace"] as const) {
  test(`texts of different lengths in one batch, ${i2v ?? "text to video"}: each sample as if alone`, async () => {
    const before = living(device);
    const dit = randomDit({ ...small, i2v });
    const textLengths = [3, 7, 0, 5];
    const input = randomInput(small, { batch: 4, textLengths });
    const copies = device.insertedCopies;
    const together = dit.forward(input);
    for (const [i, length] of textLengths.entries()) {
      const [alone, part] = scope(() => {
        const row = <T extends FloatDType>(x: Tensor<T>) => slice(x, 0, i, i + 1);
        const one = {
          latents: row(input.latents),
          timestep: row(input.timestep),
          text: row(input.text),
          pooled: row(input.pooled),
          guidance: row(input.guidance as Tensor<"f32">),
        };
        return [dit.forward({ ...one, textLengths: [length] }), row(together)] as const;
      });
      assert.ok((await largestDifference(alone, part)) < 2e-5, `sample ${i}`);
      alone.dispose();
      part.dispose();
    }
    assert.is(device.insertedCopies, copies);
    together.dispose();
    disposeAll(dit, input);
    await device.sync();
    assert.equal(living(device), before);
  });
}

test("padding has no effect, whatever it holds, on results and gradients", async () => {
  const dit = randomDit(small);
  const input = randomInput(small, { batch: 2, textLengths: [3, 5] });
  const spoilt = scope(() => {
    const rows = [3, 5].map((length, i) => {
      const text = slice(slice(input.text, 0, i, i + 1), 1, 0, length);
      return concat([text, full([1, 7 - length, small.textDim], Number.NaN, { device })], 1);
    });
    return concat(rows, 0);
  });
  const [clean, other] = [dit.forward(input), dit.forward({ ...input, text: spoilt })];
  assert.is(await largestDifference(clean, other), 0);
  const text = requiresGrad(input.text);
  const loss = scope(() => sum(square(dit.forward(input))));
  const [gradient] = grad(loss, [text]) as [Tensor];
  const values = await gradient.read();
  const rowsOfPadding = [...[3, 4, 5, 6], ...[12, 13]];
  for (const row of rowsOfPadding) {
    const own = Array.from(values.slice(row * small.textDim, (row + 1) * small.textDim), Number);
    assert.ok(
      own.every((value) => value === 0),
      `row ${row} of the padding gets a gradient`,
    );
  }
  for (const one of [clean, other, spoilt, loss, gradient]) one.dispose();
  disposeAll(dit, input);
});

test("any frames, rows and columns; blocks of one kind only; no text", async () => {
  const variants: readonly (readonly [Partial<DitConfig>, Size])[] = [
    [{}, { latents: [1, 2, 2] }],
    [{ i2v: "token_replace" }, { latents: [1, 6, 2] }],
    [{ i2v: "token_replace" }, { latents: [3, 2, 10], batch: 2 }],
    [{ numDoubleBlocks: 0 }, { latents: [5, 6, 2] }],
    [{ numSingleBlocks: 0, refinerDepth: 0 }, { latents: [3, 2, 6] }],
    [{ i2v: "latent_concat", inChannels: 9, guidanceEmbed: false }, { latents: [2, 4, 4] }],
    [{ mlpRatio: 0.5 }, { textLengths: [0] }],
  ];
  for (const [change, size] of variants) {
    const before = living(device);
    const config = { ...small, ...change };
    const dit = randomDit(config);
    const input = randomInput(config, size);
    const velocity = dit.forward(input);
    assert.equal(velocity.shape, [...input.latents.shape.slice(0, 4), small.outChannels]);
    assert.ok((await velocity.read()).every(Number.isFinite), JSON.stringify(change));
    // Recorded, the blocks take another way to the same numbers.
    const leaf = requiresGrad(dit.params.get("img_in.proj.bias"));
    const recorded = dit.forward(input);
    assert.ok((await largestDifference(velocity, recorded)) < 1e-5, JSON.stringify(change));
    requiresGrad(leaf, false);
    recorded.dispose();
    velocity.dispose();
    disposeAll(dit, input);
    await device.sync();
    assert.equal(living(device), before);
  }
});

test("inside noGrad, parameters that want gradients change nothing", async () => {
  const dit = randomDit(small);
  const input = randomInput(small);
  const plain = dit.forward(input);
  for (const name of dit.params.names()) requiresGrad(dit.params.get(name));
  const live = device.memory().tensors;
  const silent = noGrad(() => dit.forward(input));
  assert.is(device.memory().tensors, live + 1);
  assert.is(await largestDifference(plain, silent), 0);
  for (const one of [plain, silent]) one.dispose();
  disposeAll(dit, input);
});

test("what is written into a given tensor carries no gradient, and says so", () => {
  scope(() => {
    const x = requiresGrad(zeros([2, 3], { device }));
    const into = zeros([2, 4], { device });
    const write = () => linear(x, zeros([4, 3], { device }), { into });
    assert.throws(write, refusal("GRADIENT_UNAVAILABLE", /carries no gradient/));
    noGrad(write);
  });
});

test("weights in f8e4m3, scaled as a whole or by rows", async () => {
  const wide = randomDit(small);
  const names = [...wide.params.names()].filter((name) =>
    /_blocks\..*(linear[12]?|qkv|proj|fc[12])\.weight$/.test(name),
  );
  assert.is(names.length, 10 + 3 * 2);
  for (const byRow of [false, true]) {
    const stores = [new Map<string, Tensor>(), new Map<string, Tensor>()] as const;
    for (const name of wide.params.names()) {
      const weight = wide.params.get<"f32">(name);
      const rows = weight.shape[0] ?? 0;
      for (const [narrow, store] of stores.entries()) {
        if (!names.includes(name)) store.set(name, weight.alias());
        else {
          const scales = Float32Array.from({ length: byRow ? rows : 1 }, (_, i) => 0.01 + 0.001 * (i % 5));
          const [values, scale] = scope(() => {
            const column = tensor(scales, { dtype: "f32", shape: [scales.length, 1], device });
            const f8 = cast(div(weight, column), "f8e4m3");
            return [narrow === 1 ? f8 : mul(cast(f8, "f32"), column), tensor(scales, { device })];
          });
          store.set(name, values);
          if (narrow === 1) store.set(name.replace(/weight$/, "weight_scale"), scale);
          else scale.dispose();
        }
      }
    }
    const input = randomInput(small);
    const [exact, scaled] = stores.map((store) => new HunyuanDit(small, new Params(new ResidentStore(store)))) as [
      HunyuanDit,
      HunyuanDit,
    ];
    const [a, b] = [exact.forward(input), scaled.forward(input)];
    assert.ok((await largestDifference(a, b)) < 2e-5);
    for (const one of [a, b]) one.dispose();
    exact.params.dispose();
    disposeAll(scaled, input);
  }
  wide.params.dispose();
});

test("blocks are named as they are done", async () => {
  const dit = randomDit(small);
  const input = randomInput(small);
  const seen: string[] = [];
  const velocity = dit.forward(input, {
    onBlock: (block, values) => {
      seen.push(block);
      for (const value of values) assert.is(value.shape[0], 1);
    },
  });
  assert.equal(seen, ["img_in", "txt_in", "double_blocks.0", "single_blocks.0", "single_blocks.1", "final_layer"]);
  velocity.dispose();
  disposeAll(dit, input);
});

test("inputs that do not fit are refused by name, a missing parameter by key", () => {
  const dit = randomDit(small);
  const input = randomInput(small);
  const { guidance, ...unguided } = input;
  assert.throws(() => dit.forward(unguided), refusal("INVALID_ARGUMENT", /guidance/));
  assert.throws(() => dit.forward({ ...input, textLengths: [8] }), refusal("INVALID_ARGUMENT", /textLengths/));
  assert.throws(() => dit.forward({ ...input, textLengths: [2, 2] }), refusal("INVALID_ARGUMENT", /textLengths/));
  assert.throws(() => dit.forward({ ...input, pooled: input.text }), refusal("SHAPE_MISMATCH", /pooled/));
  assert.throws(() => dit.forward({ ...input, text: input.pooled }), refusal("SHAPE_MISMATCH", /text/));
  const odd = randn([1, 2, 3, 6, 4], { seed: 1, device });
  assert.throws(() => dit.forward({ ...input, latents: odd }), refusal("SHAPE_MISMATCH", /even H and W/));
  odd.dispose();
  const store = dit.params.store as ResidentStore;
  store.replace("single_blocks.1.linear2.weight", undefined);
  const missing = refusal("CHECKPOINT_INVALID", /single_blocks\.1\.linear2\.weight/);
  assert.throws(() => dit.forward(input), missing);
  assert.ok(guidance);
  disposeAll(dit, input);
});

for (const dtype of ["f32", "bf16"] as const) {
  test(`memory in ${dtype}: no more than the formula says, but for workspaces`, async () => {
    const config = { ...small, hiddenSize: 256, numHeads: 4, ropeAxes: [16, 24, 24], mlpRatio: 4 } as const;
    const wide = randomDit(config);
    const input = randomInput(config, { latents: [4, 32, 32], textLengths: [7] });
    const store = new Map([...wide.params.names()].map((name) => [name, cast(wide.params.get(name), dtype)] as const));
    const dit = dtype === "f32" ? wide : new HunyuanDit(config, new Params(new ResidentStore(store)));
    const given = dtype === "f32" ? input : { ...input, latents: cast(input.latents, dtype) };
    await device.sync();
    device.trim();
    device.resetPeak();
    const { live } = device.memory();
    const velocity = dit.forward<FloatDType>(given);
    await device.sync();
    const peak = device.memory().peak - live;
    const size = { latentFrames: 4, latentHeight: 32, latentWidth: 32, textTokens: 7 };
    const expected = ditActivationBytes(config, size, dtype);
    // The CPU's attention packs K and V in f32.
    const workspace = 2 * 4 * (1024 + 7) * 256;
    assert.ok(peak > 0.9 * expected && peak < 1.1 * (expected + workspace), `${peak}, expected ${expected}`);
    velocity.dispose();
    if (dtype !== "f32") {
      given.latents.dispose();
      dit.params.dispose();
    }
    disposeAll(wide, input);
  });
}

test.run();
