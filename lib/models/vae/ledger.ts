/** Bookkeeping of memory without a device: what would be allocated, when, and how much is live at most. */

/** Something allocated: its bytes. */
export interface Block {
  readonly bytes: number;
}

export class Ledger {
  #live = 0;
  #peak = 0;
  /** Multiply-adds, counted twice. */
  flops = 0;

  /** The most bytes that were live at once. */
  get peak(): number {
    return this.#peak;
  }

  take(bytes: number): Block {
    this.#live += bytes;
    this.#peak = Math.max(this.#peak, this.#live);
    return { bytes };
  }

  give(...blocks: readonly Block[]): void {
    for (const { bytes } of blocks) this.#live -= bytes;
  }

  /** Takes and gives back: what a call needs while it runs. */
  borrow(bytes: number): void {
    this.give(this.take(bytes));
  }
}
