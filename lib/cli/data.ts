/** `hunyuan data check`: what a folder of clips is made of, and what in it cannot be used. */
import type { Command } from "commander";
import { z } from "zod";
import { type Bucket, bucketOf } from "../train/data/buckets.js";
import { type Count, checkData, type DataReport } from "../train/data/check.js";
import type { Skipped } from "../train/data/samples.js";
import { type Options, onCall, type Session } from "./command.js";
import { exitCodes, UsageError } from "./errors.js";
import { showBytes, showCount, showDuration, table } from "./format.js";
import { gathered, numberOf } from "./values.js";

const shape = {
  bucket: z.array(z.string()),
  fps: z.number(),
  framesAsImages: z.boolean(),
  decode: z.boolean(),
} as const;

const examples = `
Examples:
  hunyuan data check ./clips
  hunyuan data check ./clips --bucket 960x544x129:1 --bucket 960x544x65:2 --bucket 960x544x1:8
  hunyuan data check clips.jsonl --no-decode --json

Captions stand beside a clip in a .txt or .json file of its name, or in a metadata.jsonl.
Ends with 1 when a file is broken.`;

/** Lines of a list that people are shown; --json has all. */
const shownLines = 10;

export function addData(command: Command): void {
  const check = command
    .command("check")
    .description("counts, sizes, lengths, buckets, broken files and missing captions")
    .argument("<folder>", "a folder of videos and pictures, or a JSONL file")
    .option(
      "--bucket <WxHxT:B>",
      "a bucket: pixels, frames (1: pictures), batch size; may stand again",
      gathered(String),
    )
    .option("--fps <number>", "frames per second that clips are brought to (default: 24)", numberOf)
    .option("--frames-as-images", "frames of videos serve as pictures too")
    .option("--no-decode", "look at headers only: faster, and misses damage inside")
    .addHelpText("after", examples);
  onCall(check, shape, run);
}

async function run(
  { out, signal }: Session,
  options: Options<typeof shape>,
  [folder = ""]: readonly (string | undefined)[],
) {
  const { fps, framesAsImages, decode, bucket = [] } = options;
  if (fps !== undefined && !(fps > 0 && fps <= 1000)) throw new UsageError(`--fps ${fps}: expected 0 … 1000`);
  const report = await checkData(folder, {
    ...{ buckets: bucket.map(parseBucket), fps, framesAsImages, decode, signal },
    onProgress: ({ done, total, id }) => {
      // A line a file would bury the result.
      if (done % Math.ceil(total / 100) === 0) out.progress({ stage: "check", done, total, detail: id });
    },
  });
  out.result({ report }, linesOf(report));
  if (report.broken.length > 0) process.exitCode = exitCodes.failed;
}

function parseBucket(text: string): Bucket {
  const bucket = bucketOf(text);
  if (bucket !== undefined) return bucket;
  throw new UsageError(`--bucket ${text}: expected width x height x frames : batch size, such as 960x544x129:2`);
}

function linesOf(report: DataReport): string[] {
  const { source, videos, images, bytes, seconds, sizes, rates, lengths, captions, captionsMissing, broken } = report;
  const short = (ms: number) => (ms < 60_000 ? `${(ms / 1000).toFixed(2)} s` : showDuration(ms));
  const of = (list: readonly Count[]) => list.map(({ what, count }) => `${what} (${count})`);
  const rows: [string, string][] = [
    ["samples", `${showCount(videos)} videos, ${showCount(images)} pictures, ${showBytes(bytes)}`],
    ["sizes", some(of(sizes)) || "none"],
  ];
  if (videos > 0) {
    const { shortest, median, longest } = seconds;
    const range = [shortest, median, longest].map((one) => short(one * 1000)).join(" / ");
    rows.push(
      ["durations", `${range} (shortest / median / longest), ${short(seconds.total * 1000)} in all`],
      ["frames", some(of(lengths))],
      ["frames/s", some(of(rates))],
    );
  }
  rows.push(["captions", `${showCount(captions.total)}, ${showCount(captions.different)} different`]);
  return [
    `${source}:`,
    ...table(rows, false).map((line) => `  ${line}`),
    ...bucketLines(report),
    ...skippedLines("left out", report.leftOut),
    ...skippedLines("broken", broken),
    ...listLines(`no caption: ${captionsMissing.length}`, captionsMissing),
  ];
}

function bucketLines({ buckets }: DataReport): string[] {
  if (buckets.length === 0) return [];
  const rows = buckets.map(({ width, height, numFrames, batchSize, samples }) => [
    `${width}x${height}x${numFrames}`,
    `${showCount(samples)} samples`,
    `${showCount(Math.ceil(samples / batchSize))} batches of ${batchSize}`,
  ]);
  return ["buckets:", ...table(rows).map((line) => `  ${line}`)];
}

function skippedLines(what: string, list: readonly Skipped[]): string[] {
  return listLines(
    `${what}: ${list.length}`,
    list.map(({ id, reason }) => (reason.includes(id) ? reason : `${id}: ${reason}`)),
  );
}

function listLines(title: string, list: readonly string[]): string[] {
  if (list.length === 0) return [];
  const more = list.length > shownLines ? [`  and ${list.length - shownLines} more (--json lists all)`] : [];
  return [title, ...list.slice(0, shownLines).map((line) => `  ${line}`), ...more];
}

function some(list: readonly string[]): string {
  return list.slice(0, 6).join(", ") + (list.length > 6 ? ` and ${list.length - 6} more` : "");
}
