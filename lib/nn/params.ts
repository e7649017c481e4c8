/**
 * The parameters of a model: tensors under the released checkpoint's names. Blocks ask for theirs by path
 * (`p.at("double_blocks.0").at("img_mod.linear").get("weight")`); where the tensors live is the store's business.
 */
import { HunyuanError } from "../runtime/errors.js";
import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Adapter } from "./adapter.js";

/** Where parameters live: all on the device, or streamed to it block by block. */
export interface ParamStore {
  /** The tensor, ready to be read by ops queued from now on; undefined when there is none of that name. */
  find(name: string): Tensor | undefined;
  names(): Iterable<string>;
  /** What learns beside a linear layer ("double_blocks.0.img_attn_qkv"), where the store has such. */
  adapterOf?(layer: string): Adapter | undefined;
  dispose(): void;
}

/** All parameters on the device. */
export class ResidentStore implements ParamStore {
  readonly #tensors: Map<string, Tensor>;

  /** Takes over the tensors: they leave their scopes and are disposed of with the store. */
  constructor(tensors: Iterable<readonly [string, Tensor]>) {
    this.#tensors = new Map(tensors);
    for (const tensor of this.#tensors.values()) tensor.moveTo(this);
  }

  find(name: string): Tensor | undefined {
    return this.#tensors.get(name);
  }

  names(): Iterable<string> {
    return this.#tensors.keys();
  }

  /** Puts a tensor in the place of the one of that name, which is disposed of; undefined removes it. */
  replace(name: string, tensor: Tensor | undefined): void {
    const old = this.#tensors.get(name);
    if (old === tensor) return;
    if (tensor === undefined) this.#tensors.delete(name);
    else {
      tensor.moveTo(this);
      this.#tensors.set(name, tensor);
    }
    old?.dispose();
  }

  dispose(): void {
    for (const tensor of [...this.#tensors.values()]) tensor.dispose();
    this.#tensors.clear();
  }

  // As the tensors' owner it needs no list of its own: the map is one.
  adopt(): void {}
  forget(): void {}
}

/** A path into a store. Cheap to make; paths are cached. */
export class Params implements Disposable {
  readonly #store: ParamStore;
  readonly #prefix: string;
  readonly #below = new Map<string, Params>();
  readonly #names = new Map<string, string>();

  constructor(store: ParamStore, prefix = "") {
    this.#store = store;
    this.#prefix = prefix;
  }

  /** The full name of this path; "" at the root. */
  get path(): string {
    return this.#prefix.slice(0, -1);
  }

  get store(): ParamStore {
    return this.#store;
  }

  /** What learns beside the linear layer at this path. */
  get adapter(): Adapter | undefined {
    return this.#store.adapterOf?.(this.path);
  }

  /** The parameters below a path, such as "double_blocks.0.img_mod". */
  at(path: string): Params {
    let below = this.#below.get(path);
    if (below === undefined) {
      below = new Params(this.#store, `${this.#prefix}${path}.`);
      this.#below.set(path, below);
    }
    return below;
  }

  /**
   * The parameter of that name.
   *
   * @throws CHECKPOINT_INVALID when the model has none
   */
  get<D extends DType = DType>(name: string): Tensor<D> {
    const found = this.find<D>(name);
    if (found !== undefined) return found;
    const key = this.#full(name);
    throw new HunyuanError("CHECKPOINT_INVALID", `the model has no parameter ${key}`, { key });
  }

  find<D extends DType = DType>(name: string): Tensor<D> | undefined {
    // The one cast: which type a parameter has is what its loader made of it.
    return this.#store.find(this.#full(name)) as Tensor<D> | undefined;
  }

  /** Full names of all parameters below this path. */
  *names(): Iterable<string> {
    for (const name of this.#store.names()) if (name.startsWith(this.#prefix)) yield name;
  }

  dispose(): void {
    this.#store.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #full(name: string): string {
    let full = this.#names.get(name);
    if (full === undefined) {
      full = this.#prefix + name;
      this.#names.set(name, full);
    }
    return full;
  }
}
