/**
 * Random numbers on the host that depend on their keys alone: who asks for ("crop", seed, epoch, index) gets the same
 * numbers whatever was drawn before, so that data can be resumed anywhere.
 */
import { createHash } from "node:crypto";

/** Numbers of the generator sfc32 (C. Doty-Humphrey, PractRand), seeded with SHA-256 of the keys. */
export class Draws {
  #a: number;
  #b: number;
  #c: number;
  #counter: number;

  constructor(...keys: readonly (string | number)[]) {
    const hash = createHash("sha256").update(JSON.stringify(keys)).digest();
    [this.#a, this.#b, this.#c, this.#counter] = [0, 4, 8, 12].map((at) => hash.readInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
  }

  /** A whole number in 0 … 2³² − 1. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** In [min, max); without arguments in [0, 1). */
  uniform(min = 0, max = 1): number {
    return min + (max - min) * (this.next() / 2 ** 32);
  }

  /** A whole number in 0 … n − 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** One of the items; the list is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** The items in another order; a new array. */
  shuffled<T>(items: readonly T[]): T[] {
    const mixed = [...items];
    for (let i = mixed.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
    }
    return mixed;
  }
}
