/** Log, table, charts, report, configuration, signals. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { lineChart } from "../../lib/train/chart.js";
import { MetricsLog, type MetricsRow, readRows, writeCsv } from "../../lib/train/metrics.js";
import { describeStep, short } from "../../lib/train/progress.js";
import { writeReport } from "../../lib/train/report.js";
import { checkStages, placeOf } from "../../lib/train/stages.js";
import { onStopSignals } from "../../lib/train/stop-signals.js";
import { learnerSchema, stagesSchema } from "../../lib/train.js";
import { refusal } from "../support/refusal.js";
import { temporaryFolder } from "../support/tiny-pipeline.js";

const folder = temporaryFolder();
const stage = "all";
const trainRow = (step: number, values: { readonly [name: string]: number }): MetricsRow => ({
  kind: "train",
  step,
  stage,
  values,
});

test("the log: goes on after a step, passes over what a killed process left half written", async () => {
  const path = join(folder, "metrics.jsonl");
  const log = await MetricsLog.open(path, 0);
  for (const step of [1, 2, 3]) log.add(trainRow(step, { loss: 1 / step }));
  await log.flush();
  writeFileSync(path, `${readFileSync(path, "utf8")}{"kind":"train","st`);
  const again = await MetricsLog.open(path, 2);
  again.add(trainRow(3, { loss: 7 }));
  const rows = await again.rows();
  assert.equal(
    rows.map((row) => (row.kind === "train" ? row.values.loss : undefined)),
    [1, 0.5, 7],
  );
  assert.equal(await readRows(join(folder, "none.jsonl")), []);
});

test("the table: a column for each number, empty where there is none", async () => {
  const path = join(folder, "metrics.csv");
  await writeCsv(path, [
    trainRow(1, { loss: 0.5, lr: 0.001 }),
    { kind: "notice", step: 1, stage, text: "x" },
    { kind: "validation", step: 1, stage: 'big, "wide"', values: { loss: 0.25 } },
  ]);
  assert.is(
    readFileSync(path, "utf8"),
    'kind,step,stage,loss,lr\ntrain,1,all,0.5,0.001\nvalidation,1,"big, ""wide""",0.25,\n',
  );
});

/** The points of a chart's paths, by class. */
const pathsOf = (svg: string): Map<string, number[][]> =>
  new Map(
    [...svg.matchAll(/<path class="(c[^"]*)" d="M([^"]*)"/g)].map(([, name = "", points = ""]) => [
      name,
      points.split("L").map((point) => point.split(" ").map(Number)),
    ]),
  );

test("charts: inside their box, falling where the numbers fall, thinned, without what is not finite", () => {
  const points = Array.from({ length: 5000 }, (_, i) => [i + 1, 2 * Math.exp(-i / 900) + 0.01] as const);
  const svg = lineChart([{ name: "loss", points: [...points, [5001, Number.NaN]], style: "smooth", colour: 2 }], {
    title: "a < b",
  });
  const paths = pathsOf(svg);
  assert.equal([...paths.keys()], ["c2 faint", "c2"]);
  for (const list of paths.values()) {
    assert.ok(list.length <= 700 && list.length > 500);
    assert.ok(list.every(([x = -1, y = -1]) => x >= 64 && x <= 720 && y >= 0 && y <= 260));
    assert.ok(
      list.every(([, y = 0], i) => i === 0 || y >= (list[i - 1]?.[1] ?? 0) - 0.11),
      "down is a larger y",
    );
  }
  assert.match(svg, /a &lt; b/);
  assert.not.match(svg, /NaN|Infinity/);
  assert.is(lineChart([{ name: "none", points: [], style: "line", colour: 0 }], { title: "none" }), "");
  const flat = lineChart([{ name: "flat", points: [[1, 0]], style: "dots", colour: 0 }], { title: "one point" });
  assert.match(flat, /<circle/);
  assert.not.match(flat, /NaN/);
});

