/** Headers of safetensors files: what is read from good ones, and how bad ones are refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { type Refusal, refusesToOpen, temporaryFolder } from "../support/hostile.js";

const folder = temporaryFolder();
test.after(() => folder.remove());

/** A file of this header text and so many bytes of data; another length can be claimed. */
function file(header: string | Uint8Array, dataBytes: number, claimed?: bigint): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets });
const json = (header: unknown, dataBytes: number) => file(JSON.stringify(header), dataBytes);

test("tensors, places and metadata of a good file", async () => {
  const header = {
    b: entry("BF16", [2, 3], [16, 28]),
    a: entry("F32", [4], [0, 16]),
    scalar: entry("F8_E4M3", [], [28, 29]),
    empty: entry("I64", [0, 7], [29, 29]),
    __metadata__: { prompt: "a cat" },
  };
  const text = `${JSON.stringify(header)}   `;
  const path = folder.write("good.safetensors", file(text, 29));
  const { entries, metadata, format, files, source } = await openCheckpoint(path);
  assert.is(format, "safetensors");
  assert.is(source, path);
  assert.equal(files, [path]);
  const start = 8 + text.length;
  const found = [...entries.values()].map(({ name, dtype, shape, offset, bytes }) => ({
    name,
    dtype,
    shape,
    at: offset - start,
    bytes,
  }));
  assert.equal(found, [
    { name: "b", dtype: "bf16", shape: [2, 3], at: 16, bytes: 12 },
    { name: "a", dtype: "f32", shape: [4], at: 0, bytes: 16 },
    { name: "scalar", dtype: "f8e4m3", shape: [], at: 28, bytes: 1 },
    { name: "empty", dtype: "i64", shape: [0, 7], at: 29, bytes: 0 },
  ]);
  assert.equal([...metadata], [["prompt", "a cat"]]);
});

test("a file without tensors is one", async () => {
  const path = folder.write("none.safetensors", json({}, 0));
  assert.is((await openCheckpoint(path)).entries.size, 0);
});

test("names that JavaScript's objects have are names like others", async () => {
  const text = `{"__proto__":${JSON.stringify(entry("U8", [1], [0, 1]))},"constructor":${JSON.stringify(entry("U8", [1], [1, 2]))}}`;
  const path = folder.write("proto.safetensors", file(text, 2));
  assert.equal([...(await openCheckpoint(path)).entries.keys()], ["__proto__", "constructor"]);
});

