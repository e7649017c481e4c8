/** What a run leaves for people: its log, table, samples and report, and the events that it tells. */
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileError } from "../io/failure.js";
import { MetricsLog, writeCsv, writeWhole } from "./metrics.js";
import { Pace, type TrainingEvent } from "./progress.js";
import { writeReport } from "./report.js";
import type { Metrics, SampleStrip } from "./task.js";

interface RecordOptions {
  /** Absolute. */
  readonly folder: string;
  readonly title: string | undefined;
  /** Steps made before. */
  readonly step: number;
  readonly steps: number;
  readonly onEvent: ((event: TrainingEvent) => void) | undefined;
}

/** Somebody may be watching the file. */
const flushEveryMs = 1000;

const extensions = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" } as const;

export class RunRecord {
  readonly #options: RecordOptions;
  readonly #log: MetricsLog;
  readonly #pace = new Pace();
  #flushed = performance.now();

  private constructor(options: RecordOptions, log: MetricsLog) {
    this.#options = options;
    this.#log = log;
  }

  static async open(options: RecordOptions): Promise<RunRecord> {
    return new RunRecord(options, await MetricsLog.open(join(options.folder, "metrics.jsonl"), options.step));
  }

  resumed(path: string, step: number, stage: string): void {
    this.#tell({ kind: "resumed", path, ...this.#at(step, stage) });
  }

  notice(text: string, step: number, stage: string): void {
    this.#log.add({ kind: "notice", step, stage, text });
    this.#tell({ kind: "notice", text, ...this.#at(step, stage) });
  }

  async step(metrics: Metrics, step: number, stage: string): Promise<void> {
    const pace = this.#pace.step(this.#options.steps - step);
    this.#log.add({ kind: "train", step, stage, values: metrics });
    this.#tell({ kind: "step", metrics, ...pace, ...this.#at(step, stage) });
    if (performance.now() - this.#flushed < flushEveryMs) return;
    this.#flushed = performance.now();
    await this.#log.flush();
  }

  validation(metrics: Metrics, step: number, stage: string): void {
    this.#log.add({ kind: "validation", step, stage, values: metrics });
    this.#tell({ kind: "validation", metrics, ...this.#at(step, stage) });
  }

  /** @throws FILE_ERROR */
  async samples(strips: readonly SampleStrip[], step: number, stage: string): Promise<void> {
    if (strips.length === 0) return;
    const { folder } = this.#options;
    const samples = join(folder, "samples");
    await mkdir(samples, { recursive: true }).catch((error) =>
      Promise.reject(fileError("runTraining", samples, error)),
    );
    const files = strips.map(({ caption, type }, i) => {
      const name = `step-${String(step).padStart(9, "0")}-${i + 1}.${extensions[type]}`;
      return { file: `samples/${name}`, caption, type };
    });
    for (const [i, { bytes }] of strips.entries()) await writeWhole(join(folder, files[i]?.file ?? ""), bytes);
    this.#log.add({ kind: "sample", step, stage, files });
    await this.#report();
    this.#tell({ kind: "sample", files: files.map(({ file }) => join(folder, file)), ...this.#at(step, stage) });
  }

  /** After a state was saved: the log is then at least as long as the state is old. */
  async saved(path: string, step: number, stage: string): Promise<void> {
    await this.#log.flush();
    this.#tell({ kind: "saved", path, ...this.#at(step, stage) });
  }

  async finish(): Promise<void> {
    await this.#report();
  }

  async #report(): Promise<void> {
    const { folder, title, steps } = this.#options;
    const rows = await this.#log.rows();
    await writeCsv(join(folder, "metrics.csv"), rows);
    await writeReport(join(folder, "report.html"), rows, { title: title ?? basename(folder), steps });
  }

  #at(step: number, stage: string): { readonly step: number; readonly steps: number; readonly stage: string } {
    return { step, steps: this.#options.steps, stage };
  }

  #tell(event: TrainingEvent): void {
    this.#options.onEvent?.(event);
  }
}
