/** What a benchmark says: one row an operation, as a table or as one JSON object a line. */
import type { Clock } from "./measure.js";

export interface Row {
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  readonly device: string;
  readonly threads: number;
  readonly isa: string;
  /** Time of one call, the median over the rounds. */
  readonly medianUs: number | null;
  /** What rounds were timed by. */
  readonly clock?: Clock;
  /** Distance between the 10th and the 90th percentile of the rounds, in percent of the median. */
  readonly spreadPct: number | null;
  readonly rate: number | null;
  readonly unit: Unit;
  /** What the same device reached in the same run on work of this kind; null where nothing was measured. */
  readonly limit: number | null;
  readonly percentOfLimit: number | null;
  /** Where memory was asked for: resident bytes above those before the case was opened, at most. */
  readonly peakBytes?: number | null;
  /** Where rounds alternate with other work: what it is, its median, and its time by this row's. */
  readonly against?: string;
  readonly againstMedianUs?: number;
  readonly ratio?: number;
}

export type Unit = "GFLOP/s" | "GB/s" | "calls/s" | "GHz" | "MiB";

/** What an op takes of a case. */
export interface OpTime {
  /** The native op, with the function where it has several: "binary mul". */
  readonly op: string;
  readonly calls: number;
  /** Of all calls together. */
  readonly us: number;
  /** By the op's declaration; null where it asks for none. */
  readonly gflops: number | null;
}

const columns = ["op", "shape", "dtype", "median", "spread", "rate", "limit", "of limit"] as const;
const widths = [28, 46, 12, 10, 8, 15, 8, 8];
const rightFrom = columns.indexOf("median");

function line(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i < rightFrom ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
    .join(" ");
}

/** A row as one line; six significant figures are more than any clock is good for. */
export function jsonLine(row: object): string {
  return JSON.stringify(row, (_, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(6)) : value));
}

/** Four significant figures: more would be noise. */
export function figure(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(4);
}

export function duration(us: number): string {
  if (us >= 1e6) return `${figure(us / 1e6)} s`;
  return us >= 1e3 ? `${figure(us / 1e3)} ms` : `${figure(us)} µs`;
}

const orDash = (value: number | null, show: (value: number) => string) => (value === null ? "–" : show(value));

function showBeside({ peakBytes, against, againstMedianUs, ratio }: Row): string {
  const memory =
    peakBytes === undefined ? "" : `   peak memory ${orDash(peakBytes, (n) => `${(n / 2 ** 20).toFixed(0)} MiB`)}`;
  if (against === undefined || ratio === undefined) return memory;
  return `${memory}   ${ratio.toFixed(2)}× as fast as ${against} (${orDash(againstMedianUs ?? null, duration)})`;
}

export class Reporter {
  readonly rows: Row[] = [];
  readonly #json: boolean;
  #headed = false;

  constructor({ json }: { readonly json: boolean }) {
    this.#json = json;
  }

  add(row: Row): void {
    this.rows.push(row);
    if (this.#json) {
      console.log(jsonLine(row));
      return;
    }
    if (!this.#headed) console.log(line(columns));
    this.#headed = true;
    console.log(
      line([
        row.op,
        row.shape,
        row.dtype,
        orDash(row.medianUs, duration),
        orDash(row.spreadPct, (n) => `${n.toFixed(1)} %`),
        orDash(row.rate, (n) => `${figure(n)} ${row.unit}`),
        orDash(row.limit, figure),
        orDash(row.percentOfLimit, (n) => `${n.toFixed(1)} %`),
      ]).concat(showBeside(row)),
    );
  }

  /** Where the time of a case goes. */
  addProfile({ op, shape, dtype }: Pick<Row, "op" | "shape" | "dtype">, times: readonly OpTime[]): void {
    if (this.#json) for (const time of times) console.log(jsonLine({ case: op, shape, dtype, ...time }));
    else console.log([`${op} ${shape} ${dtype}`, ...profileLines(times)].join("\n"));
  }

  /** Words for people: never among the JSON. */
  note(text: string): void {
    if (this.#json) console.error(text);
    else console.log(text);
  }
}

/** The ops that take at least a hundredth of the time. */
function profileLines(times: readonly OpTime[]): string[] {
  const whole = times.reduce((sum, { us }) => sum + us, 0);
  const shown = times.filter(({ us }) => us >= whole / 100);
  const rest = times.slice(shown.length).reduce((sum, { us }) => sum + us, 0);
  const line = (op: string, calls: string, us: number, rate: string) =>
    `  ${op.padEnd(32)} ${calls.padStart(6)} ${duration(us).padStart(10)} ${((100 * us) / whole).toFixed(1).padStart(6)} % ${rate.padStart(16)}`;
  return [
    ...shown.map(({ op, calls, us, gflops }) =>
      line(op, `${calls}×`, us, gflops === null ? "" : `${gflops.toFixed(1)} GFLOP/s`),
    ),
    line("the rest", "", rest, ""),
    line("in all", "", whole, ""),
  ];
}
