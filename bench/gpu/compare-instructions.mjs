// Compares two files of the instruction tests (native/cuda/test/instructions.cu), a GPU's and the emulator's:
//
//   node bench/gpu/compare-instructions.mjs EMULATOR GPU
//
// `exact` results are the same bit for bit (of floats any NaN is like any other). `within` results come with how far each
// value may be off what is right: two devices may differ by twice that.
import { readFileSync } from "node:fs";

const widths = { u8: 1, u16: 2, u32: 4, u64: 8, f32: 4 };

/** name → { type, rule, bytes, allowed } */
function resultsOf(path) {
  const file = readFileSync(path);
  const results = new Map();
  let at = 0;
  const take = (bytes) => {
    if (at + bytes > file.length) throw new Error(`${path} ends in the middle of a result`);
    at += bytes;
    return file.subarray(at - bytes, at);
  };
  while (at < file.length) {
    const end = file.indexOf("\n", at);
    const [name, type, count, rule] = file.toString("latin1", at, end).split(" ");
    const size = Number(count) * widths[type];
    if (end < 0 || Number.isNaN(size)) throw new Error(`${path} is no file of results at byte ${at}`);
    at = end + 1;
    results.set(name, { type, rule, bytes: take(size), allowed: rule === "within" ? take(size) : undefined });
  }
  return results;
}

/** "" or where and how two results differ. */
function difference(a, b) {
  if (a.type !== b.type || a.rule !== b.rule || a.bytes.length !== b.bytes.length) return "they are not of one kind";
  const width = widths[a.type];
  for (let at = 0; at < a.bytes.length; at += width) {
    if (a.bytes.compare(b.bytes, at, at + width, at, at + width) === 0) continue;
    const hex = (r) =>
      `0x${Buffer.from(r.bytes.subarray(at, at + width))
        .reverse()
        .toString("hex")}`;
    const where = `value ${at / width}: ${hex(a)} and ${hex(b)}`;
    if (a.type !== "f32") return where;
    const [x, y] = [a.bytes.readFloatLE(at), b.bytes.readFloatLE(at)];
    if (Number.isNaN(x) && Number.isNaN(y)) continue;
    const allowed = a.rule === "within" ? 2 * a.allowed.readFloatLE(at) : 0;
    if (allowed > 0 && Math.abs(x - y) <= allowed) continue;
    return `${where} (${x} and ${y}${allowed > 0 ? `, ${allowed} apart at most` : ""})`;
  }
  return "";
}

const [emulator, gpu] = process.argv.slice(2);
if (gpu === undefined) {
  console.error("usage: node bench/gpu/compare-instructions.mjs EMULATOR GPU");
  process.exit(2);
}
const [here, there] = [resultsOf(emulator), resultsOf(gpu)];
let same = 0;
let different = 0;
let missing = 0;
for (const [name, result] of here) {
  const other = there.get(name);
  if (other === undefined) {
    missing += 1;
    continue;
  }
  const what = difference(result, other);
  if (what === "") same += 1;
  else {
    different += 1;
    console.log(`${name}: ${what}`);
  }
}
console.log(`${same} results agree, ${different} differ, ${missing} were not run on the other device`);
if (different > 0 || same === 0) process.exitCode = 1;
