/**
 * LoRA in training: adapters beside chosen linear layers of a model whose own parameters stay as they are and are never
 * copied.
 *
 * @see Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685)
 */
import { requiresGrad } from "../../autograd/backward.js";
import type { Adapter } from "../../nn/adapter.js";
import { type ParamStore, Params, ResidentStore } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { zeros } from "../../ops/fill.js";
import { mul, sub } from "../../ops/pointwise.js";
import { rand } from "../../ops/random.js";
import { checkNumber, invalid } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { sizeOf } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";

export interface LoraSettings {
  /** Width of the adapters. */
  readonly rank: number;
  /** Their change counts alpha / rank times. Default: the rank. */
  readonly alpha?: number | undefined;
  /** Layers that get one: those whose name ("double_blocks.0.img_attn_qkv") any of these matches. Default {@link loraDefaults}. */
  readonly targets?: readonly RegExp[] | undefined;
  /** Layers that get none all the same. Default: modulations; with `targets`, none. */
  readonly exclude?: readonly RegExp[] | undefined;
  /** Of the random start of A. B starts at zero, so that training starts from the model as it is. */
  readonly seed: number;
  /** What adapters are held in, whatever the model is. Default "f32". */
  readonly dtype?: FloatDType | undefined;
}

/** Attention and MLPs of all blocks, as musubi-tuner trains them; no modulations, embeddings and last layer. */
export const loraDefaults = {
  targets: [/^(double|single)_blocks\.\d+\./],
  exclude: [/(_mod|modulation)(\.|$)/],
} as const satisfies { readonly targets: readonly RegExp[]; readonly exclude: readonly RegExp[] };

/** A layer with an adapter. */
export interface LoraLayer {
  /** "double_blocks.0.img_attn_qkv" */
  readonly name: string;
  /** Its weight. */
  readonly spec: ParameterSpec;
  readonly adapter: Adapter;
}

const op = "LoraAdapters";

/** The base's parameters, with adapters beside some layers. It owns neither. */
class AdaptedStore implements ParamStore {
  readonly #base: ParamStore;
  readonly #adapters: ReadonlyMap<string, Adapter>;

  constructor(base: ParamStore, adapters: ReadonlyMap<string, Adapter>) {
    this.#base = base;
    this.#adapters = adapters;
  }

  find(name: string): Tensor | undefined {
    return this.#base.find(name);
  }

  names(): Iterable<string> {
    return this.#base.names();
  }

  adapterOf(layer: string): Adapter | undefined {
    return this.#adapters.get(layer);
  }

  dispose(): void {}
}

/**
 * The adapters of a model. `params` is what the model computes with while they are trained, `own` is what the optimizer
 * trains and a training state holds: `<layer>.lora_A.weight` [rank, K] and `<layer>.lora_B.weight` [N, rank], leaves.
 *
 * @example
 * using lora = new LoraAdapters(dit.params, ditSpec(dit.config), { rank: 16, targets: [/img_attn/], seed: 1 });
 * const student = new HunyuanDit(dit.config, lora.params);
 * const grads = grad(lossOf(student), lora.leaves());
 */
export class LoraAdapters implements Disposable {
  /** The model's parameters with the adapters beside them; valid as long as both live. */
  readonly params: Params;
  /** The adapters' own parameters. */
  readonly own: Params;
  readonly layers: readonly LoraLayer[];
  readonly rank: number;
  readonly alpha: number;

  /**
   * @param base stays the caller's, and unchanged
   * @param specs of the model, such as `ditSpec(config)`
   * @throws INVALID_ARGUMENT for a rank below 1, an alpha that is no number above 0, and targets that no layer matches
   */
  constructor(base: Params, specs: readonly ParameterSpec[], settings: LoraSettings) {
    const { rank, alpha = rank, seed } = settings;
    checkNumber(op, "rank", rank, { whole: true, min: 1 });
    checkNumber(op, "alpha", alpha, { above: 0 });
    checkNumber(op, "seed", seed, { whole: true, min: 0 });
    const chosen = chosenLayers(specs, settings);
    const store = new ResidentStore([]);
    this.layers = chosen.map((spec, i) => makeLayer(base, spec, { ...settings, alpha }, i, store));
    this.rank = rank;
    this.alpha = alpha;
    this.own = new Params(store);
    this.params = new Params(
      new AdaptedStore(base.store, new Map(this.layers.map(({ name, adapter }) => [name, adapter]))),
    );
  }

  /** All tensors that learn, by name. */
  named(): ReadonlyMap<string, Tensor<FloatDType>> {
    return new Map(
      this.layers.flatMap(({ name, adapter: { down, up } }) => [
        [`${name}.lora_A.weight`, down],
        [`${name}.lora_B.weight`, up],
      ]),
    );
  }

  /** The same without names. */
  leaves(): readonly Tensor<FloatDType>[] {
    return [...this.named().values()];
  }

  /** Ends the adapters; the model stays. */
  dispose(): void {
    this.own.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Weights of the layers that get an adapter, in the model's order. */
function chosenLayers(specs: readonly ParameterSpec[], { targets, exclude }: LoraSettings): readonly ParameterSpec[] {
  const wanted = targets ?? loraDefaults.targets;
  const unwanted = exclude ?? (targets === undefined ? loraDefaults.exclude : []);
  const layers = specs.filter(({ name, shape, layout }) => isLinear(name, shape, layout));
  const chosen = layers.filter(({ name }) => {
    const layer = layerOf(name);
    return wanted.some((one) => layer.search(one) >= 0) && !unwanted.some((one) => layer.search(one) >= 0);
  });
  if (chosen.length > 0) return chosen;
  const some = layers.slice(0, 3).map(({ name }) => layerOf(name));
  throw invalid(op, "targets", wanted.map(String).join(", "), `patterns of layers such as ${some.join(", ")}`);
}

/** Matrices that a linear layer multiplies with: no norms, no tables, no convolutions but that of single patches. */
function isLinear(name: string, shape: readonly number[], layout: ParameterSpec["layout"]): boolean {
  const matrix = layout === "flat" || (layout === "same" && shape.length === 2);
  return matrix && name.endsWith(".weight") && !/embed(ding|_tokens)/.test(name);
}

const layerOf = (name: string): string => name.slice(0, -".weight".length);

/** A is uniform within ±1/√K, B is zero. */
function makeLayer(
  base: Params,
  spec: ParameterSpec,
  settings: LoraSettings & { readonly alpha: number },
  index: number,
  store: ResidentStore,
): LoraLayer {
  const { rank, alpha, seed, dtype = "f32" } = settings;
  const { device } = base.get(spec.name);
  const rows = spec.shape[0] ?? 1;
  const inner = sizeOf(spec.shape.slice(1));
  const name = layerOf(spec.name);
  const made = scope(() => {
    // Philox numbers are cheap to skip: a range of its own for each layer, whatever layers there are before it.
    const draws = rand([rank, inner], { seed, offset: index * 2 ** 32, device, dtype });
    return { down: mul(sub(mul(draws, 2), 1), 1 / Math.sqrt(inner)), up: zeros([rows, rank], { dtype, device }) };
  });
  store.replace(`${name}.lora_A.weight`, requiresGrad(made.down));
  store.replace(`${name}.lora_B.weight`, requiresGrad(made.up));
  return { name, spec, adapter: { ...made, scale: alpha / rank } };
}
