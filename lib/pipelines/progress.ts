/** What a running request tells, and the object that stands for it: a promise and a stream of these events in one. */

interface Progress {
  /** Done so far within the stage, and of how many. */
  readonly step: number;
  readonly steps: number;
  /** Milliseconds until the stage ends, guessed from its steps so far; undefined before the first. */
  readonly etaMs?: number | undefined;
}

/** The request waits for others; `steps` is how many were ahead of it when it came. */
export interface QueuedEvent extends Progress {
  readonly stage: "queued";
}

export interface EncodeEvent extends Progress {
  readonly stage: "encode";
  /** What is being encoded, or has just been. */
  readonly part: "text" | "image" | "video";
}

/** A small picture of what the latents would decode to. */
export interface Preview {
  readonly width: number;
  readonly height: number;
  /** RGB, row by row. */
  readonly data: Uint8Array;
}

export interface SampleEvent extends Progress {
  readonly stage: "sample";
  /** Which of the request's videos, from 0. */
  readonly video: number;
  /** The noise level that the step came to: 1 is noise, 0 the end. */
  readonly sigma: number;
  /** Only when the request asks for previews. */
  readonly preview?: Preview;
}

/** Steps are tiles. How many there are is told with the first that is done: the event before it says 0 of 1. */
export interface DecodeEvent extends Progress {
  readonly stage: "decode";
  readonly video: number;
}

export interface DoneEvent extends Progress {
  readonly stage: "done";
}

export type GenerateEvent = QueuedEvent | EncodeEvent | SampleEvent | DecodeEvent | DoneEvent;

export type OnProgress = (event: GenerateEvent) => void;

/** Guesses what is left of a stage from the time that its steps took. */
export class Pace {
  readonly #start = performance.now();

  /** Milliseconds that the steps left will take, if they take as long as those done. */
  eta(done: number, steps: number): number | undefined {
    return done === 0 ? undefined : ((performance.now() - this.#start) / done) * (steps - done);
  }
}

/**
 * A request on its way: `await` it for the result, or go through its events (from the first on, whenever one begins to).
 * Leaving the loop does not stop the request; its signal does.
 *
 * @example for await (const { stage, step, steps } of model.generate(request)) console.log(stage, step, steps);
 */
export class Generation<R> implements Promise<R>, AsyncIterable<GenerateEvent> {
  readonly [Symbol.toStringTag] = "Generation";
  readonly #result: Promise<R>;
  readonly #events: GenerateEvent[] = [];
  #ended = false;
  #wake: (() => void)[] = [];

  /** @internal */
  constructor(start: (emit: OnProgress) => Promise<R>) {
    const work = start((event) => {
      this.#events.push(event);
      this.#ring();
    });
    this.#result = work.finally(() => {
      this.#ended = true;
      this.#ring();
    });
  }

  // biome-ignore lint/suspicious/noThenProperty: being awaitable is what this class is for
  then<T = R, E = never>(
    onFulfilled?: ((value: R) => T | PromiseLike<T>) | null,
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<T | E> {
    return this.#result.then(onFulfilled, onRejected);
  }

  catch<E = never>(onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null): Promise<R | E> {
    return this.#result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<R> {
    return this.#result.finally(onFinally);
  }

  /** Ends after the last event, or throws what the request failed with. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent, void, void> {
    // The loop tells a failure by itself; who also awaits the result is told twice.
    this.#result.catch(() => {});
    for (let i = 0; ; i++) {
      while (i >= this.#events.length && !this.#ended) await new Promise<void>((wake) => this.#wake.push(wake));
      const event = this.#events[i];
      if (event === undefined) break;
      yield event;
    }
    await this.#result;
  }

  #ring(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}
