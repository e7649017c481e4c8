/** Runs that are stopped, killed, or find their newest state damaged: they end with the same bytes as one that ran through. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDevice } from "../../lib/tensor.js";
import { living } from "../support/dit-case.js";
import { rejection } from "../support/refusal.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";
import { runStages, type SmallRun, smallRun } from "../support/train-run.js";

const test = suite("training: resume");
const device = openDevice("cpu");
// What earlier tests let go of must be gone before a test counts bytes.
test.before.each(() => device.sync());
test.after(() => device.dispose());

const total = runStages.reduce((sum, { steps }) => sum + steps, 0);
const runs = temporaryFolder();
let made = 0;
const fresh = (): string => join(runs, String(made++));
const statesIn = (folder: string): string[] => readdirSync(join(folder, "states")).sort();
const lastOf = (folder: string, ending: string): string =>
  join(
    folder,
    "states",
    statesIn(folder)
      .filter((name) => name.endsWith(ending))
      .at(-1) ?? "",
  );

let through: SmallRun;
const throughFolder = fresh();

test.before(async () => {
  await device.sync();
  const before = living(device);
  through = await smallRun(device, { folder: throughFolder });
  await device.sync();
  assert.equal(living(device), before);
});

/** Runs until a step has been made, then stops as a caller would. */
async function stoppedAt(folder: string, step: number, options: Partial<Parameters<typeof smallRun>[1]> = {}) {
  const controller = new AbortController();
  return smallRun(device, {
    folder,
    signal: controller.signal,
    ...options,
    onEvent: (event) => {
      if (event.kind === "step" && event.step === step) controller.abort();
    },
  });
}

test("runs through: every step told, states kept, log and report written", () => {
  assert.equal([through.step, through.finished, through.resumedFrom], [total, true, 0]);
  const told = through.events.flatMap((event) => (event.kind === "step" ? [event.step] : []));
  assert.equal(
    told,
    Array.from({ length: total }, (_, i) => i + 1),
  );
  assert.ok(statesIn(throughFolder).includes("step-000000009.json"));
  // The last two and, where it is none of them, the best.
  assert.ok(statesIn(throughFolder).length <= 6, `${statesIn(throughFolder)}`);
  const rows = readFileSync(join(throughFolder, "metrics.jsonl"), "utf8").trim().split("\n");
  assert.is(rows.length, total + Math.floor(total / 6) + 1);
  const table = readFileSync(join(throughFolder, "metrics.csv"), "utf8").trim().split("\n");
  assert.is(table.length, rows.length + 1);
  assert.match(table[0] as string, /^kind,step,stage,loss,lr,gradNorm/);
  assert.match(readFileSync(join(throughFolder, "report.html"), "utf8"), /<svg/);
});

test("the same seed gives the same bytes, another seed others", async () => {
  assert.is((await smallRun(device, { folder: fresh() })).sha256, through.sha256);
  assert.is.not((await smallRun(device, { folder: fresh(), seed: 12 })).sha256, through.sha256);
});

// Before anything is saved, with the state of that step, at the end of a stage, and within one.
for (const step of [1, 4, 5, 7]) {
  test(`stopped after step ${step}: saved, and gone on with bit for bit`, async () => {
    const folder = fresh();
    const first = await stoppedAt(folder, step);
    assert.equal([first.step, first.finished], [step, false]);
    const second = await smallRun(device, { folder });
    assert.equal([second.resumedFrom, second.finished], [step, true]);
    assert.is(second.sha256, through.sha256);
    assert.is(second.best, through.best);
    const third = await smallRun(device, { folder });
    assert.equal([third.resumedFrom, third.sha256], [total, through.sha256]);
    const steps = readFileSync(join(folder, "metrics.jsonl"), "utf8").match(/"kind":"train"/g);
    assert.is(steps?.length, total, "each step stands once in the log");
  });
}

/** The best state is kept however many come after it. */
test("the best state stays", async () => {
  const folder = fresh();
  const { best } = await smallRun(device, { folder, saveEvery: 2, keepLast: 1 });
  const kept = statesIn(folder).filter((name) => name.endsWith(".json"));
  assert.ok(kept.length <= 2);
  const validations = kept.map(
    (name) => JSON.parse(readFileSync(join(folder, "states", name), "utf8")).state.validation,
  );
  assert.ok(validations.includes(best), `${validations} has no ${best}`);
});

