/** Progress for people: a bar with the time left on a terminal, else a plain line now and then. */
import type { WriteStream } from "node:tty";
import cliProgress from "cli-progress";
import { showBytes, showDuration } from "./format.js";
import type { Progress } from "./output.js";

export interface Bar {
  readonly stage: string;
  update(progress: Progress): void;
  stop(): void;
}

/** Between two plain lines of one stage. */
const lineEveryMs = 5000;

export function openBar(stage: string, stream: WriteStream & { readonly fd: 1 | 2 }): Bar {
  return stream.isTTY ? new TerminalBar(stage, stream) : new PlainBar(stage, stream);
}

/** Guesses the time that is left, where nobody else does. */
class Pace {
  readonly #start = performance.now();
  #first: number | undefined;

  eta({ done, total, etaMs }: Progress): number | undefined {
    if (etaMs !== undefined) return etaMs;
    this.#first ??= done;
    const moved = done - this.#first;
    return moved <= 0 ? undefined : ((performance.now() - this.#start) / moved) * (total - done);
  }
}

const amount = ({ done, total, unit }: Progress) =>
  unit === "bytes" ? `${showBytes(done)} of ${showBytes(total)}` : `${done}/${total}`;

class TerminalBar implements Bar {
  readonly stage: string;
  readonly #pace = new Pace();
  readonly #bar: cliProgress.SingleBar;
  #started = false;

  constructor(stage: string, stream: NodeJS.WritableStream) {
    this.stage = stage;
    const format = `${stage.padEnd(18)} {bar} {amount}{left}{detail}`;
    this.#bar = new cliProgress.SingleBar(
      { format, stream, hideCursor: true, barsize: 24, fps: 5, gracefulExit: false, linewrap: false },
      cliProgress.Presets.shades_classic,
    );
  }

  update(progress: Progress): void {
    const eta = this.#pace.eta(progress);
    const { done, total, detail } = progress;
    const payload = {
      amount: amount(progress),
      left: eta === undefined || done >= total ? "" : `, ${showDuration(eta)} left`,
      detail: detail === undefined ? "" : `  ${detail}`,
    };
    if (!this.#started) this.#bar.start(Math.max(1, total), done, payload);
    else {
      this.#bar.setTotal(Math.max(1, total));
      this.#bar.update(total === 0 ? 1 : done, payload);
    }
    this.#started = true;
  }

  stop(): void {
    if (this.#started) this.#bar.stop();
  }
}

class PlainBar implements Bar {
  readonly stage: string;
  readonly #pace = new Pace();
  readonly #stream: NodeJS.WritableStream;
  #told = Number.NEGATIVE_INFINITY;
  #ended = false;

  constructor(stage: string, stream: NodeJS.WritableStream) {
    this.stage = stage;
    this.#stream = stream;
  }

  update(progress: Progress): void {
    const { done, total, detail } = progress;
    const ended = done >= total;
    const eta = this.#pace.eta(progress);
    const isTime = performance.now() - this.#told >= lineEveryMs;
    if (this.#ended || !(ended || isTime)) return;
    this.#told = performance.now();
    this.#ended = ended;
    const left = eta === undefined || ended ? "" : `, ${showDuration(eta)} left`;
    const behind = detail === undefined ? "" : ` (${detail})`;
    this.#stream.write(`${this.stage}: ${amount(progress)}${left}${behind}\n`);
  }

  stop(): void {}
}
