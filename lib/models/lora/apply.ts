/**
 * LoRAs fused into a model's weights: W + Σ strength · alpha / rank · up · down, summed in f32 and rounded once.
 *
 * Unfusing does not subtract, which would leave rounding behind: it puts the original back. With `origin` that is read from
 * the checkpoint again, which holds no memory and takes as long as loading those weights did. Without it the originals are
 * kept: nothing to wait for, but every weight that a LoRA changes is there twice. Of a single-stream block of the released
 * model (283 MB, on a CPU, the file in the page cache): 0.1 s to 0.2 s against 283 MB, after 0.7 s for fusing either way.
 */
import type { Checkpoint } from "../../io/tensor-file.js";
import { type HoldOptions, loadParams } from "../../nn/load.js";
import { type Params, ResidentStore } from "../../nn/params.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import { cast } from "../../ops/copy.js";
import type { WaitOptions } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { changed, type LoraChange } from "./change.js";
import type { Lora } from "./load.js";

export interface LoraUse {
  readonly lora: Lora;
  /** Factor of its change; may be negative. Default 1. */
  readonly strength?: number | undefined;
}

export interface LoraFuserOptions {
  /** How the parameters were loaded, for reading them again. Without it the originals are kept in memory. */
  readonly origin?:
    | (HoldOptions & {
        readonly checkpoint: Checkpoint;
        readonly specs: readonly ParameterSpec[];
        readonly naming: Naming;
      })
    | undefined;
  /**
   * What becomes of weights in f8e4m3. "refuse" (default): MODEL_UNSUPPORTED, since a change below their rounding would be
   * lost. A type: a weight that changes is held in it from then on, without a scale, until it is unfused.
   */
  readonly fp8?: "refuse" | FloatDType | undefined;
}

/** Bytes of weights that are worked on before the queue is waited for. */
const batchBytes = 256 * 2 ** 20;

/**
 * The LoRAs of a model whose parameters are on the device.
 *
 * @example
 * const loras = new LoraFuser(params, { origin: { checkpoint, specs, naming, dtype: "bf16" } });
 * await loras.set([{ lora: await loadLora("style.safetensors", config), strength: 0.8 }]);
 * await loras.set([]); // the weights are the original ones again, bit for bit
 */
export class LoraFuser {
  readonly #store: ResidentStore;
  readonly #options: LoraFuserOptions;
  /** Parameters whose tensor is not the original one. */
  readonly #fused = new Set<string>();
  readonly #kept = new Map<string, Tensor>();
  #active: readonly LoraUse[] = [];

