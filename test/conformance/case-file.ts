/**
 * One conformance case: a JSON file beside a safetensors file. Weights and inputs may be those of other cases in the same
 * folder; what a case holds itself goes first. README.md of such a folder says what the names mean.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type FixtureTensor, hasSafetensors, readSafetensors } from "../support/safetensors.js";

/** What the JSON says of one tensor. */
export interface TensorFacts {
  readonly shape: readonly number[];
  readonly absmax?: number;
  readonly note?: string;
  readonly fp32_vs_fp64?: number;
  readonly bf16_vs_fp64?: number;
  /** Every k-th place along each axis is stored. */
  readonly subsample?: readonly number[];
  readonly full_shape?: readonly number[];
}

export interface CaseFacts {
  readonly case: string;
  readonly config: { readonly [key: string]: unknown };
  readonly tensors: { readonly [name: string]: TensorFacts };
  readonly tolerance: {
    readonly metric: string;
    readonly float32: number | { readonly [pattern: string]: number | string };
    readonly rand?: string;
  };
  readonly weights_from?: string | readonly string[];
  readonly inputs_from?: string | readonly string[];
  readonly largest_gradient?: number;
  readonly [key: string]: unknown;
}

/** Names of the cases in a folder: every JSON file with a safetensors file beside it. */
export function listCases(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .map((file) => file.slice(0, -".json".length))
    .filter((name) => hasSafetensors(join(folder, `${name}.safetensors`)))
    .sort();
}

export class ConformanceCase {
  readonly name: string;
  readonly about: CaseFacts;
  readonly #folder: string;
  #stored: Map<string, FixtureTensor> | undefined;
  readonly #others = new Map<string, ConformanceCase>();

  constructor(folder: string, name: string) {
    this.name = name;
    this.#folder = folder;
    this.about = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as CaseFacts;
  }

  /** Everything in the case's own file. */
  get stored(): ReadonlyMap<string, FixtureTensor> {
    this.#stored ??= readSafetensors(join(this.#folder, `${this.name}.safetensors`));
    return this.#stored;
  }

  /** Names of what is to be reproduced: intermediates and results in the case's own file. */
  get expected(): string[] {
    return [...this.stored.keys()].filter((name) => name.startsWith("out.") || name.startsWith("mid."));
  }

  /** The cases whose weights this one takes over, in the order given. */
  get weightSources(): ConformanceCase[] {
    return this.#named(this.about.weights_from);
  }

  get inputSources(): ConformanceCase[] {
    return this.#named(this.about.inputs_from);
  }

  /** The weight of that key (without "w."), from here or from a case that this one refers to. */
  weight(key: string): FixtureTensor | undefined {
    return this.#find(`w.${key}`, (from) => from.weightSources);
  }

  /** All weight keys that can be reached, without "w.". */
  weightKeys(): string[] {
    const own = [...this.stored.keys()].filter((name) => name.startsWith("w.")).map((name) => name.slice(2));
    return [...new Set([...own, ...this.weightSources.flatMap((from) => from.weightKeys())])];
  }

  /** The input of that name (without "in."), or undefined. */
  findInput(name: string): FixtureTensor | undefined {
    return this.#find(`in.${name}`, (from) => from.inputSources);
  }

  /** The input of that name (without "in."), from here or from a case that this one refers to. */
  input(name: string): FixtureTensor {
    const found = this.findInput(name);
    if (found === undefined) throw new Error(`${this.name}: no input in.${name}`);
    return found;
  }

  /** The nearest case, this one or one whose weights it takes, whose config has that key. */
  withConfig(key: string): ConformanceCase | undefined {
    if (key in this.about.config) return this;
    for (const source of this.weightSources) {
      const found = source.withConfig(key);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #find(name: string, sources: (from: ConformanceCase) => ConformanceCase[]): FixtureTensor | undefined {
    const own = this.stored.get(name);
    if (own !== undefined) return own;
    for (const source of sources(this)) {
      const found = source.#find(name, sources);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Cases by reference. What stands behind the name is prose: "dit_t2v_small (transformer)", "x, but for w.* given here". */
  #named(reference: string | readonly string[] | undefined): ConformanceCase[] {
    if (reference === undefined) return [];
    const texts = typeof reference === "string" ? [reference] : reference;
    return texts.map((text) => {
      const name = /^[\w.-]+/.exec(text.trim())?.[0] ?? text;
      let other = this.#others.get(name);
      if (other === undefined) {
        other = new ConformanceCase(this.#folder, name);
        this.#others.set(name, other);
      }
      return other;
    });
  }
}
