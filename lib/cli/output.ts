/**
 * What the command line says. Results go to standard output, everything on the way there to standard error; with --json
 * both go to standard output, as one JSON object a line.
 */
import { type Bar, openBar } from "./progress.js";

/** Where something stands: `done` of `total`, in whole steps or in bytes. */
export interface Progress {
  /** "download", "load transformer", "sample", … */
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  readonly unit?: "bytes" | "steps" | "tiles" | "frames";
  readonly etaMs?: number | undefined;
  /** Said behind it: a file, a noise level. */
  readonly detail?: string | undefined;
}

export interface OutputOptions {
  readonly json: boolean;
  /** Neither progress nor notes. */
  readonly quiet: boolean;
}

/** JSON has no undefined and no NaN; what is not finite becomes null. */
type JsonRecord = { readonly [key: string]: unknown };

export class Output {
  readonly json: boolean;
  readonly #quiet: boolean;
  #bar: Bar | undefined;

  constructor({ json, quiet }: OutputOptions) {
    this.json = json;
    this.#quiet = quiet;
  }

  /** A result: the lines for people, or the record for machines. */
  result(record: JsonRecord, lines: readonly string[]): void {
    this.#clear();
    if (this.json) this.#record("result", record);
    else if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
  }

  /** Something worth knowing on the way. */
  note(text: string): void {
    this.#clear();
    if (this.json) this.#record("note", { message: text });
    else if (!this.#quiet) process.stderr.write(`${text}\n`);
  }

  /** @param record what machines are told in place of the progress */
  progress(progress: Progress, record: JsonRecord = { ...progress }): void {
    if (this.json) this.#record("progress", record);
    else if (!this.#quiet) {
      if (this.#bar?.stage !== progress.stage) this.#clear();
      this.#bar ??= openBar(progress.stage, process.stderr);
      this.#bar.update(progress);
    }
  }

  /** @param lines for people; the record is for machines */
  failure(record: JsonRecord, lines: readonly string[]): void {
    this.#clear();
    if (this.json) this.#record("error", record);
    else process.stderr.write(`${lines.join("\n")}\n`);
  }

  /** Ends a bar that is still drawn. */
  end(): void {
    this.#clear();
  }

  #record(event: string, record: JsonRecord): void {
    process.stdout.write(`${JSON.stringify({ event, ...record })}\n`);
  }

  #clear(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
