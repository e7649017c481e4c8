/** What a run has measured, a line of JSON each, for people and for the report; and the same as a table. */
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { AtomicFiles } from "../io/atomic-files.js";
import { fileError } from "../io/failure.js";
import type { Metrics } from "./task.js";

/** One line of metrics.jsonl. */
export type MetricsRow =
  | { readonly kind: "train" | "validation"; readonly step: number; readonly stage: string; readonly values: Metrics }
  | {
      readonly kind: "sample";
      readonly step: number;
      readonly stage: string;
      /** Relative to the run's folder. */
      readonly files: readonly { readonly file: string; readonly caption: string; readonly type: string }[];
    }
  | { readonly kind: "notice"; readonly step: number; readonly stage: string; readonly text: string };

const op = "MetricsLog";

/** metrics.jsonl of a run. `step` counts the steps made: the first line of training says 1. */
export class MetricsLog {
  readonly path: string;
  /** Lines on their way to the file. */
  #waiting: string[] = [];

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Goes on with a log after a step: lines of later steps, which a resumed run makes again, are taken out.
   *
   * @throws FILE_ERROR
   */
  static async open(path: string, step: number): Promise<MetricsLog> {
    await mkdir(dirname(path), { recursive: true }).catch((error) => Promise.reject(fileError(op, path, error)));
    const rows = (await readRows(path)).filter((row) => row.step <= step);
    await writeWhole(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    return new MetricsLog(path);
  }

  add(row: MetricsRow): void {
    this.#waiting.push(`${JSON.stringify(row)}\n`);
  }

  /** Appends what has been added. @throws FILE_ERROR */
  async flush(): Promise<void> {
    if (this.#waiting.length === 0) return;
    const text = this.#waiting.join("");
    this.#waiting = [];
    await appendFile(this.path, text).catch((error) => Promise.reject(fileError(op, this.path, error)));
  }

  /** All lines, those added last too. */
  async rows(): Promise<readonly MetricsRow[]> {
    await this.flush();
    return readRows(this.path);
  }
}

/** The rows of a log; none where there is no file. A last line that a killed process left half written is passed over. */
export async function readRows(path: string): Promise<MetricsRow[]> {
  const text = await readFile(path, "utf8").catch((error) =>
    error.code === "ENOENT" ? "" : Promise.reject(fileError(op, path, error)),
  );
  return text.split("\n").flatMap((line) => {
    const row = parsed(line);
    return isRow(row) ? [row] : [];
  });
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function isRow(value: unknown): value is MetricsRow {
  if (typeof value !== "object" || value === null) return false;
  return "kind" in value && "stage" in value && "step" in value && typeof value.step === "number";
}

/**
 * Training and validation as a table that spreadsheets and TensorBoard's CSV readers take: a line for each step and kind, a
 * column for each number, empty where it was not measured.
 */
export async function writeCsv(path: string, rows: readonly MetricsRow[]): Promise<void> {
  const measured = rows.flatMap((row) => (row.kind === "train" || row.kind === "validation" ? [row] : []));
  const names = [...new Set(measured.flatMap(({ values }) => Object.keys(values)))];
  const lines = measured.map(({ kind, step, stage, values }) =>
    [kind, step, quoted(stage), ...names.map((name) => values[name] ?? "")].join(","),
  );
  const head = ["kind", "step", "stage", ...names.map(quoted)].join(",");
  await writeWhole(path, `${[head, ...lines].join("\n")}\n`);
}

const quoted = (text: string): string => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** @throws FILE_ERROR; then the file is as it was */
export async function writeWhole(path: string, contents: string | Uint8Array): Promise<void> {
  const files = new AtomicFiles(op);
  try {
    await files.add(path, (append) => append(typeof contents === "string" ? Buffer.from(contents) : contents));
    await files.commit();
  } finally {
    await files.discard();
  }
}
