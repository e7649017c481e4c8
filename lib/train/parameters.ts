/**
 * What is trained: tensors by name, marked as leaves of the tape. Narrow ones (bf16, f16) get an f32 master that steps are
 * made on, since a step of 1e-4 of a weight's size would be rounded away.
 */
import { requiresGrad } from "../autograd/backward.js";
import type { Params } from "../nn/params.js";
import { checkResident } from "../nn/streamed-store.js";
import { copyView, copyViewInto } from "../ops/copy.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { isFloat } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { matchesAny } from "./names.js";
import type { JsonValue, Stateful } from "./stateful.js";

/** A leaf of the tape and its master. */
export interface Parameter {
  /** Unique in its set. */
  readonly name: string;
  /** The model's own tensor, dense; `backward` gathers its gradient in `tensor.grad`. */
  readonly tensor: Tensor<FloatDType>;
  /** The f32 value that steps are made on, for bf16 and f16; undefined where the tensor itself is wide enough. */
  readonly master: Tensor<"f32"> | undefined;
}

export interface SelectOptions {
  /** Put before every name, so that several models fit in one set: "dit.". Patterns are compared without it. Default "". */
  readonly prefix?: string;
  /** Patterns with `*` of the names that are trained. Default: all. */
  readonly include?: readonly string[] | undefined;
  /** Patterns of names that are not. Default: none. */
  readonly exclude?: readonly string[] | undefined;
}

/**
 * The trained parameters of a run. The tensors stay their model's; masters are the set's. As a part of a saved state it
 * holds the weights and their masters.
 */
export class ParameterSet implements Stateful, Disposable {
  readonly list: readonly Parameter[];
  readonly #byName: ReadonlyMap<string, Parameter>;

  /**
   * @param named tensors on one device, dense, of a float type; each becomes a leaf
   * @throws INVALID_ARGUMENT for a name that stands twice, no tensors, strided ones; DTYPE_UNSUPPORTED
   */
  constructor(named: Iterable<readonly [string, Tensor]>) {
    const list: Parameter[] = [];
    const byName = new Map<string, Parameter>();
    for (const [name, tensor] of named) {
      if (byName.has(name)) throw refusal(`${name} stands twice`);
      const parameter = parameterOf(name, tensor);
      list.push(parameter);
      byName.set(name, parameter);
    }
    if (list.length === 0) throw refusal("nothing to train: no parameter fits the patterns");
    this.list = list;
    this.#byName = byName;
  }

  get names(): readonly string[] {
    return this.list.map(({ name }) => name);
  }

  /** Number of trained elements. */
  get size(): number {
    return this.list.reduce((sum, { tensor }) => sum + tensor.size, 0);
  }

  find(name: string): Parameter | undefined {
    return this.#byName.get(name);
  }

  /** The values that steps are made on and averages taken of: masters where there are such. In the order of `list`. */
  wide(): readonly Tensor[] {
    return this.list.map(({ tensor, master }) => master ?? tensor);
  }

  /** Makes every narrow tensor its master's rounded value; for after masters were written. */
  round(which: readonly Parameter[] = this.list): void {
    for (const { tensor, master } of which) {
      if (master === undefined) continue;
      copyViewInto(master, master, tensor);
    }
  }

  /** Throws away the gradients that have gathered. */
  clearGradients(): void {
    for (const { tensor } of this.list) takeGradient(tensor)?.dispose();
  }

  tensors(): ReadonlyMap<string, Tensor> {
    const all = new Map<string, Tensor>();
    for (const { name, tensor, master } of this.list) {
      all.set(name, tensor);
      if (master !== undefined) all.set(`master:${name}`, master);
    }
    return all;
  }

  data(): JsonValue {
    return null;
  }

  restore(): void {}

  /** Masters go, and the tensors are no leaves any more; they stay the model's. */
  dispose(): void {
    for (const { tensor, master } of this.list) {
      if (!tensor.disposed) requiresGrad(tensor, false);
      master?.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * The parameters of a model that patterns choose.
 *
 * @throws INVALID_ARGUMENT for a pattern that fits nothing (a spelling mistake would train the wrong thing in silence), and
 * for parameters that are streamed from files
 * @example
 * using trained = parametersOf(dit.params, { include: ["double_blocks.*", "single_blocks.*"] });
 * backward(loss);
 */
export function parametersOf(params: Params, options: SelectOptions = {}): ParameterSet {
  return new ParameterSet(selectedOf(params, options));
}

/** The same as names and tensors, to make one set of several models: `new ParameterSet([...a, ...b])`. */
export function selectedOf(params: Params, options: SelectOptions = {}): readonly (readonly [string, Tensor])[] {
  checkResident("parametersOf", params);
  const { prefix = "", include, exclude = [] } = options;
  const names = [...params.names()].map((name) => name.slice(params.path === "" ? 0 : params.path.length + 1));
  for (const pattern of [...(include ?? []), ...exclude]) {
    if (!names.some((name) => matchesAny(name, [pattern]))) {
      throw refusal(`no parameter fits the pattern ${JSON.stringify(pattern)}; the first is ${names[0] ?? "none"}`);
    }
  }
  return names
    .filter((name) => (include === undefined || matchesAny(name, include)) && !matchesAny(name, exclude))
    .map((name) => [prefix + name, params.get(name)] as const);
}

/** The gradient that has gathered in a leaf, which is then without one; the caller disposes of it. */
export function takeGradient(tensor: Tensor): Tensor | undefined {
  const { leaf } = tensor;
  const grad = leaf?.grad;
  if (leaf !== undefined) leaf.grad = undefined;
  return grad;
}

function parameterOf(name: string, tensor: Tensor): Parameter {
  const { dtype } = tensor;
  if (!isFloat(dtype)) {
    const message = `parametersOf: ${name} is ${dtype}; trained are f32, bf16, f16 and f64: load the model in one of these`;
    throw new HunyuanError("DTYPE_UNSUPPORTED", message, { op: "parametersOf", argument: name, dtype });
  }
  if (!tensor.isDense) throw refusal(`${name} is a strided view; only dense tensors are written in place`);
  const float = requiresGrad(tensor as Tensor<FloatDType>);
  const narrow = dtype === "bf16" || dtype === "f16";
  const master = narrow ? copyView(float, float, "f32") : undefined;
  master?.moveTo(undefined);
  return { name, tensor: float, master };
}

function refusal(message: string): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError("INVALID_ARGUMENT", `parametersOf: ${message}`, { op: "parametersOf", argument: "params" });
}
