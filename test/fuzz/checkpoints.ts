/**
 * Opens mutated checkpoints for a while: each must be taken, or refused with a typed error in under a second.
 *
 *   npx tsx test/fuzz/checkpoints.ts [--seconds 60] [--seed N]
 *
 * A failure prints its seed and leaves the file; `--seed N` runs that one again. The last line is for machines:
 * `N passed, N failed, 0 skipped`.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openDevice } from "../../lib/tensor.js";
import { obeysTheLaw } from "../support/checkpoint-law.js";
import { temporaryFolder } from "../support/hostile.js";
import { dice, mutate } from "../support/mutations.js";
import { pickle, pickled, torchArchive } from "../support/zip-files.js";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" }, seed: { type: "string" } } });
const seconds = Number(values.seconds);
const only = values.seed === undefined ? undefined : Number(values.seed);

function safetensors(header: object, dataBytes: number): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

/** What is mutated: each kind of file that is read. */
function seeds(): readonly Buffer[] {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures", "checkpoints");
  const saved = readdirSync(folder).filter((name) => name.endsWith(".pt"));
  const { text, tensor, storage, dict } = pickle;
  const weights = (name: string) => tensor(storage("BFloat16Storage", name, 8), 0, [2, 4], [4, 1]);
  const storages = { a: new Uint8Array(16), b: new Uint8Array(16) };
  return [
    ...saved.map((name) => readFileSync(join(folder, name))),
    torchArchive(pickled(dict(text("a"), weights("a"), text("b"), weights("b"))), storages),
    safetensors(
      {
        a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
        b: { dtype: "BF16", shape: [4], data_offsets: [24, 32] },
        __metadata__: { format: "pt" },
      },
      32,
    ),
    Buffer.from(
      JSON.stringify({ metadata: { total_size: 1 }, weight_map: { a: "shard.safetensors", b: "shard.safetensors" } }),
    ),
  ];
}

const good = seeds();
const folder = temporaryFolder();
folder.write("shard.safetensors", good.at(-2) as Buffer);
const device = openDevice("cpu");
const base = only ?? Date.now() % 2 ** 31;
const end = performance.now() + 1000 * seconds;
let [passed, failed, taken] = [0, 0, 0];
for (let seed = base; only === undefined ? performance.now() < end : seed === base; seed++) {
  const roll = dice(seed);
  const bytes = mutate(good[roll(good.length)] as Buffer, roll);
  const path = folder.write("mutated", bytes);
  try {
    if (await obeysTheLaw(device, path)) taken++;
    passed++;
  } catch (error) {
    failed++;
    const kept = join(tmpdir(), `hunyuan-fuzz-${seed}`);
    writeFileSync(kept, bytes);
    console.log(`seed ${seed}: ${error instanceof Error ? error.stack : error}\n  the file: ${kept}`);
    if (failed === 10) break;
  }
}
const { tensors, live } = device.memory();
if (tensors !== 0 || live !== 0) {
  failed++;
  console.log(`${tensors} tensors of ${live} bytes were left behind`);
}
await device.dispose();
folder.remove();
console.log(`fuzz: seeds ${base} … ${base + passed + failed - 1}, ${taken} files were taken, the others refused`);
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;
