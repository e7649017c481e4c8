/** `hunyuan data check`: the report, its table, exit codes, usage errors. */
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkData } from "../../lib/train/data/check.js";
import { hunyuanHere, records } from "../support/cli.js";
import { clipFolder, emptyFolder } from "../support/clip-folder.js";
import { refusal } from "../support/media.js";

const folder = await clipFolder();
const buckets = ["--bucket", "64x64x17:2", "--bucket", "64x32x9", "--bucket", "32x32x1:4"];

test("the report: counts, sizes, durations, buckets, what is broken and why, missing captions", async () => {
  const report = await checkData(folder, {
    buckets: [
      { width: 64, height: 64, numFrames: 17, batchSize: 2 },
      { width: 64, height: 32, numFrames: 9, batchSize: 1 },
    ],
  });
  assert.equal([report.videos, report.images], [9, 2]);
  assert.equal(report.sizes[0], { what: "64x64", count: 7 });
  assert.equal(
    report.rates.map(({ what, count }) => `${what}: ${count}`),
    ["24: 7", "25: 2"],
  );
  assert.equal(
    report.buckets.map(({ samples }) => samples),
    [6, 2],
  );
  assert.ok(Math.abs(report.seconds.longest - 22 / 24) < 2e-3 && Math.abs(report.seconds.shortest - 5 / 24) < 2e-3);
  const broken = Object.fromEntries(report.broken.map(({ id, reason }) => [id, reason]));
  assert.equal(Object.keys(broken).sort(), ["cut.gif", "empty.mp4", "quoted.webp", "text.webm"]);
  assert.match(broken["quoted.webp"] ?? "", /JSON/);
  assert.match(broken["empty.mp4"] ?? "", /is empty/);
  const leftOut = Object.fromEntries(report.leftOut.map(({ id, reason }) => [id, reason]));
  assert.match(leftOut.frames ?? "", /has 5 frames at 24 fps, the shortest bucket takes 9/);
  assert.match(leftOut["picture-0.png"] ?? "", /no bucket is of one frame/);
  assert.equal(report.captionsMissing, ["picture-1.png"]);
  assert.equal(report.captions, { total: 12, different: 12 });
});

test("the table names every kind of trouble and ends with 1; --json holds the same", async () => {
  const shown = await hunyuanHere(["data", "check", folder, ...buckets, "-q"]);
  assert.is(shown.status, 1);
  for (const words of [
    /samples +9 videos, 2 pictures/,
    /64x64x17 +6 samples +3 batches of 2/,
    /64x32x9 +2 samples/,
    /32x32x1 +2 samples +1 batches of 4/,
    /broken: 4/,
    /empty\.mp4: is empty/,
    /left out: 1/,
    /no caption: 1\n {2}picture-1\.png/,
  ]) {
    assert.match(shown.stdout, words);
  }
  const { status, stdout } = await hunyuanHere(["data", "check", folder, ...buckets, "--json"]);
  assert.is(status, 1);
  const [result] = records(stdout).filter(({ event }) => event === "result");
  const report = result?.report as { readonly videos: number; readonly broken: readonly { readonly id: string }[] };
  assert.equal([report.videos, report.broken.length], [9, 4]);
});

test("a sound folder ends with 0 and speaks of no trouble", async () => {
  const good = await hunyuanHere(["data", "check", join(folder, "wide"), "-q"]);
  assert.equal([good.status, good.stderr], [0, ""]);
  assert.match(good.stdout, /captions +4, 4 different/);
  assert.not.match(good.stdout, /broken|no caption|left out/);
});

test("calls that make no sense", async () => {
  const calls: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["data", "check", folder, "--bucket", "64x64"], 2, /--bucket 64x64: expected width x height x frames/],
    [["data", "check", folder, "--fps", "0"], 2, /--fps 0/],
    [["data", "check"], 2, /missing required argument 'folder'/],
    [["data", "check", join(folder, "nothing")], 1, /FILE_ERROR.*nothing/],
  ];
  for (const [args, status, words] of calls) {
    const ended = await hunyuanHere(args);
    assert.is(ended.status, status, args.join(" "));
    assert.match(ended.stderr, words);
  }
  const empty = await hunyuanHere(["data", "check", emptyFolder(), "-q"]);
  assert.match(empty.stdout, /0 videos, 0 pictures/);
  assert.is((await refusal(checkData(folder, { signal: AbortSignal.abort() }))).code, "ABORTED");
});

test.run();
