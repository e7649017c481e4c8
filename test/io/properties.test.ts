/** Laws that hold for any file: what is written is read back, and what is broken is refused, typed and soon. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { type TensorData, writeSafetensors } from "../../lib/io/safetensors-write.js";
import { dtypeNames } from "../../lib/tensor/dtype.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import { bytesOf, type DType, openDevice } from "../../lib/tensor.js";
import { obeysTheLaw } from "../support/checkpoint-law.js";
import { temporaryFolder } from "../support/hostile.js";
import { dice, mutate } from "../support/mutations.js";
import { pickled, torchArchive } from "../support/zip-files.js";

const folder = temporaryFolder();
const device = openDevice("cpu");
test.after(async () => {
  await device.sync();
  assert.is(device.memory().tensors, 0);
  folder.remove();
  await device.dispose();
});

const tensorOf: fc.Arbitrary<{ readonly dtype: DType; readonly shape: number[] }> = fc.record({
  dtype: fc.constantFrom(...dtypeNames),
  shape: fc.array(fc.nat(5), { maxLength: 4 }),
});
const named = fc.dictionary(fc.string({ unit: "grapheme", maxLength: 20 }), tensorOf, { maxKeys: 12 });

test("what is written is read back, whatever the names, types and shapes", async () => {
  await fc.assert(
    fc.asyncProperty(named, fc.integer({ min: 1, max: 400 }), async (tensors, shardBytes) => {
      const path = join(folder.path, "written.safetensors");
      const given = Object.entries(tensors).filter(([name]) => name !== "__metadata__");
      const data = given.map(
        ([name, { dtype, shape }], i): TensorData => ({
          name,
          dtype,
          shape,
          async *chunks() {
            const bytes = bytesOf(dtype, sizeOf(shape));
            yield new Uint8Array(bytes >> 1).fill(i);
            yield new Uint8Array(bytes - (bytes >> 1)).fill(i);
          },
        }),
      );
      const files = await writeSafetensors(path, data, { shardBytes });
      const { entries } = await openCheckpoint(files.at(-1) as string);
      assert.equal([...entries.keys()].sort(), given.map(([name]) => name).sort());
      for (const [i, [name, { dtype, shape }]] of given.entries()) {
        const entry = entries.get(name);
        assert.is(entry?.dtype, dtype);
        assert.equal(entry?.shape, shape);
        const { file = "", offset = 0, bytes = 0 } = entry ?? {};
        assert.ok(
          readFileSync(file)
            .subarray(offset, offset + bytes)
            .every((byte) => byte === i),
        );
      }
    }),
    { numRuns: 100 },
  );
});

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures", "checkpoints");
for (const name of readdirSync(fixtures).filter((file) => file.endsWith(".pt"))) {
  test(`${name} with any mutation is taken or refused`, async () => {
    const good = readFileSync(join(fixtures, name));
    await fc.assert(
      fc.asyncProperty(fc.nat(2 ** 31), async (seed) => {
        await obeysTheLaw(device, folder.write("mutated.pt", mutate(good, dice(seed))));
      }),
      { numRuns: 150 },
    );
  });
}

test("a safetensors file with any mutation is taken or refused", async () => {
  const path = join(folder.path, "good.safetensors");
  const tensors = (["f32", "bf16", "u8"] as const).map(
    (dtype): TensorData => ({
      name: dtype,
      dtype,
      shape: [2, 3],
      async *chunks() {
        yield new Uint8Array(bytesOf(dtype, 6));
      },
    }),
  );
  await writeSafetensors(path, tensors);
  const good = readFileSync(path);
  await fc.assert(
    fc.asyncProperty(fc.nat(2 ** 31), async (seed) => {
      await obeysTheLaw(device, folder.write("mutated.safetensors", mutate(good, dice(seed))));
    }),
    { numRuns: 1000 },
  );
});

test("any bytes as a pickle are taken or refused", async () => {
  // Opcodes that exist, in any order, come further than bytes at random.
  const opcodes = [
    ..."().QRXabceghjqrstu}]NKMJGUTBC012",
    "\x80",
    "\x81",
    "\x85",
    "\x86",
    "\x87",
    "\x88",
    "\x89",
    "\x8a",
    "\x8b",
    "\x8c",
    "\x8d",
    "\x93",
    "\x94",
    "\x95",
  ];
  const text = fc.oneof(
    fc.constantFrom(...opcodes),
    fc.nat(255).map((code) => String.fromCharCode(code)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(text, { maxLength: 60 }), async (pieces) => {
      await obeysTheLaw(device, folder.write("any.pt", torchArchive(pickled(...pieces), { 0: new Uint8Array(4) })));
    }),
    { numRuns: 1000 },
  );
});

test("any bytes at all are taken or refused", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom("", "PK\x03\x04", "{", '{"weight_map":'),
      async (bytes, head) => {
        await obeysTheLaw(device, folder.write("any", Buffer.concat([Buffer.from(head), bytes])));
      },
    ),
    { numRuns: 1000 },
  );
});

test.run();
