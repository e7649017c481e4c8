/** A LoRA into a weight so large that it is summed in several blocks of rows. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { LoraFuser } from "../../lib/models/lora/apply.js";
import type { Lora } from "../../lib/models/lora/load.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { openDevice, tensor } from "../../lib/tensor.js";
import { writeSafetensors } from "../support/checkpoint-files.js";
import { f32Bytes, randomNumbers } from "../support/dit-files.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-lora-blocks-"));
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true });
});

/** 24 million numbers: three blocks, of 2048, 2048 and 1904 rows. */
const [rows, width, rank] = [6000, 4096, 4];
const name = "w.weight";

test("rows of a change go where they belong in every block", async () => {
  const before = device.memory();
  const weight = randomNumbers(rows * width, 1);
  const up = randomNumbers(4500 * rank, 2);
  const down = randomNumbers(rank * width, 3);
  const diff = randomNumbers(10 * width, 4);
  const path = join(folder, "lora.safetensors");
  writeSafetensors(path, [
    { name: "up", dtype: "f32", shape: [4500, rank], data: f32Bytes(up) },
    { name: "down", dtype: "f32", shape: [rank, width], data: f32Bytes(down) },
    { name: "diff", dtype: "f32", shape: [10, width], data: f32Bytes(diff) },
  ]);
  const { entries } = await openCheckpoint(path);
  const entry = (key: string) => {
    const found = entries.get(key);
    if (found === undefined) throw new Error(key);
    return found;
  };
  const lora: Lora = {
    source: path,
    style: "original",
    rank,
    unmatched: [],
    terms: [
      // Rows 1000 … 4999 by rows 500 … 4499 of up, over two borders; rows 2045 … 2050 and 4090 … 4099 whole.
      {
        parameter: name,
        from: 1000,
        rows: 4000,
        product: { up: entry("up"), upFrom: 500, down: entry("down"), rank, scale: 0.5 },
      },
      { parameter: name, from: 2045, rows: 6, diff: { entry: entry("diff"), diffFrom: 3 } },
      { parameter: name, from: 4090, rows: 10, diff: { entry: entry("diff"), diffFrom: 0 } },
    ],
  };
  const expected = (row: number, column: number) => {
    let value = weight[row * width + column] ?? 0;
    if (row >= 1000 && row < 5000) {
      for (let r = 0; r < rank; r++) {
        value += 2 * 0.5 * (up[(row - 500) * rank + r] ?? 0) * (down[r * width + column] ?? 0);
      }
    }
    if (row >= 2045 && row < 2051) value += 2 * (diff[(row - 2045 + 3) * width + column] ?? 0);
    if (row >= 4090 && row < 4100) value += 2 * (diff[(row - 4090) * width + column] ?? 0);
    return value;
  };
  const params = new Params(new ResidentStore([[name, tensor(weight, { shape: [rows, width], device })]]));
  const held = params.get(name).bytes;
  {
    using fuser = new LoraFuser(params);
    await device.sync();
    device.resetPeak();
    await fuser.set([{ lora, strength: 2 }]);
    // The original that is kept, the result, and a few blocks of 32 MiB.
    const over = device.memory().peak - before.live - 2 * held;
    assert.ok(over < 6 * 32 * 2 ** 20, `${over} bytes beside the weights`);
    const got = await params.get<"f32">(name).read();
    const some = [
      0, 999, 1000, 1001, 2044, 2045, 2047, 2048, 2050, 2051, 4089, 4090, 4095, 4096, 4099, 4100, 4999, 5000,
    ];
    for (const row of [...some, rows - 1]) {
      for (let column = 0; column < width; column++) {
        const [seen, want] = [got[row * width + column] ?? Number.NaN, expected(row, column)];
        assert.ok(Math.abs(seen - want) < 2e-6, `[${row}, ${column}] is ${seen}, not ${want}`);
      }
    }
    await fuser.set([]);
    const after = await params.get<"f32">(name).read();
    assert.ok(Buffer.from(after.buffer).equals(Buffer.from(weight.buffer)), "unfused");
  }
  params.dispose();
  await device.sync();
  assert.is(device.memory().live, before.live);
  assert.is(device.memory().tensors, before.tensors);
});

test.run();
