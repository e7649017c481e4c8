/**
 * The released 13-billion layout: sparse files in all three namings, random values in one block of each kind. Recognised
 * and estimated within two seconds; the two blocks at full width give from the file what the same weights give in memory.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { doubleBlock, type Part, singleBlock } from "../../lib/models/dit/blocks.js";
import { type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { type DitLayout, ditLayouts, ditNaming } from "../../lib/models/dit/naming.js";
import { openDit } from "../../lib/models/dit/open.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { inspectCheckpoint } from "../../lib/models/inspect.js";
import { foreignTensors } from "../../lib/nn/foreign.js";
import { loadParams } from "../../lib/nn/load.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { estimateRequest } from "../../lib/pipelines/estimate.js";
import { bytesOf } from "../../lib/tensor/dtype.js";
import { readBytes } from "../../lib/tensor/file.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import { concat, mul, openDevice, randn, reshape, ropeTables3d, scope, slice, type Tensor } from "../../lib/tensor.js";
import { type FileTensor, writeSafetensors, writeTorchZip } from "../support/checkpoint-files.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-real-"));
const device = openDevice("cpu");
const config: DitConfig = ditPresets.t2v;
const blockSpecs = ditSpec(config).filter(({ name }) => /^(double|single)_blocks\.0\./.test(name));

/**
 * Random values: every weight is a window of its own on one run of numbers, which saves making half a billion of them. The
 * vectors are larger, so that biases and norms can be seen in the results.
 */
const weights = scope(() => {
  const largest = Math.max(...blockSpecs.map(({ shape }) => sizeOf(shape)));
  const matrices = mul(randn([largest + 1_000_003], { seed: 1, dtype: "bf16", device }), 0.02);
  const vectors = randn([100_003], { seed: 2, dtype: "bf16", device });
  return blockSpecs.map(({ name, shape }, i) => {
    const run = shape.length === 2 ? matrices : vectors;
    const first = (i * 26_017) % (run.size - sizeOf(shape));
    return [name, reshape(slice(run, 0, first, first + sizeOf(shape)), shape)] as const;
  });
});
const params = new Params(new ResidentStore(weights));
const bytes = new Map<string, Uint8Array>();
let wanted: { readonly double: Uint8Array; readonly single: Uint8Array };

test.before(async () => {
  for (const { name } of blockSpecs) bytes.set(name, await readBytes(params.get(name)));
  wanted = await run(params);
});

test.after(async () => {
  params.dispose();
  await device.sync();
  assert.is(device.memory().tensors, 0);
  assert.is(device.memory().live, 0);
  await device.dispose();
  rmSync(folder, { recursive: true });
});

/** The whole model's tensors; those of the two blocks with their bytes, cut as the layout cuts them. */
function tensorsOf(layout: DitLayout): FileTensor[] {
  return foreignTensors(ditSpec(config), ditNaming(layout, config)).map(({ name, shape, parts }) => {
    const [part] = parts;
    const all = part === undefined ? undefined : bytes.get(part.spec.name);
    if (part === undefined || all === undefined) return { name, dtype: "bf16", shape };
    assert.is(parts.length, 1, name);
    const row = bytesOf("bf16", sizeOf(shape.slice(1)));
    return { name, dtype: "bf16", shape, data: all.subarray(part.from * row, (part.from + part.rows) * row) };
  });
}

/** Both blocks at full width over a few tokens: 2 frames of 4 × 4 patches, and 8 tokens of text. */
async function run(params: Params): Promise<{ double: Uint8Array; single: Uint8Array }> {
  const layout = { numHeads: config.numHeads };
  const [double, single] = scope(() => {
    const rope = ropeTables3d({ t: 2, h: 4, w: 4 }, { axes: config.ropeAxes, theta: config.ropeTheta, device });
    const tokens = (count: number, seed: number) => randn([1, count, 3072], { seed, dtype: "bf16", device });
    const cond = randn([1, 3072], { seed: 900, dtype: "bf16", device });
    const parts: Part<"bf16">[] = [
      { stream: "img", x: tokens(32, 901), cond, rope },
      { stream: "txt", x: tokens(8, 902), cond },
    ];
    const both = concat(doubleBlock(params.at("double_blocks.0"), parts, layout), 1);
    // A copy: the next block may free the tokens that it was given.
    const after = concat(
      singleBlock(params.at("single_blocks.0"), [{ stream: "img", x: concat([both], 1), cond, rope }], layout),
      1,
    );
    return [both, after] as const;
  });
  const result = { double: await readBytes(double), single: await readBytes(single) };
  const finite = await allFinite(single);
  double.dispose();
  single.dispose();
  assert.ok(finite, "values are finite");
  return result;
}

async function allFinite(x: Tensor): Promise<boolean> {
  return Array.from(await x.read(), Number).every(Number.isFinite);
}

for (const layout of ditLayouts) {
  test(`${layout} naming`, async () => {
    const path = join(folder, layout === "tencent" ? "mp_rank_00_model_states.pt" : `${layout}.safetensors`);
    if (layout === "tencent") writeTorchZip(path, tensorsOf(layout), "module");
    else writeSafetensors(path, tensorsOf(layout));
    assert.ok(statSync(path).size > 25.6e9);

    const started = performance.now();
    const report = await inspectCheckpoint(path);
    const estimate = estimateRequest({ width: 1280, height: 720, numFrames: 129, dtype: "bf16" });
    const seconds = (performance.now() - started) / 1000;
    assert.ok(seconds < 2, `inspect and estimate took ${seconds} s`);
    assert.is(report.part, "transformer");
    assert.is(report.layout, layout);
    assert.is(report.variant, "text to video, guidance as an input");
    assert.is(report.parameters, 12_821_012_544);
    assert.is(report.bytes, 25_642_025_088);
    assert.equal([report.missing, report.unexpected, report.misshapen, report.problems], [[], [], [], []]);
    assert.ok(estimate.peakBytes > report.bytes);

    const dit = await openDit(path);
    assert.equal(JSON.parse(JSON.stringify(dit.config)), JSON.parse(JSON.stringify(config)));
    const loaded = await loadParams(device, dit.checkpoint, blockSpecs, dit.naming, { dtype: "bf16" });
    const got = await run(loaded);
    loaded.dispose();
    await device.sync();
    assert.ok(Buffer.from(got.double).equals(wanted.double), "the dual-stream block differs");
    assert.ok(Buffer.from(got.single).equals(wanted.single), "the single-stream block differs");
    rmSync(path);
  });
}

test.run();