test("the report stands by itself: curves, pictures inside, names escaped", async () => {
  const picture = Buffer.from("not really a picture");
  writeFileSync(join(folder, "one.png"), picture);
  const files = [
    { file: "one.png", caption: '<script>alert("x")</script>', type: "image/png" },
    { file: "gone.png", caption: "taken away", type: "image/png" },
  ];
  const path = join(folder, "report.html");
  await writeReport(
    path,
    [
      ...[1, 2, 3].map((step) => trainRow(step, { loss: 1 / step, lr: 1e-3 })),
      { kind: "sample", step: 3, stage, files },
      { kind: "notice", step: 2, stage, text: "a & b" },
    ],
    { title: "<demo>", steps: 10 },
  );
  const html = readFileSync(path, "utf8");
  assert.match(html, /<h1>&lt;demo&gt;<\/h1>/);
  assert.match(html, /Step 3 of 10: loss 0\.3333\./);
  assert.is(html.match(/<svg/g)?.length, 2);
  assert.ok(html.includes(`src="data:image/png;base64,${picture.toString("base64")}"`));
  assert.match(html, /taken away/);
  assert.match(html, /a &amp; b/);
  assert.not.match(html, /<script|https?:|src="(?!data:)/);
});

test("a step in words", () => {
  assert.is(describeStep({ lr: 0.001, loss: 0.123456 }, 2.5), "loss 0.1235, lr 0.001, 2.5 steps/s");
  assert.is(describeStep({ loss: 1 }, 0.05), "loss 1, 20 s/step");
  assert.is(short(Number.NaN), "NaN");
});

test("places in stages", () => {
  const stages = [
    { name: "a", steps: 3 },
    { name: "b", steps: 2 },
  ];
  const places = [0, 2, 3, 4, 5].map((step) => placeOf(stages, step, 1));
  assert.equal(
    places.map((place) => [place.stage.name, place.stageStep]),
    [
      ["a", 0],
      ["a", 2],
      ["b", 0],
      ["b", 1],
      ["b", 2],
    ],
  );
  for (const bad of [[], [{ name: "a", steps: 0 }], [stages[0], stages[0]]]) {
    assert.is(refusal(() => checkStages(bad as typeof stages)).code, "INVALID_ARGUMENT");
  }
});

test("configuration: what fits, what does not", () => {
  const data = { source: "clips", buckets: [{ width: 64, height: 64, numFrames: 17, batchSize: 8 }], imageRatio: 0.2 };
  const one = { name: "a", steps: 10, schedule: { kind: "cosine", warmup: 2 }, data };
  assert.ok(stagesSchema.safeParse([one, { ...one, name: "b" }]).success);
  for (const bad of [
    [],
    [one, one],
    [{ ...one, steps: 0 }],
    [{ ...one, spets: 1 }],
    [{ ...one, data: { source: "x" } }],
  ]) {
    assert.not(stagesSchema.safeParse(bad).success, JSON.stringify(bad));
  }
  assert.ok(
    learnerSchema.safeParse({ lr: 1e-3, groups: [{ kind: "muon", match: ["*.weight"] }], ema: { decay: 0.99 } })
      .success,
  );
  for (const bad of [{}, { lr: 0 }, { lr: 1, beta1: 1 }, { lr: 1, groups: [{ kind: "sgd", match: ["*"] }] }]) {
    assert.not(learnerSchema.safeParse(bad).success, JSON.stringify(bad));
  }
});

test("signals: heard while they are listened to, and no longer", () => {
  const before = process.listenerCount("SIGTERM");
  let heard: string | undefined;
  const listening = onStopSignals((signal) => {
    heard = signal;
  });
  assert.is(process.listenerCount("SIGTERM"), before + 1);
  process.emit("SIGTERM", "SIGTERM");
  assert.is(heard, "SIGTERM");
  listening[Symbol.dispose]();
  assert.is(process.listenerCount("SIGTERM"), before);
  assert.is(process.listenerCount("SIGINT"), before);
});

test.run();
