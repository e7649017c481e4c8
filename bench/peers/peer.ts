/** The other program: started once, asked for one round after another. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Clock } from "../measure.js";
import type { PeerTask } from "./task.js";

const here = dirname(fileURLToPath(import.meta.url));

interface Answer {
  readonly ok?: boolean;
  readonly us?: number;
  readonly peak?: number | null;
  readonly reason?: string;
  readonly note?: string;
  readonly about?: string;
  readonly torch?: string;
  readonly threads?: number;
}

export class Peer {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  /** What the program said on stderr, for when it ends. */
  #complaints = "";
  /** "2.13.0+cpu", once started. */
  version = "";
  /** Libraries and device, where it tells. */
  about = "";

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stderr.on("data", (chunk: Buffer) => {
      this.#complaints += chunk.toString();
    });
    // A program that has ended is noticed when its answer is missing.
    child.stdin.on("error", () => {});
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts `python` for a kind of device; answers the reason when it or PyTorch is not there. */
  static async start(python: string, kind: "cpu" | "cuda", threads: number): Promise<Peer | string> {
    const child = spawn(python, [join(here, `torch_${kind}.py`), String(threads)]);
    const failed = await Promise.race([once(child, "spawn"), once(child, "error")]).catch((error: unknown) => [error]);
    if (failed[0] instanceof Error) return `${python} could not be started: ${failed[0].message}`;
    const peer = new Peer(child);
    try {
      const { torch = "", about = "", threads: seen } = await peer.#next();
      if (seen !== threads) return `PyTorch uses ${seen} threads, not ${threads}`;
      peer.version = torch;
      peer.about = about;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return peer;
  }

  async #next(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    if (done === true) {
      const lines = this.#complaints.trim().split("\n");
      throw new Error(`the peer ended: ${lines.at(-1) || "it said nothing"}`);
    }
    return JSON.parse(value) as Answer;
  }

  #ask(request: { readonly [name: string]: unknown }): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#next();
  }

  /** Builds the inputs and runs the work; tells which of several ways it takes, or the reason when there is none. */
  async open(task: PeerTask): Promise<{ readonly note?: string; readonly refused?: string }> {
    const { ok, reason, note = "" } = await this.#ask({ open: task });
    return ok === true ? { note } : { refused: reason ?? "no reason given" };
  }

  /** Microseconds of one of `calls` calls. */
  async round(calls: number, clock: Clock): Promise<number> {
    const { us, reason } = await this.#ask({ round: calls, clock });
    if (us === undefined) throw new Error(reason ?? "the peer answered no time");
    return us;
  }

  /** The most bytes during one call, above those before the work was opened; null where nobody counts. */
  async peak(): Promise<number | null> {
    return (await this.#ask({ memory: true })).peak ?? null;
  }

  async close(): Promise<void> {
    await this.#ask({ close: true });
  }

  async end(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin.end();
    await ended;
  }
}
