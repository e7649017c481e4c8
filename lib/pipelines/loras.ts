/** The LoRAs of a loaded model, by their files. */
import { resolve } from "node:path";
import { LoraFuser, type LoraFuserOptions, type LoraUse } from "../models/lora/apply.js";
import { type Lora, loadLora } from "../models/lora/load.js";
import { invalid } from "../runtime/check.js";
import type { LoadedModel } from "./loaded-model.js";

export interface LoraOptions {
  /** Factor of its change; may be negative. Default 1. */
  readonly strength?: number;
  /** Default true: keys that the model has no place for are an error. false: they are told as `unmatched`. */
  readonly strict?: boolean;
  /**
   * For weights in f8e4m3, in which a change would be lost. Default "refuse"; a type is what those weights that change are
   * held in from then on. Counts for the first LoRA.
   */
  readonly fp8?: LoraFuserOptions["fp8"];
  readonly signal?: AbortSignal | undefined;
}

export interface LoadedLora {
  readonly source: string;
  readonly style: Lora["style"];
  /** The largest rank of its modules. */
  readonly rank: number;
  readonly strength: number;
  /** Keys of the file that the model has no place for. */
  readonly unmatched: readonly string[];
}

export class Loras implements Disposable {
  readonly #model: LoadedModel;
  #fuser: LoraFuser | undefined;

  constructor(model: LoadedModel) {
    this.#model = model;
  }

  list(): readonly LoadedLora[] {
    return (this.#fuser?.active ?? []).map(({ lora, strength = 1 }) => {
      const { source, style, rank, unmatched } = lora;
      return { source, style, rank, strength, unmatched };
    });
  }

  /** Fuses one more; one that is fused already gets the new strength. */
  async load(path: string, { strength = 1, strict = true, fp8, signal }: LoraOptions): Promise<LoadedLora> {
    if (!Number.isFinite(strength)) throw invalid("loadLora", "strength", strength, "a number");
    const lora = await loadLora(path, this.#model.opened.config, { strict });
    const { checkpoint, specs, naming, keep } = this.#model.opened;
    const origin = { checkpoint, specs, naming, keep, dtype: this.#model.dtypes.dit };
    this.#fuser ??= new LoraFuser(this.#model.dit.params, { origin, fp8 });
    await this.#set([...this.#others(lora.source), { lora, strength }], signal);
    return { source: lora.source, style: lora.style, rank: lora.rank, strength, unmatched: lora.unmatched };
  }

  /** Takes one out, or all; the weights are then what they were without it, bit for bit. */
  async unload(path: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    const active = this.#fuser?.active ?? [];
    const source = path === undefined ? undefined : resolve(path);
    const rest = source === undefined ? [] : this.#others(source);
    if (source !== undefined && rest.length === active.length) {
      const loaded = active.map(({ lora }) => lora.source).join(", ");
      throw invalid("unloadLora", "path", source, `one that is loaded (${loaded === "" ? "there is none" : loaded})`);
    }
    if (active.length > 0) await this.#set(rest, signal);
  }

  [Symbol.dispose](): void {
    this.#fuser?.dispose();
  }

  #others(source: string): LoraUse[] {
    return (this.#fuser?.active ?? []).filter(({ lora }) => lora.source !== source);
  }

  async #set(uses: readonly LoraUse[], signal: AbortSignal | undefined): Promise<void> {
    await this.#fuser?.set(uses, signal === undefined ? {} : { signal });
  }
}