const good = entry("F32", [2], [0, 8]);
const cases: { readonly [what: string]: Refusal & { readonly bytes: Uint8Array } } = {
  "an empty file": { bytes: Buffer.alloc(0), message: /is empty/ },
  "a file of three bytes": { bytes: Buffer.from("abc"), message: /neither safetensors/ },
  "a cut-off length": { bytes: Buffer.alloc(5), message: /neither safetensors/ },
  "a cut-off header": { bytes: json({ w: good }, 8).subarray(0, 30), message: /ends at byte 30.*header/ },
  "a header longer than the file": { bytes: file("{}", 0, 1000n), message: /ends at byte 10.*reaches to byte 1008/ },
  "a header of 100 MB": { bytes: file("{}", 0, 100_000_000n), message: /at most 16777216/ },
  "a header of 2^64 − 1 bytes": { bytes: file("{}", 0, 2n ** 64n - 1n), message: /at most 16777216/ },
  "a header of no bytes": { bytes: file("", 8), message: /not valid JSON/ },
  "a header that is no JSON": { bytes: file('{"w":', 8), message: /not valid JSON/ },
  "a header with an open string": { bytes: file('{"w', 8), message: /not valid JSON/ },
  "a header that is no object": { bytes: file("[1]", 8), message: /not a JSON object/ },
  "a header that is null": { bytes: file("null", 8), message: /not a JSON object/ },
  "a header that is no UTF-8": { bytes: file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 8), message: /UTF-8/ },
  "a key twice": {
    bytes: file(`{"w":${JSON.stringify(good)},"w":${JSON.stringify(good)}}`, 8),
    message: /twice/,
    key: "w",
  },
  "a key twice, spelled in two ways": {
    bytes: file(`{"w":${JSON.stringify(good)},"\\u0077":${JSON.stringify(good)}}`, 8),
    message: /twice/,
    key: "w",
  },
  "a field twice": {
    bytes: file('{"w":{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    message: /"dtype" twice/,
    key: "dtype",
  },
  "an entry that is a number": { bytes: json({ w: 7 }, 0), message: /not an object/, key: "w" },
  "no dtype": { bytes: json({ w: entry(undefined, [2], [0, 8]) }, 8), message: /dtype that is no string/, key: "w" },
  "an unknown dtype": {
    bytes: json({ w: entry("I16", [4], [0, 8]) }, 8),
    message: /dtype "I16", expected F32/,
    key: "w",
  },
  "a dtype of Object's": { bytes: json({ w: entry("toString", [4], [0, 8]) }, 8), message: /dtype/, key: "w" },
  "a dtype that does not fit the bytes": {
    bytes: json({ w: entry("F64", [2], [0, 8]) }, 8),
    message: /span 8 bytes, but f64 \[2\] takes 16/,
    key: "w",
  },
  "a shape that is no list": { bytes: json({ w: entry("U8", 8, [0, 8]) }, 8), message: /shape/, key: "w" },
  "a negative size": { bytes: json({ w: entry("U8", [-8], [0, 8]) }, 8), message: /shape/, key: "w" },
  "a fractional size": { bytes: json({ w: entry("U8", [1.5], [0, 8]) }, 8), message: /shape/, key: "w" },
  "seven axes": { bytes: json({ w: entry("U8", [1, 1, 1, 1, 1, 1, 8], [0, 8]) }, 8), message: /shape/, key: "w" },
  "a shape beyond all memory": {
    bytes: json({ w: entry("U8", [2 ** 40, 2 ** 40], [0, 8]) }, 8),
    message: /shape/,
    key: "w",
  },
  "no offsets": { bytes: json({ w: entry("U8", [8], undefined) }, 8), message: /data_offsets/, key: "w" },
  "three offsets": { bytes: json({ w: entry("U8", [8], [0, 4, 8]) }, 8), message: /data_offsets/, key: "w" },
  "negative offsets": { bytes: json({ w: entry("U8", [8], [-8, 0]) }, 8), message: /data_offsets/, key: "w" },
  "offsets in reverse": { bytes: json({ w: entry("U8", [8], [8, 0]) }, 8), message: /data_offsets/, key: "w" },
  "offsets past 2^53": {
    bytes: json({ w: entry("U8", [8], [2 ** 53, 2 ** 53 + 8]) }, 8),
    message: /data_offsets/,
    key: "w",
  },
  "data past the end": { bytes: json({ w: entry("U8", [9], [0, 9]) }, 8), message: /but the file at byte/, key: "w" },
  "overlapping tensors": {
    bytes: json({ v: entry("U8", [8], [0, 8]), w: entry("U8", [8], [4, 12]) }, 12),
    message: /overlaps "v"/,
    key: "w",
  },
  "two tensors in one place": { bytes: json({ v: good, w: good }, 8), message: /overlaps "v"/, key: "w" },
  "a gap": { bytes: json({ w: entry("U8", [4], [4, 8]) }, 8), message: /leaves a gap after the header/, key: "w" },
  "bytes that belong to nobody": { bytes: json({ w: good }, 20), message: /12 bytes after the last tensor/ },
  "metadata that are no texts": { bytes: json({ __metadata__: { a: 1 } }, 0), message: /not text/, key: "a" },
  "metadata that are a list": { bytes: json({ __metadata__: ["a"] }, 0), message: /__metadata__/ },
  "a nest of a million brackets": { bytes: file(`{"w":${"[".repeat(1e6)}`, 0), message: /nested deeper/ },
  "sixteen megabytes of a name": {
    bytes: json({ ["n".repeat(16 * 2 ** 20 - 100)]: 1 }, 0),
    message: /not an object/,
    key: "n".repeat(16 * 2 ** 20 - 100),
  },
  "thirty thousand tensors, the last one wrong": {
    bytes: json(
      Object.fromEntries(Array.from({ length: 3e4 }, (_, i) => [`t${i}`, entry("U8", [1], [i, i + 1])])),
      3e4 - 1,
    ),
    message: /cut off/,
    key: "t29999",
  },
  "a million values": { bytes: json({ w: Array(1e6).fill(0) }, 0), message: /more than 250000 values/ },
  "a hundred thousand keys with escapes": {
    bytes: file(`{${Array.from({ length: 1e5 }, (_, i) => `"\\u0041${i}":0`).join(",")}}`, 0),
    message: /not an object/,
    key: "A0",
  },
};

for (const [what, { bytes, ...refusal }] of Object.entries(cases)) {
  test(`${what} is refused`, async () => {
    await refusesToOpen(folder.write("bad.safetensors", bytes), refusal);
  });
}

test.run();
