/** Requests to one model run one at a time, in the order in which they came. */
import { HunyuanError } from "../runtime/errors.js";

export class RequestQueue {
  #last: Promise<void> = Promise.resolve();
  #length = 0;

  /** Requests that wait or run. */
  get length(): number {
    return this.#length;
  }

  /**
   * Runs the work when all that came before has ended.
   *
   * @throws ABORTED at once when the signal fires while it waits
   */
  async run<T>(op: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    throwIfAborted(op, signal);
    const before = this.#last;
    const { promise: mine, resolve: leave } = signalled();
    // Who comes next waits for those before too, should this one leave early.
    this.#last = before.then(() => mine);
    this.#length++;
    try {
      await unlessAborted(op, signal, before);
      return await work();
    } finally {
      this.#length--;
      leave();
    }
  }

  /** Waits until all that has come so far has ended. */
  async idle(): Promise<void> {
    await this.#last;
  }
}

function signalled(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** @throws ABORTED */
export function throwIfAborted(op: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(op, signal);
}

/** The promise, or ABORTED as soon as the signal fires; what the promise waits for goes on. */
export async function unlessAborted<T>(op: string, signal: AbortSignal | undefined, promise: Promise<T>): Promise<T> {
  if (signal === undefined) return await promise;
  throwIfAborted(op, signal);
  let onAbort = () => {};
  const fired = new Promise<never>((_, reject) => {
    onAbort = () => reject(aborted(op, signal));
  });
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, fired]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function aborted(op: string, signal: AbortSignal): HunyuanError<"ABORTED"> {
  return new HunyuanError("ABORTED", `${op}: aborted by its signal`, { op }, { cause: signal.reason });
}
