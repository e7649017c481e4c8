/**
 * Files of torch.save: those of test/fixtures/checkpoints, which PyTorch wrote (make.py there), and archives and pickles
 * that no torch would write.
 */
import { copyFileSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import type { TensorEntry } from "../../lib/io/tensor-file.js";
import { fileTensor } from "../../lib/tensor/file.js";
import { openDevice } from "../../lib/tensor.js";
import { type Refusal, refusesToOpen, temporaryFolder } from "../support/hostile.js";
import { rejection } from "../support/refusal.js";
import { pickle, pickled, torchArchive, type ZipFields, type ZipFile, zipOf } from "../support/zip-files.js";

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures", "checkpoints");
const fixture = (name: string) => join(fixtures, `${name}.pt`);
const folder = temporaryFolder();
const device = openDevice("cpu");
test.after(async () => {
  folder.remove();
  await device.dispose();
});

async function read({ name, dtype, shape, file, offset, bytes }: TensorEntry): Promise<number[]> {
  using tensor = fileTensor(device, dtype, shape, [{ file, offset, bytes }], { label: name });
  return Array.from(await tensor.read(), Number);
}

const everyType: { readonly [name: string]: readonly [string, readonly number[], readonly number[]] } = {
  f32: ["f32", [2, 3], [0, 1, 2, 3, 4, 5]],
  f64: ["f64", [1], [0.1]],
  f16: ["f16", [2], [1.5, -2]],
  bf16: ["bf16", [2], [3, -0.5]],
  f8e4m3: ["f8e4m3", [3], [1, 2, 448]],
  i32: ["i32", [2], [-1, 2]],
  i64: ["i64", [1], [2 ** 40]],
  u8: ["u8", [1], [255]],
  bool: ["bool", [2], [1, 0]],
  scalar: ["f32", [], [3.5]],
  empty: ["f32", [0, 3], []],
  parameter: ["f32", [2, 2], [1, 1, 1, 1]],
};

for (const name of ["every_type", "protocol4"]) {
  test(`every type of ${name}.pt`, async () => {
    const { entries, format } = await openCheckpoint(fixture(name));
    assert.is(format, "torch");
    assert.equal([...entries.keys()], Object.keys(everyType));
    for (const entry of entries.values()) {
      const [dtype, shape, values] = everyType[entry.name] ?? [];
      assert.is(entry.dtype, dtype);
      assert.equal(entry.shape, shape);
      assert.equal(await read(entry), values, entry.name);
    }
  });
}

test("the module of a trainer's file, or the part that is asked for", async () => {
  const path = fixture("module_and_ema");
  const first = async (part?: "module" | "ema" | "state_dict") => {
    const opened = await openCheckpoint(path, part === undefined ? {} : { part });
    return read(opened.entries.get("w") as TensorEntry);
  };
  assert.equal(await first(), [0, 1, 2, 3, 4, 5]);
  assert.equal(await first("module"), [0, 1, 2, 3, 4, 5]);
  assert.equal(await first("ema"), [6, 7, 8, 9, 10, 11]);
  const error = await rejection(openCheckpoint(path, { part: "state_dict" }));
  assert.match(
    error.message,
    /"state_dict": has no state dict of that name; its keys are step, seen, digest, ema, module, size/,
  );
});

test("a state_dict with the attributes that modules give it", async () => {
  const { entries } = await openCheckpoint(fixture("state_dict"));
  assert.equal(
    [...entries.values()].map(({ name, shape }) => [name, ...shape]),
    [
      ["weight", 2, 3],
      ["bias", 2],
    ],
  );
});

test("tensors that share a storage lie in the same bytes", async () => {
  const { entries } = await openCheckpoint(fixture("shared_storage"));
  const [whole, part, again] = ["whole", "part", "again"].map((name) => entries.get(name) as TensorEntry);
  assert.is(again?.offset, whole?.offset);
  assert.is(part?.offset, (whole?.offset ?? 0) + 8);
  assert.equal(await read(part as TensorEntry), [2, 3, 4, 5]);
});

test("the content decides, not the name", async () => {
  const path = join(folder.path, "model.safetensors");
  copyFileSync(fixture("state_dict"), path);
  assert.is((await openCheckpoint(path)).format, "torch");
});

const saved: { readonly [name: string]: Omit<Refusal, "file"> } = {
  names_code: { message: /names .*nothing of it is run/, key: "torch.nn.modules.linear.Linear" },
  transposed: { message: /\[3, 2\] is stored with strides \[1, 3\].*contiguous/, key: "w" },
  int8: { message: /torch\.CharStorage, which is not read/, key: "w" },
  float8_e5m2: { message: /torch\.float8_e5m2, which is not read/, key: "w" },
  legacy: { message: /before version 1\.6/ },
  cyclic: { message: /contains itself/, key: "state.again" },
};
for (const [name, refusal] of Object.entries(saved)) {
  test(`${name}.pt is refused`, async () => void (await refusesToOpen(fixture(name), refusal)));
}

// --- pickles ---------------------------------------------------------------------------------------------------------

const { text, whole, global, tuple, dict, call, storage, tensor } = pickle;
/** The path of keys to what lies too deep. */
const deep = Array(64).fill("0").join(".");
const four = { 0: new Uint8Array(16) };
const good = tensor(storage("FloatStorage", "0", 4), 0, [4], [1]);
const repeated = (what: string, count: number) => Buffer.alloc(what.length * count, what, "latin1");

const pickles: { readonly [what: string]: Omit<Refusal, "file"> & { readonly pickle: Uint8Array } } = {
  "os.system": { pickle: pickled(call(global("os", "system"), text("true"))), message: /names/, key: "os.system" },
  "builtins.eval by protocol 4": {
    pickle: pickled("\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R"),
    message: /names/,
    key: "builtins.eval",
  },
  "a name that is only named": { pickle: pickled(global("posix", "system")), message: /names/, key: "posix.system" },
  "a name on Object's prototype": {
    pickle: pickled(global("a", "constructor")),
    message: /names/,
    key: "a.constructor",
  },
  "a class of torch": { pickle: pickled(global("torch.nn", "Linear")), message: /names/, key: "torch.nn.Linear" },
  "a storage that is called": {
    pickle: pickled(call(global("torch", "FloatStorage"))),
    message: /calls torch\.FloatStorage/,
  },
  "a call of what is no function": { pickle: pickled(text("os.system"), ")R"), message: /calls what is no function/ },
  "names of numbers": { pickle: pickled(whole(1), whole(2), "\x93"), message: /names code by what is no text/ },
  "an object of a class": { pickle: pickled(global("collections", "OrderedDict"), ")\x81"), message: /opcode 129/ },
  "an extension code": { pickle: pickled("\x82\x01"), message: /opcode 130/ },
  "an old INST": { pickle: pickled("(ios\nsystem\n"), message: /opcode 105/ },
  "a list in itself": { pickle: pickled("]q\x00h\x00a"), message: /contains itself/, key: "0" },
  "a dictionary in its own list": {
    pickle: pickled("}q\x00", text("w"), good, "s", text("optimizer"), "]h\x00as"),
    message: /contains itself/,
    key: "optimizer.0",
  },
  "a nest of a hundred thousand tuples": {
    pickle: pickled("N", repeated("\x85", 1e5)),
    message: /deeper than 64/,
    key: deep,
  },
  "marks without end": { pickle: pickled(repeated("(", 1e5)), message: /deeper than 1000/ },
  "a million values": { pickle: pickled(repeated("N", 1e6)), message: /400000 instructions/ },
  "half a billion doublings": { pickle: pickled("]", repeated("2\x86", 1000)), message: /deeper than 64/, key: deep },
  "a pickle that stops nowhere": { pickle: Buffer.from("\x80\x02}", "latin1"), message: /mid-instruction/ },
  "a text that is longer than the pickle": { pickle: pickled("X\xff\xff\xff\xff"), message: /mid-instruction/ },
  "a text of 2^63 bytes": { pickle: pickled(`\x8d${"\xff".repeat(8)}`), message: /mid-instruction/ },
  "a number of 4 GB": { pickle: pickled("\x8b\xff\xff\xff\xff"), message: /a number of 4294967295 bytes/ },
  "a line without an end": { pickle: Buffer.from("\x80\x02cos", "latin1"), message: /within a line/ },
  "an empty stack": { pickle: pickled("0"), message: /takes a value where there is none/ },
  "a value from below a mark": { pickle: pickled("N(0"), message: /takes a value where there is none/ },
  "a memo that was never written": { pickle: pickled("h\x07"), message: /recalls value 7/ },
  "a list that was not begun": { pickle: pickled("t"), message: /was not begun/ },
  "an odd number of items": { pickle: pickled("}(Nu"), message: /sets items/ },
  "items of a list": { pickle: pickled("]NNs"), message: /sets items/ },
  "appending to a dictionary": { pickle: pickled("}Na"), message: /appends/ },
  "attributes of a number": { pickle: pickled(whole(1), "}b"), message: /attributes/ },
  "a number": { pickle: pickled(whole(1)), message: /no dictionary of tensors/ },
  "a single tensor": { pickle: pickled(good), message: /a single tensor/ },
  "a dictionary of numbers": { pickle: pickled(dict(text("w"), whole(1))), message: /holds no tensors/ },
  "something outside that is no storage": {
    pickle: pickled(tuple(text("file"), text("/etc/passwd")), "Q"),
    message: /no storage/,
  },
  "a storage of no class": {
    pickle: pickled(tuple(text("storage"), text("f"), text("0"), text("cpu"), whole(4)), "Q"),
    message: /no storage/,
  },
  "a storage that is missing": {
    pickle: pickled(storage("FloatStorage", "7", 4)),
    message: /the archive does not hold/,
    key: "archive/data/7",
  },
  "a storage outside of its folder": {
    pickle: pickled(storage("FloatStorage", "../data.pkl", 4)),
    message: /the archive does not hold/,
    key: "archive/data/../data.pkl",
  },
  "a storage that is too short": {
    pickle: pickled(storage("DoubleStorage", "0", 4)),
    message: /16 bytes, but the pickle says 4 elements/,
    key: "archive/data/0",
  },
  "a tensor past its storage": {
    pickle: pickled(dict(text("w"), tensor(storage("FloatStorage", "0", 4), 1, [4], [1]))),
    message: /reaches past the 16 bytes/,
    key: "w",
  },
  "a tensor beyond all memory": {
    pickle: pickled(dict(text("w"), tensor(storage("FloatStorage", "0", 4), 0, [2 ** 40, 2 ** 40], [2 ** 40, 1]))),
    message: /describes none/,
  },
  "a tensor that repeats one element": {
    pickle: pickled(dict(text("w"), tensor(storage("FloatStorage", "0", 4), 0, [2 ** 20], [0]))),
    message: /strides \[0\]/,
    key: "w",
  },
  "a negative offset": {
    pickle: pickled(dict(text("w"), tensor(storage("FloatStorage", "0", 4), -1, [4], [1]))),
    message: /describes none/,
  },
  "a tensor of no storage": {
    pickle: pickled(dict(text("w"), tensor(whole(1), 0, [4], [1]))),
    message: /describes none/,
  },
  "fewer strides than axes": {
    pickle: pickled(dict(text("w"), tensor(storage("FloatStorage", "0", 4), 0, [2, 2], [1]))),
    message: /describes none/,
  },
  "an ordered dictionary of no pairs": {
    pickle: pickled(call(global("collections", "OrderedDict"), Buffer.from("](Ne"))),
    message: /list of pairs/,
  },
};
for (const [what, { pickle: program, ...refusal }] of Object.entries(pickles)) {
  test(`a pickle with ${what} is refused`, async () => {
    await refusesToOpen(folder.write("bad.pt", torchArchive(program, four)), refusal);
  });
}

test("a good pickle of the same pieces is read", async () => {
  const path = folder.write("good.pt", torchArchive(pickled(dict(text("w"), good, text("scale"), whole(3))), four));
  const { entries, metadata } = await openCheckpoint(path);
  assert.equal(await read(entries.get("w") as TensorEntry), [0, 0, 0, 0]);
  assert.equal([...metadata], [["scale", "3"]]);
});

// --- archives --------------------------------------------------------------------------------------------------------

const program: ZipFile = { name: "archive/data.pkl", data: pickled(dict(text("w"), good)) };
const data: ZipFile = { name: "archive/data/0", data: new Uint8Array(16) };
const cut = (bytes: Buffer, from: number, to?: number) => bytes.subarray(from, to);
const archives: {
  readonly [what: string]: Omit<Refusal, "file"> & { files?: ZipFile[]; fields?: ZipFields; bytes?: Buffer };
} = {
  "no directory": { bytes: cut(zipOf([program, data]), 0, -30), message: /no zip directory/ },
  "only a beginning": { bytes: Buffer.from("PK\x03\x04"), message: /too short/ },
  "no files": { files: [], message: /no data\.pkl/ },
  "no pickle": { files: [data], message: /no data\.pkl/ },
  "two pickles": { files: [program, { ...program, name: "other/data.pkl" }], message: /no data\.pkl of its own/ },
  "a compressed storage (a bomb)": {
    files: [program, { ...data, method: 8, unpacked: 2 ** 31 }],
    message: /compressed/,
    key: "archive/data/0",
  },
  "sizes that differ": {
    files: [program, { ...data, unpacked: 2 ** 31 }],
    message: /compressed/,
    key: "archive/data/0",
  },
  "an encrypted file": { files: [program, { ...data, flags: 1 }], message: /encrypted/, key: "archive/data/0" },
  "a file twice": { files: [program, data, data], message: /twice/, key: "archive/data/0" },
  "files in one place": { files: [program, { ...data, at: 0 }], message: /overlaps/, key: "archive/data/0" },
  "a file past the directory": {
    files: [program, { ...data, at: 2 ** 31 }],
    message: /reach into the zip directory/,
    key: "archive/data/0",
  },
  "a storage's header that is none": {
    bytes: zipOf([program, data]).fill(0, 46 + program.data.length, 47 + program.data.length),
    message: /does not fit the directory/,
    key: "archive/data/0",
  },
  "more files than it has": { files: [program, data], fields: { count: 3 }, message: /malformed or cut off/ },
  "sixty thousand files": { files: [program, data], fields: { count: 60_000 }, message: /at most 8192/ },
  "a directory past the end": {
    files: [program, data],
    fields: { directoryBytes: 2 ** 31 },
    message: /past its end|at most/,
  },
  "a directory elsewhere": { files: [program, data], fields: { directoryAt: 3 }, message: /malformed or cut off/ },
  "zip64 without its record": { files: [program, data], fields: { directoryAt: 0xffffffff }, message: /zip64/ },
  "big-endian numbers": {
    files: [program, data, { name: "archive/byteorder", data: Buffer.from("big") }],
    message: /byte order is "big"/,
  },
  "a pickle of nine megabytes": {
    files: [{ ...program, data: new Uint8Array(9 * 2 ** 20) }],
    message: /at most 8388608/,
    key: "archive/data.pkl",
  },
};
for (const [what, { files = [], fields, bytes, ...refusal }] of Object.entries(archives)) {
  test(`an archive with ${what} is refused`, async () => {
    await refusesToOpen(folder.write("bad.pt", bytes ?? zipOf(files, fields)), refusal);
  });
}

test("an archive with a comment and without byteorder is read", async () => {
  const path = folder.write("comment.pt", zipOf([program, data], { comment: "made by a test" }));
  assert.is((await openCheckpoint(path)).entries.size, 1);
});

test("every cut of a good file is refused", async () => {
  const bytes = readFileSync(fixture("module_and_ema"));
  for (let end = 0; end < bytes.length; end += 37) {
    const error = await rejection(openCheckpoint(folder.write("cut.pt", bytes.subarray(0, end))));
    assert.is(error.code, "CHECKPOINT_INVALID", `${end}: ${error.message}`);
  }
});

test.run();
