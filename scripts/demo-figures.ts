// Measures the demo model and writes what the README shows of it.
//
//   npm run demo:figures -- [--model models/demo] [options of hunyuan eval]
//
//   docs/demo/eval.json            scores and what was measured of every clip
//   docs/demo/contact-sheet.webp   five frames of each clip
//   README.md                      the table between <!-- demo figures --> and <!-- /demo figures -->
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { main } from "../lib/cli/program.js";
import type { EvalReport } from "../lib/train/eval/evaluate.js";
import type { Rate, Scores } from "../lib/train/eval/score.js";

const [begin, end] = ["<!-- demo figures -->", "<!-- /demo figures -->"];
const folder = join("docs", "demo");

const percent = ({ rate, total }: Rate) => (total === 0 ? "–" : `${(100 * rate).toFixed(0)} %`);
const row = (name: string, { colour, shape, motion }: Scores) =>
  `| ${name} | ${[colour, shape, motion].map(percent).join(" | ")} |`;

function tableOf({ generated, yardsticks }: EvalReport): string {
  if (generated === undefined) throw new Error("nothing was generated");
  const { scores, seen, heldOut, shuffled, clips } = generated;
  const { rendered, reconstructed } = yardsticks;
  const rows = [
    row(`**${clips.length} prompts**`, scores),
    row(`combinations of training (${seen.all.total})`, seen),
    row(`combinations that training never had (${heldOut.all.total})`, heldOut),
    row("the same clips, captions shuffled", shuffled),
    row("rendered clips", rendered),
    ...(reconstructed === undefined ? [] : [row("rendered clips through the autoencoder", reconstructed)]),
  ];
  const psnr = reconstructed?.psnr;
  const quality =
    psnr === undefined
      ? []
      : [
          `PSNR of the autoencoder on unseen clips: mean ${psnr.mean.toFixed(1)} dB, worst ${psnr.worst.toFixed(1)} dB.`,
        ];
  return [
    "| | colour | shape | motion |",
    "| --- | --- | --- | --- |",
    ...rows,
    ...quality.flatMap((q) => ["", q]),
  ].join("\n");
}

const work = await mkdtemp(join(tmpdir(), "hunyuan-demo-figures-"));
try {
  await main(["node", "hunyuan", "eval", "--model", join("models", "demo"), ...process.argv.slice(2), "-o", work]);
  if ((process.exitCode ?? 0) === 0) {
    const json = await readFile(join(work, "eval.json"), "utf8");
    const report = JSON.parse(json) as EvalReport;
    const readme = await readFile("README.md", "utf8");
    const [from, to] = [readme.indexOf(begin), readme.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`README.md: expected ${begin} and, later, ${end}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "eval.json"), json);
    await sharp(join(work, "contact-sheet.png")).webp({ quality: 80 }).toFile(join(folder, "contact-sheet.webp"));
    await writeFile("README.md", `${readme.slice(0, from + begin.length)}\n${tableOf(report)}\n${readme.slice(to)}`);
  }
} finally {
  await rm(work, { recursive: true, force: true });
}