  /** @throws MODEL_UNSUPPORTED for parameters that are streamed from files (offload): there is nothing to fuse into */
  constructor(params: Params, options: LoraFuserOptions = {}) {
    if (!(params.store instanceof ResidentStore)) {
      const message = 'LoRAs are fused into weights that stay on the device; load the model with { offload: "none" }';
      throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: "LoRA with offload" });
    }
    this.#store = params.store;
    this.#options = options;
  }

  /** What is fused now. */
  get active(): readonly LoraUse[] {
    return this.#active;
  }

  /**
   * Fuses exactly these, whatever was fused before; none gives the original weights. The result depends on the list alone.
   * After an error, and after an abort, nothing is fused.
   *
   * @throws CHECKPOINT_INVALID for a LoRA of another model; MODEL_UNSUPPORTED for weights in f8e4m3; INVALID_ARGUMENT for a
   * strength that is no number; FILE_ERROR, OUT_OF_MEMORY, ABORTED
   */
  async set(uses: readonly LoraUse[], wait: WaitOptions = {}): Promise<void> {
    const changes = this.#plan(uses);
    this.#active = [];
    try {
      const names = new Set([...this.#fused, ...changes.keys()]);
      for (const batch of this.#batches(names)) await this.#renew(batch, changes, wait);
    } catch (error) {
      // Without the signal: the model must be whole again, also after an abort.
      await this.#device()
        ?.sync()
        .catch(() => {});
      for (const batch of this.#batches(this.#fused)) await this.#renew(batch, new Map(), {});
      throw error;
    }
    this.#active = [...uses];
  }

  /** Gives up what was kept for unfusing; the weights stay as they are. */
  dispose(): void {
    for (const tensor of this.#kept.values()) tensor.dispose();
    this.#kept.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Changes by parameter. Everything that can be wrong is found here, before a weight is touched. */
  #plan(uses: readonly LoraUse[]): Map<string, LoraChange[]> {
    const changes = new Map<string, LoraChange[]>();
    for (const { lora, strength = 1 } of uses) {
      if (!Number.isFinite(strength)) {
        const message = `LoRA ${lora.source}: strength is ${strength}, expected a number`;
        throw new HunyuanError("INVALID_ARGUMENT", message, { op: "LoraFuser.set", argument: "strength" });
      }
      for (const term of lora.terms) {
        const weight = this.#store.find(term.parameter);
        if (weight === undefined || term.from + term.rows > (weight.shape[0] ?? 0)) {
          const message = `${lora.source}: changes ${term.parameter}, which this model does not have so; a LoRA of another model?`;
          throw new HunyuanError("CHECKPOINT_INVALID", message, { file: lora.source, key: term.parameter });
        }
        if (weight.dtype === "f8e4m3" && (this.#options.fp8 ?? "refuse") === "refuse") {
          const message =
            `${lora.source}: ${term.parameter} is held in f8e4m3, which is too coarse for a LoRA; load 16-bit weights, or ` +
            'give { fp8: "bf16" } to widen the weights that change';
          throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: "LoRA into f8e4m3" });
        }
        const list = changes.get(term.parameter) ?? [];
        list.push({ lora, term, strength });
        changes.set(term.parameter, list);
      }
    }
    return changes;
  }

  *#batches(names: Iterable<string>): Generator<readonly string[]> {
    let batch: string[] = [];
    let bytes = 0;
    // A list of its own: the set changes while its batches are worked on.
    for (const name of [...names]) {
      batch.push(name);
      bytes += this.#store.find(name)?.bytes ?? 0;
      if (bytes < batchBytes) continue;
      yield batch;
      [batch, bytes] = [[], 0];
    }
    if (batch.length > 0) yield batch;
  }

  /** Gives each parameter its original value with its changes, if it has any. */
  async #renew(
    names: readonly string[],
    changes: ReadonlyMap<string, readonly LoraChange[]>,
    wait: WaitOptions,
  ): Promise<void> {
    const originals = await this.#originals(names, wait);
    try {
      for (const name of names) this.#put(name, changes.get(name) ?? [], originals);
      await this.#device()?.sync(wait);
    } finally {
      originals.dispose();
    }
    for (const name of names) if (!changes.has(name)) this.#forget(name);
  }

  #put(name: string, changes: readonly LoraChange[], originals: Originals): void {
    const scaleName = scaleNameOf(name);
    const weight = originals.find(name) ?? this.#store.find(name);
    const scale = originals.find(scaleName) ?? this.#store.find(scaleName);
    if (weight === undefined) return;
    if (!this.#fused.has(name)) this.#keep(name, weight, scale);
    this.#fused.add(name);
    if (changes.length === 0) {
      // A second tensor on the same storage: the first goes with the originals.
      this.#store.replace(name, weight.alias(undefined));
      if (scale !== undefined) this.#store.replace(scaleName, scale.alias(undefined));
      return;
    }
    const wide = this.#options.fp8 === "refuse" || this.#options.fp8 === undefined ? "bf16" : this.#options.fp8;
    const dtype = weight.dtype === "f8e4m3" ? wide : weight.dtype;
    const made = scope(() => changed(weight, scale && cast(scale, "f32"), changes, dtype));
    this.#store.replace(name, made);
    if (scale !== undefined) this.#store.replace(scaleName, undefined);
  }

  #keep(name: string, weight: Tensor, scale: Tensor | undefined): void {
    if (this.#options.origin !== undefined) return;
    this.#kept.set(name, weight.alias(undefined));
    if (scale !== undefined) this.#kept.set(scaleNameOf(name), scale.alias(undefined));
  }

  #forget(name: string): void {
    this.#fused.delete(name);
    for (const key of [name, scaleNameOf(name)]) {
      this.#kept.get(key)?.dispose();
      this.#kept.delete(key);
    }
  }

  /** The values of those that are fused, as they were before. */
  async #originals(names: readonly string[], { signal }: WaitOptions): Promise<Originals> {
    const fused = names.filter((name) => this.#fused.has(name));
    const { origin } = this.#options;
    if (origin === undefined || fused.length === 0) {
      return { find: (name) => this.#kept.get(name), dispose: () => {} };
    }
    const wanted = new Set(fused.flatMap((name) => [name, scaleNameOf(name)]));
    const specs = origin.specs.filter(({ name }) => wanted.has(name));
    const device = this.#device();
    if (device === undefined) return { find: () => undefined, dispose: () => {} };
    const { checkpoint, naming, dtype, keep } = origin;
    const params = await loadParams(device, checkpoint, specs, naming, { dtype, keep, signal });
    return { find: (name) => params.find(name), dispose: () => params.dispose() };
  }

  #device() {
    for (const name of this.#store.names()) return this.#store.find(name)?.device;
    return undefined;
  }
}

interface Originals {
  find(name: string): Tensor | undefined;
  dispose(): void;
}

const scaleNameOf = (name: string): string => (name.endsWith(".weight") ? `${name}_scale` : `${name} has no scale`);
