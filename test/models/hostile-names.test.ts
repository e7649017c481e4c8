/** Checkpoints whose names and shapes are anything: an answer or an error of ours, and soon. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { detectDit } from "../../lib/models/dit/detect.js";
import { openDit } from "../../lib/models/dit/open.js";
import { describeFamily, familyOf } from "../../lib/models/families.js";
import { loadLora, readLora } from "../../lib/models/lora/load.js";
import { findLoraModule, loraModules } from "../../lib/models/lora/styles.js";
import { type DType, isHunyuanError } from "../../lib/tensor.js";
import { type FileTensor, writeSafetensors } from "../support/checkpoint-files.js";
import { checkpointOf, ditTensors, tinyDit } from "../support/dit-files.js";
import { loraPairs, loraStyles, loraTargets, loraTensors } from "../support/lora-files.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-hostile-"));
test.after(() => rmSync(folder, { recursive: true }));

const options = { ropeAxes: tinyDit.ropeAxes };
const dtypes: readonly DType[] = ["f32", "bf16", "f8e4m3", "i64", "bool"];
const shapes = fc.array(fc.oneof(fc.integer({ min: 0, max: 200 }), fc.constant(2 ** 40)), { maxLength: 6 });
const names = fc.constantFrom(
  "__proto__",
  "constructor.weight",
  "double_blocks.-1.x",
  "double_blocks.1e9.img_attn_qkv.weight",
  "double_blocks.77777777777.img_attn_qkv.weight",
  "double_blocks..weight",
  "single_blocks.0.__proto__.weight",
  "transformer_blocks.0.attn.to_q.weight",
  ".",
  "",
  "img_in.proj.weight.scale_weight",
  "scaled_fp8",
);

/** One thing done to a list of tensors. */
const change = fc.record({
  at: fc.nat(),
  how: fc.constantFrom("drop", "rename", "reshape", "retype", "swap"),
  name: names,
  shape: shapes,
  dtype: fc.constantFrom(...dtypes),
});

function mutate(
  tensors: readonly FileTensor[],
  changes: readonly (typeof change extends fc.Arbitrary<infer T> ? T : never)[],
) {
  const list = [...tensors];
  for (const { at, how, name, shape, dtype } of changes) {
    const i = at % list.length;
    const one = list[i];
    const other = list[(at * 7 + 1) % list.length];
    if (one === undefined || other === undefined) continue;
    if (how === "drop") list.splice(i, 1);
    else if (how === "rename") list[i] = { ...one, name };
    else if (how === "reshape") list[i] = { ...one, shape };
    else if (how === "retype") list[i] = { ...one, dtype };
    else list[i] = { ...one, name: other.name };
  }
  return list;
}

/** What it throws, unless it is an error of ours. */
async function ours(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!isHunyuanError(error))
      throw new Error(`not an error of ours: ${error instanceof Error ? error.stack : error}`);
  }
}

test("transformers with anything wrong in their names and shapes", async () => {
  const layouts = fc.constantFrom("tencent", "diffusers", "comfyui") satisfies fc.Arbitrary<string>;
  const property = fc.asyncProperty(
    layouts,
    fc.array(change, { minLength: 1, maxLength: 6 }),
    async (layout, changes) => {
      const checkpoint = checkpointOf(mutate(ditTensors(tinyDit, layout), changes));
      await ours(() => detectDit(checkpoint, options));
      await ours(() => openDit(checkpoint, options));
    },
  );
  await fc.assert(property, { numRuns: 300 });
});

test("LoRAs with anything wrong in their names and shapes", async () => {
  const pairs = loraPairs(loraTargets.slice(0, 8));
  const property = fc.asyncProperty(
    fc.constantFrom(...loraStyles),
    fc.array(change, { minLength: 1, maxLength: 6 }),
    fc.boolean(),
    async (style, changes, strict) => {
      const checkpoint = checkpointOf(mutate(loraTensors(style, pairs), changes));
      await ours(() => readLora(checkpoint, tinyDit, { strict }));
    },
  );
  await fc.assert(property, { numRuns: 200 });
});

test("any text is a name that no model has, or one", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 60 }), { maxLength: 20 }), (keys) => {
      assert.type(describeFamily(keys), "string");
    }),
    { numRuns: 300 },
  );
});

test("names without end take no time", async () => {
  const started = performance.now();
  const modules = loraModules(tinyDit);
  assert.is(findLoraModule(modules, `${"transformer.".repeat(500_000)}double_blocks.0.img_attn_qkv`), undefined);
  assert.is(familyOf(["down_blocks.0.".repeat(100_000), "decoder.norm1.".repeat(100_000)]), undefined);
  const many = Array.from({ length: 100_000 }, (_, i) => `double_blocks.${i}.nothing.of.ours.weight`);
  const path = join(folder, "many.safetensors");
  writeSafetensors(
    path,
    many.map((name) => ({ name, dtype: "u8", shape: [0] })),
  );
  await ours(() => openDit(path));
  await ours(() => loadLora(path, tinyDit));
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 5, `${seconds} s`);
});

test.run();
