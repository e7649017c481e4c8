/** What a benchmark says: one row an operation, as a table or as one JSON object a line. */

export interface Row {
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  readonly device: string;
  readonly threads: number;
  readonly isa: string;
  /** Time of one call, the median over the rounds. */
  readonly medianUs: number | null;
  /** Distance between the 10th and the 90th percentile of the rounds, in percent of the median. */
  readonly spreadPct: number | null;
  readonly rate: number | null;
  readonly unit: Unit;
  /** What the same device reached in the same run on work of this kind; null where nothing was measured. */
  readonly limit: number | null;
  readonly percentOfLimit: number | null;
  /** Where memory was asked for: resident bytes above those before the case was opened, at most. */
  readonly peakBytes?: number | null;
}

export type Unit = "GFLOP/s" | "GB/s" | "calls/s" | "GHz" | "MiB";

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
      ]),
    );
  }

  /** Words for people: never among the JSON. */
  note(text: string): void {
    if (this.#json) console.error(text);
    else console.log(text);
  }
}
