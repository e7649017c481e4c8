/** A run as one HTML file that needs nothing else: curves, samples, what was noticed. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { escaped, lineChart, type Series } from "./chart.js";
import { type MetricsRow, writeWhole } from "./metrics.js";
import { short } from "./progress.js";

export interface ReportOptions {
  readonly title: string;
  /** Steps of the whole run. */
  readonly steps: number;
}

/** Sample rows that are shown: first, last, and some between. */
const mostSampleRows = 12;

/**
 * Writes the report of a run.
 *
 * @param path beside the run's samples folder
 * @throws FILE_ERROR
 */
export async function writeReport(path: string, rows: readonly MetricsRow[], options: ReportOptions): Promise<void> {
  const { title, steps } = options;
  const done = rows.reduce((most, { step }) => Math.max(most, step), 0);
  const body = [
    `<h1>${escaped(title)}</h1>`,
    `<p>Step ${done} of ${steps}${latest(rows)}.</p>`,
    ...charts(rows),
    await samples(dirname(path), rows),
    notices(rows),
  ];
  await writeWhole(
    path,
    `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n<title>${escaped(title)}</title>\n<style>${style}</style></head>\n<body>\n${body.filter((part) => part !== "").join("\n")}\n</body></html>\n`,
  );
}

const style = `
:root{color-scheme:light dark;--c0:#2563eb;--c1:#d97706;--c2:#059669;--c3:#be185d;--grid:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
figure{margin:1.5rem 0}figcaption{font-weight:600}svg{width:100%;height:auto;max-width:900px}
svg text{font-size:11px;fill:currentColor}svg path{fill:none;stroke-width:1.6}svg .grid{stroke:var(--grid);stroke-width:1}
svg .faint{opacity:.3;stroke-width:1}
${[0, 1, 2, 3].map((i) => `path.c${i}{stroke:var(--c${i})}circle.c${i}{fill:var(--c${i})}.key.c${i}::before{background:var(--c${i})}`).join("")}
.legend{margin:0;font-size:13px}.key{margin-right:1rem}.key::before{content:"";display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:2px}
.samples{display:flex;flex-wrap:wrap;gap:1rem}.samples figure{margin:0;max-width:340px}.samples img{max-width:100%;image-rendering:pixelated}
.samples figcaption{font-weight:400;font-size:13px}
`;

type Measured = Extract<MetricsRow, { kind: "train" | "validation" }>;

function measured(rows: readonly MetricsRow[], kind: Measured["kind"]): readonly Measured[] {
  return rows.filter((row): row is Measured => row.kind === kind);
}

/** Values of one name over steps; a step that had none, or one that was not finite, is left out. */
function pointsOf(rows: readonly Measured[], name: string): readonly (readonly [number, number])[] {
  return rows.flatMap(({ step, values }) => {
    const value: unknown = values[name];
    return typeof value === "number" ? [[step, value] as const] : [];
  });
}

function latest(rows: readonly MetricsRow[]): string {
  const parts = (["train", "validation"] as const).flatMap((kind) => {
    const last = pointsOf(measured(rows, kind), "loss").at(-1);
    return last === undefined ? [] : [`${kind === "train" ? "loss" : "validation loss"} ${short(last[1])}`];
  });
  return parts.length === 0 ? "" : `: ${parts.join(", ")}`;
}

/** The losses in one chart, every other number in one of its own. */
function charts(rows: readonly MetricsRow[]): string[] {
  const [train, validation] = [measured(rows, "train"), measured(rows, "validation")];
  const names = [...new Set([...train, ...validation].flatMap(({ values }) => Object.keys(values)))];
  const ordered = ["loss", ...names.filter((name) => name !== "loss")];
  return ordered.map((name) => {
    const series: Series[] = [
      { name: "training", points: pointsOf(train, name), style: name === "lr" ? "line" : "smooth", colour: 0 },
      { name: "validation", points: pointsOf(validation, name), style: "dots", colour: 1 },
    ];
    return lineChart(
      series.filter(({ points }) => points.length > 0),
      { title: name, log: name !== "lr" },
    );
  });
}

async function samples(folder: string, rows: readonly MetricsRow[]): Promise<string> {
  const all = rows.filter((row) => row.kind === "sample");
  const step = Math.max(1, (all.length - 1) / (mostSampleRows - 1));
  const shown = [
    ...new Set(Array.from({ length: Math.min(all.length, mostSampleRows) }, (_, i) => Math.round(i * step))),
  ];
  const parts: string[] = [];
  for (const index of shown.reverse()) {
    const row = all[index];
    if (row === undefined) continue;
    const figures: string[] = [];
    for (const { file, caption, type } of row.files) {
      // A picture that somebody has taken away leaves its caption.
      const bytes = await readFile(join(folder, file)).catch(() => undefined);
      const image = bytes && `<img alt="" src="data:${escaped(type)};base64,${bytes.toString("base64")}">`;
      figures.push(`<figure>${image ?? ""}<figcaption>${escaped(caption)}</figcaption></figure>`);
    }
    parts.push(`<h3>Step ${row.step}</h3>\n<div class="samples">${figures.join("\n")}</div>`);
  }
  return parts.length === 0 ? "" : `<h2>Samples</h2>\n${parts.join("\n")}`;
}

function notices(rows: readonly MetricsRow[]): string {
  const list = rows.filter((row) => row.kind === "notice").slice(-50);
  if (list.length === 0) return "";
  return `<h2>Noticed</h2>\n<ul>${list.map(({ step, text }) => `<li>Step ${step}: ${escaped(text)}</li>`).join("\n")}</ul>`;
}
