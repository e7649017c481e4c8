/** `hunyuan train`: configurations that are wrong, and runs that end before their last step, whenever that is. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CliRecord, hunyuan, hunyuanHere, records } from "../support/cli.js";
import { temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";
import { captionedClips, stagesOf, trainConfig, weightsIn } from "../support/train-config.js";

const test = suite("cli: train");
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const model = tinyFolder();
const clips = await captionedClips();

function fileWith(name: string, config: unknown): string {
  const file = at(`${name}.json`);
  writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
  return file;
}

/** A run of ten steps that says how far it is. */
function runIn(name: string) {
  const stages = [{ ...stagesOf(clips)[1], steps: 10 }];
  const common = trainConfig({ model, clips, folder: at(name) });
  const file = fileWith(name, { kind: "full", ...common, stages, include: ["double_blocks.*"] });
  return { args: ["train", "--config", file, "--json"], folder: at(name) };
}

test("every setting that is wrong is named by its place; nothing is begun", async () => {
  const good = trainConfig({ model, clips, folder: at("wrong") });
  const [stage] = stagesOf(clips);
  const bad = {
    ...{ kind: "lora", ...good, lora: { rank: 0, targets: ["("], style: "peft" }, learner: { lr: -1 }, speed: 2 },
    stages: [
      { ...stage, steps: 1.5 },
      { ...stage, data: { source: clips, buckets: [] } },
    ],
  };
  const { status, stderr } = await hunyuanHere(["train", "--config", fileWith("wrong", bad)]);
  assert.is(status, 2, stderr);
  for (const line of [
    /wrong\.json:$/m,
    /^ {2}lora\.rank: /m,
    /^ {2}lora\.targets\.0: expected a regular expression$/m,
    /^ {2}lora\.style: /m,
    /^ {2}learner\.lr: /m,
    /^ {2}stages\.0\.steps: /m,
    /^ {2}stages\.1\.data\.buckets: /m,
    /^ {2}there is no setting speed$/m,
  ]) {
    assert.match(stderr, line);
  }
  assert.not(existsSync(at("wrong")));
});

test("calls that make no sense end with 2, models and data that are not there with 1", async () => {
  const good = { kind: "full", ...trainConfig({ model, clips, folder: at("none") }) };
  const outcomes: [readonly string[], number, RegExp][] = [
    [[], 2, /which run is not given: --config run\.json/],
    [["--config", at("nowhere.json")], 2, /nowhere\.json/],
    [["--config", fileWith("torn", '{ "kind": ')], 2, /torn\.json is no JSON/],
    [["--config", fileWith("list", "3")], 2, /expected an object with settings/],
    [
      ["--config", fileWith("kind", { ...good, kind: "dreambooth" })],
      2,
      /kind: expected "full", "lora", "distil" or "vae"/,
    ],
    [["--config", fileWith("model", good), "--model", at("no-model")], 1, /no-model/],
    [["--config", fileWith("device", good), "--device", "tpu:0"], 1, /tpu:0/],
  ];
  for (const [args, expected, message] of outcomes) {
    const { status, stderr, stdout } = await hunyuanHere(["train", ...args]);
    assert.is(status, expected, `${args.join(" ")}\n${stderr}${stdout}`);
    assert.match(stderr, message);
  }
  const told = await hunyuanHere(["train", "--config", fileWith("kind", { ...good, kind: "x" }), "--json"]);
  assert.is(records(told.stdout).at(-1)?.code, "USAGE");
});

test("people are told where things are; --folder goes before the file's", async () => {
  const config = { kind: "full", ...trainConfig({ model, clips, folder: at("unused") }), stages: [stagesOf(clips)[1]] };
  const args = ["train", "--config", fileWith("told", config), "--folder", at("told")];
  const { status, stdout, stderr } = await hunyuanHere(args);
  assert.is(status, 0, stderr);
  assert.match(stdout, /^2 steps are done; .*told.report\.html$/m);
  assert.match(stdout, /told.transformer.config\.json$/m);
  assert.match(stderr, /train: 2\/2 \(clips: loss [\d.]+, lr 0\.005/);
  assert.not(existsSync(at("unused")));
  const again = await hunyuanHere(args);
  assert.is(again.status, 0);
  assert.match(again.stderr, /going on from .*step-000000002\.json/);
});

/** Runs in a process of its own, with what it says a record at a time. */
function watched(args: readonly string[], onRecord: (record: CliRecord, child: ChildProcess) => void) {
  return hunyuan(args, { onLine: (line, child) => onRecord(JSON.parse(line) as CliRecord, child) });
}

test("killed while clips are encoded, then told to stop, then finished: the bytes of a run that was left alone", async () => {
  const [alone, broken] = [runIn("alone"), runIn("broken")];
  const through = await hunyuanHere(alone.args);
  assert.is(through.status, 0, through.stdout);

  const killed = await watched(broken.args, ({ stage, done }, child) => {
    if (stage === "encode clips" && Number(done) > 0) child.kill("SIGKILL");
  });
  assert.is(killed.status, null);
  assert.not(existsSync(join(broken.folder, "transformer")));

  const stopped = await watched(broken.args, ({ stage, done }, child) => {
    if (stage === "train" && done === 2) child.kill("SIGTERM");
  });
  assert.is(stopped.status, 130, stopped.stdout + stopped.stderr);
  const { finished, step, files } = records(stopped.stdout).at(-1) as CliRecord & { step: number };
  assert.equal([finished, files], [false, []]);
  assert.ok(step >= 2 && step < 10, `stopped after ${step}`);
  assert.ok(readdirSync(join(broken.folder, "states")).includes(`step-${String(step).padStart(9, "0")}.json`));

  const rest = await hunyuanHere(broken.args);
  assert.is(rest.status, 0, rest.stdout);
  const last = records(rest.stdout).at(-1);
  assert.equal([last?.finished, last?.resumedFrom], [true, step]);
  const [one, other] = [alone, broken].map((run) => weightsIn(join(run.folder, "transformer")));
  assert.ok(one?.equals(other as Buffer));
  const steps = readFileSync(join(broken.folder, "metrics.jsonl"), "utf8").match(/"kind":"train"/g);
  assert.is(steps?.length, 10);
});

test.run();
