/** The report as a page that stands alone: no scripts, no other files. */
import type { ClipResult, EvalReport } from "./evaluate.js";
import { criteria, type Rate, type Scores } from "./score.js";

export interface PageClip {
  /** `data:` address of its strip. */
  readonly picture: string;
  readonly result: ClipResult;
}

export interface PageOptions {
  readonly title: string;
  /** Settings and such, shown under the title. */
  readonly notes?: Readonly<Record<string, string>> | undefined;
}

/** @example await writeFile("eval.html", evalPage(report, clips, { title: "demo" })); */
export function evalPage(report: EvalReport, clips: readonly PageClip[], { title, notes = {} }: PageOptions): string {
  const facts = Object.entries(notes).map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>${style}</style></head><body>
<h1>${escaped(title)}</h1>
<dl>${facts.join("")}</dl>
${tableOf(report)}
${clips.length === 0 ? "" : `<h2>Clips</h2><div class="clips">${clips.map(figureOf).join("\n")}</div>`}
</body></html>
`;
}

const style = `
body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:90em;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}small{color:#777}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1em}
dt{color:#777}dd{margin:0}.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:1em}
figure{margin:0;padding:.5em;border:1px solid #ddd;border-radius:4px}img{image-rendering:pixelated;width:100%;display:block}
.right{color:#0a7a32}.wrong{color:#c01818;font-weight:600}`;

function tableOf({ generated, yardsticks }: EvalReport): string {
  const { rendered, renderedShuffled, reconstructed } = yardsticks;
  const rows: [string, Scores | undefined][] = [
    ["generated", generated?.scores],
    ["combinations that training saw", generated?.seen],
    ["held-out combinations", generated?.heldOut],
    ["generated, captions shuffled", generated?.shuffled],
    ["yardstick: rendered clips", rendered],
    ["yardstick: their reconstructions", reconstructed],
    ["yardstick: rendered, captions shuffled", renderedShuffled],
  ];
  const lines = rows.flatMap(([name, scores]) => (scores === undefined ? [] : [lineOf(name, scores)]));
  const heads = [...criteria, "all"].map((name) => `<th>${name}</th>`).join("");
  const psnr = reconstructed?.psnr;
  const quality =
    psnr === undefined
      ? ""
      : `<p>PSNR of the reconstructions: mean ${psnr.mean.toFixed(1)} dB, median ${psnr.median.toFixed(1)} dB, worst ${psnr.worst.toFixed(1)} dB</p>`;
  return `<table><tr><th></th>${heads}</tr>${lines.join("")}</table>${quality}`;
}

const lineOf = (name: string, scores: Scores): string =>
  `<tr><td>${name}</td>${[...criteria, "all" as const].map((one) => `<td>${cellOf(scores[one])}</td>`).join("")}</tr>`;

function cellOf({ right, total, rate, low, high }: Rate): string {
  if (total === 0) return "–";
  const range = `${(100 * low).toFixed(0)}–${(100 * high).toFixed(0)}`;
  return `${(100 * rate).toFixed(1)} % <small>${right}/${total}, ${range}</small>`;
}

function figureOf({ picture, result }: PageClip): string {
  const { prompt, heldOut, measured, verdict } = result;
  const seen = criteria.map((criterion) => {
    const fits = verdict[criterion];
    const mark = fits === undefined ? "" : fits ? "right" : "wrong";
    return `<span class="${mark}">${escaped(measured[criterion] ?? "?")}</span>`;
  });
  const held = heldOut ? " <small>held out</small>" : "";
  return `<figure><img src="${picture}" alt=""><figcaption>${escaped(prompt)}${held}<br>${seen.join(" · ")}</figcaption></figure>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