const damages: { readonly [what: string]: (folder: string) => void } = {
  "a byte of its tensors changed": (folder) => {
    const path = lastOf(folder, ".safetensors");
    const bytes = readFileSync(path);
    const at = bytes.length - 100;
    bytes[at] = (bytes[at] as number) ^ 0x10;
    writeFileSync(path, bytes);
  },
  "its tensors cut off": (folder) => {
    const path = lastOf(folder, ".safetensors");
    truncateSync(path, statSync(path).size - 1);
  },
  "its tensors gone": (folder) => rmSync(lastOf(folder, ".safetensors")),
  "its manifest cut off": (folder) => {
    const path = lastOf(folder, ".json");
    truncateSync(path, Math.floor(statSync(path).size / 2));
  },
  "a number of its manifest changed": (folder) => {
    const path = lastOf(folder, ".json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"step":5,', '"step":6,'));
  },
};

for (const [what, damage] of Object.entries(damages)) {
  test(`the newest state has ${what}: the one before, said so, and the same end`, async () => {
    const folder = fresh();
    await stoppedAt(folder, 5);
    damage(folder);
    const again = await smallRun(device, { folder, keepLast: 1 });
    assert.is(again.resumedFrom, 4);
    const notices = again.events.flatMap((event) => (event.kind === "notice" ? [event.text] : []));
    assert.is(notices.length, 1);
    assert.match(notices[0] as string, /passed over a damaged state: .*step-000000005/);
    assert.is(again.sha256, through.sha256);
  });
}

test("every state damaged, another seed: refused, nothing overwritten", async () => {
  const before = living(device);
  const folder = fresh();
  await stoppedAt(folder, 5);
  const error = await rejection(smallRun(device, { folder, seed: 99 }));
  assert.is(error.code, "CHECKPOINT_INVALID");
  assert.match(error.message, /seed 11, not 99/);
  for (const name of statesIn(folder)) truncateSync(join(folder, "states", name), 10);
  const names = statesIn(folder);
  const all = await rejection(smallRun(device, { folder }));
  assert.is(all.code, "CHECKPOINT_INVALID");
  assert.match(all.message, /all 2 saved states are damaged/);
  assert.equal(statesIn(folder), names);
  await device.sync();
  assert.equal(living(device), before);
});

const program = fileURLToPath(new URL("../support/train-child.ts", import.meta.url));

interface Child {
  readonly process: ChildProcess;
  readonly ended: Promise<{ readonly signal: NodeJS.Signals | null; readonly lines: readonly string[] }>;
  /** Resolves when it has said so many lines, or has ended. */
  said(lines: number): Promise<void>;
}

function child(folder: string): Child {
  const started = spawn(process.execPath, ["--import", "tsx", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: dirname(dirname(dirname(program))),
  });
  const lines: string[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const ended = new Promise<{ signal: NodeJS.Signals | null; lines: string[] }>((resolve) => {
    started.on("close", (_, signal) => {
      for (const one of waiting) one.resolve();
      resolve({ signal, lines });
    });
  });
  createInterface({ input: started.stdout }).on("line", (line) => {
    lines.push(line);
    for (const one of waiting) if (lines.length >= one.count) one.resolve();
  });
  const said = (count: number) => new Promise<void>((resolve) => waiting.push({ count, resolve }));
  return { process: started, ended, said };
}

const kills = process.env.HUNYUAN_TEST_FULL === "1" ? 10 : 2;

test(`SIGKILL at ${kills} random moments: the same end`, async () => {
  const folder = fresh();
  let killed = 0;
  // A process that was killed in its first steps, or that got to the end, is one of the ten only if it was killed.
  for (let attempt = 0; killed < kills; attempt++) {
    assert.ok(attempt < 3 * kills, "the runs end before they are killed");
    const running = child(folder);
    await running.said(1 + Math.floor(Math.random() * 6));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
    running.process.kill("SIGKILL");
    const { signal, lines } = await running.ended;
    if (signal === "SIGKILL") killed++;
    if (lines.some((line) => line.startsWith("done"))) rmSync(join(folder, "states"), { recursive: true });
  }
  assert.is((await smallRun(device, { folder })).sha256, through.sha256);
  const left = statesIn(folder).filter((name) => !/^step-\d{9}\.(json|safetensors)$/.test(name));
  assert.equal(left, [], "nothing half written is left");
});

test("SIGTERM: saves after the step that is under way, and ends", async () => {
  const folder = fresh();
  const running = child(folder);
  await running.said(4);
  running.process.kill("SIGTERM");
  const { signal, lines } = await running.ended;
  assert.is(signal, null);
  const stopped = Number(/^stopped (\d+)$/.exec(lines.at(-1) ?? "")?.[1]);
  assert.ok(stopped >= 4 && stopped < total, `${lines.at(-1)}`);
  assert.ok(statesIn(folder).includes(`step-${String(stopped).padStart(9, "0")}.json`));
  assert.is((await smallRun(device, { folder })).sha256, through.sha256);
});

test.run();
