/** Every case of test/fixtures through the runner of `npm run conformance`, in f32 and in bf16, on every device. */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Device } from "../lib/tensor.js";
import { ConformanceCase, listCases } from "./conformance/case-file.js";
import { compare, type HostTensor } from "./conformance/compare.js";
import { runCase } from "./conformance/runner.js";
import { onEachDevice } from "./support/each-device.js";

const here = dirname(fileURLToPath(import.meta.url));
const fixtures = join(here, "fixtures");
const test = suite("conformance");
const cases = await onEachDevice("conformance");

const names = listCases(fixtures).filter((name) => new ConformanceCase(fixtures, name).expected.length > 0);
const families = [
  "dit_t2v",
  "i2v",
  "vae",
  "e2e",
  "llama",
  "clip",
  "scheduler",
  "rope",
  "flow_train",
  "ops",
  "rng_torch",
];

test("there is a case of each family", () => {
  for (const family of families)
    assert.ok(
      names.some((name) => name.startsWith(family)),
      family,
    );
});

/** Seconds of a processor that a case takes on the emulator, in f32 and bf16. What is not here takes 15 at most. */
const secondsOnSimt: { readonly [name: string]: readonly [f32: number, bf16: number] } = {
  vae_tiling: [18, 47],
};

async function expectPass(name: string, device: Device, dtype: "f32" | "bf16"): Promise<void> {
  const { outputs, error } = await runCase(new ConformanceCase(fixtures, name), { device, dtype });
  assert.is(error, undefined);
  assert.equal(
    Object.entries(outputs).filter(([, { pass }]) => !pass),
    [],
  );
  await device.sync();
  const { live, tensors, forgotten } = device.memory();
  assert.equal({ live, tensors, forgotten }, { live: 0, tensors: 0, forgotten: 0 });
}

for (const name of names) {
  for (const [i, dtype] of (["f32", "bf16"] as const).entries()) {
    const run = (device: Device) => expectPass(name, device, dtype);
    const seconds = secondsOnSimt[name]?.[i];
    if (seconds === undefined) cases.test(`${name} in ${dtype}`, run);
    else cases.slow(`${name} in ${dtype}`, seconds, run);
  }
}

test("what is wrong, NaN or of another shape does not pass", () => {
  const rope = new ConformanceCase(fixtures, "rope");
  const name = "out.q_rotated";
  const { shape, data } = rope.stored.get(name) ?? { shape: [], data: new Float64Array() };
  const judged = (got: HostTensor) => compare(rope, name, got, { dtype: "f32" }).pass;
  const changed = (value: number) => ({ shape, data: data.map((v, i) => (i === 77 ? value : v)) });
  assert.ok(judged({ shape, data }));
  assert.not(judged(changed((data[77] ?? 0) + 0.01)));
  assert.not(judged(changed(Number.NaN)));
  assert.not(judged({ shape: [...shape].reverse(), data }));
});

/** The script as it is called; what it prints is for machines. */
function run(...args: readonly string[]) {
  const script = join(here, "conformance", "run.ts");
  return spawnSync(process.execPath, ["--import", "tsx", script, ...args], { encoding: "utf8" });
}

test("one line of JSON a case", () => {
  const { status, stdout } = run(fixtures, "--case", "rope", "--case", "scheduler", "--dtype", "bf16");
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.is(status, 0);
  assert.equal(
    lines.map(({ case: name, dtype, device: on, pass }) => [name, dtype, on, pass]),
    [
      ["rope", "bf16", "cpu", true],
      ["scheduler", "bf16", "cpu", true],
    ],
  );
  assert.equal(Object.keys(lines[0].outputs["out.q_rotated"]), ["maxRelErr", "tolerance", "pass"]);
});

test("calls that make no sense", () => {
  for (const args of [
    [],
    ["/nowhere"],
    [fixtures, "--case", "nothing"],
    [fixtures, "--dtype", "f8"],
    [fixtures, "--x"],
  ]) {
    const { status, stderr } = run(...args);
    assert.is(status, 2, args.join(" "));
    assert.match(stderr, /usage: npm run conformance/);
  }
  const none = run(fixtures, "--device", "abacus");
  assert.is(none.status, 2);
  assert.match(none.stderr, /abacus/);
});

test.run();
cases.run();
