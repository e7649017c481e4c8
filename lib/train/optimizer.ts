/**
 * The optimizer of a run: AdamW for most parameters, Muon for the matrices that patterns name, moments in f32 for each, and
 * steps on f32 masters where the parameters are narrow.
 */
import { zeros } from "../ops/fill.js";
import { adamwStep, scaleInPlace } from "../ops/optim.js";
import { HunyuanError } from "../runtime/errors.js";
import { sumDType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { type MuonWeight, muonStep } from "./muon.js";
import { matchesAny } from "./names.js";
import { type Parameter, type ParameterSet, takeGradient } from "./parameters.js";
import type { JsonValue, Stateful } from "./stateful.js";

interface GroupCommon {
  /** Patterns with `*`. A parameter belongs to the first group with a pattern that fits. */
  readonly match: readonly string[];
  /** Factor of the run's learning rate for this group. Default 1. */
  readonly rate?: number | undefined;
  /** Default: the run's. */
  readonly weightDecay?: number | undefined;
}

/** Parameters that are treated alike. */
export type ParameterGroup =
  | (GroupCommon & { readonly kind: "adamw" })
  | (GroupCommon & {
      readonly kind: "muon";
      /** Default 0.95. */
      readonly momentum?: number | undefined;
    });

export interface OptimizerOptions {
  readonly lr: number;
  /** Of all groups that name none. Tensors with one axis (biases, norms) get none unless a group says so. Default 0.01. */
  readonly weightDecay?: number | undefined;
  /** AdamW's. Default 0.9. */
  readonly beta1?: number | undefined;
  /** AdamW's. Default 0.999. */
  readonly beta2?: number | undefined;
  /** AdamW's. Default 1e-8. */
  readonly eps?: number | undefined;
  /** In order; what fits none is AdamW's. Muon groups take tensors of two and more axes only, others pass on. */
  readonly groups?: readonly ParameterGroup[] | undefined;
  /** For Muon: how many rows each of the matrices has that lie one below the other in a weight. Default: one matrix. */
  readonly rowsOf?: ((name: string, shape: readonly number[]) => readonly number[] | undefined) | undefined;
}

/** What a step is made with. */
export interface StepOptions {
  /** What the learning rate is multiplied by: see rateFactor. Default 1. */
  readonly factor?: number | undefined;
  /** One element that multiplies every gradient: clipScale's. */
  readonly gradScale?: Tensor | undefined;
}

interface Slot {
  readonly parameter: Parameter;
  readonly group: ParameterGroup;
  readonly weightDecay: number;
  /** AdamW: first moment. Muon: momentum. */
  readonly m: Tensor;
  /** AdamW: second moment. */
  readonly v: Tensor | undefined;
  /** Steps made. A parameter without a gradient makes none. */
  steps: number;
}

/**
 * @example
 * const optimizer = new Optimizer(parameters, { lr: 1e-3, groups: [{ kind: "muon", match: ["*_blocks.*.weight"] }] });
 * backward(loss);
 * optimizer.step(); // the gradients are gone, the parameters moved
 */
export class Optimizer implements Stateful, Disposable {
  readonly #slots: readonly Slot[];
  readonly #parameters: ParameterSet;
  readonly #options: OptimizerOptions;

  /** @throws INVALID_ARGUMENT for a group that no parameter belongs to */
  constructor(parameters: ParameterSet, options: OptimizerOptions) {
    this.#parameters = parameters;
    this.#options = options;
    const { groups = [] } = options;
    const chosen = parameters.list.map((parameter) => groupOf(parameter, groups));
    for (const group of groups) {
      if (chosen.includes(group)) continue;
      const message = `Optimizer: no parameter belongs to the ${group.kind} group ${group.match.join(", ")}`;
      throw new HunyuanError("INVALID_ARGUMENT", message, { op: "Optimizer", argument: "groups" });
    }
    this.#slots = parameters.list.map((parameter, i) => slotOf(parameter, chosen[i] as ParameterGroup, options));
  }

  /**
   * One step with the gradients that have gathered, which are then gone. Parameters without a gradient stay as they are.
   * Everything is queued when it returns.
   */
  step({ factor = 1, gradScale }: StepOptions = {}): void {
    const ready: { readonly slot: Slot; readonly grad: Tensor }[] = [];
    for (const slot of this.#slots) {
      const grad = takeGradient(slot.parameter.tensor);
      if (grad !== undefined) ready.push({ slot, grad });
    }
    try {
      for (const same of alike(ready)) {
        if (same[0]?.slot.group.kind === "muon") this.#muon(same, factor, gradScale);
        else this.#adamw(same, factor, gradScale);
      }
      for (const { slot } of ready) slot.steps++;
    } finally {
      for (const { grad } of ready) grad.dispose();
    }
  }

  #adamw(same: readonly Ready[], factor: number, gradScale: Tensor | undefined): void {
    const { lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = this.#options;
    const [first] = same as readonly [Ready, ...Ready[]];
    adamwStep(
      same.map(({ slot }) => slot.parameter.tensor),
      same.map(({ grad }) => grad),
      same.map(({ slot }) => slot.m),
      same.map(({ slot }) => slot.v as Tensor),
      {
        beta1,
        beta2,
        eps,
        ...(gradScale === undefined ? {} : { gradScale }),
        lr: lr * factor * (first.slot.group.rate ?? 1),
        weightDecay: first.slot.weightDecay,
        step: first.slot.steps + 1,
        masters: same.map(({ slot }) => slot.parameter.master),
      },
    );
  }

  #muon(same: readonly Ready[], factor: number, gradScale: Tensor | undefined): void {
    const [{ slot }] = same as readonly [Ready, ...Ready[]];
    const { group, weightDecay } = slot;
    if (gradScale !== undefined) {
      scaleInPlace(
        same.map(({ grad }) => grad),
        gradScale,
      );
    }
    const { lr, rowsOf } = this.#options;
    const weights = same.map(({ slot: { parameter, m }, grad }): MuonWeight => {
      const { name, tensor, master } = parameter;
      return { value: master ?? tensor, grad, momentum: m, rows: rowsOf?.(name, tensor.shape) };
    });
    muonStep(weights, {
      lr: lr * factor * (group.rate ?? 1),
      weightDecay,
      momentum: group.kind === "muon" ? group.momentum : undefined,
    });
    this.#parameters.round(same.map(({ slot: { parameter } }) => parameter));
  }

  tensors(): ReadonlyMap<string, Tensor> {
    const all = new Map<string, Tensor>();
    for (const { parameter, m, v } of this.#slots) {
      all.set(`m:${parameter.name}`, m);
      if (v !== undefined) all.set(`v:${parameter.name}`, v);
    }
    return all;
  }

  data(): JsonValue {
    return Object.fromEntries(this.#slots.map(({ parameter, steps }) => [parameter.name, steps]));
  }

  restore(data: JsonValue): void {
    const counts = typeof data === "object" && data !== null && !Array.isArray(data) ? data : {};
    for (const slot of this.#slots) {
      const steps: unknown = Object.hasOwn(counts, slot.parameter.name)
        ? Reflect.get(counts, slot.parameter.name)
        : undefined;
      if (!Number.isSafeInteger(steps) || (steps as number) < 0) {
        const key = slot.parameter.name;
        const message = `the saved optimizer knows no steps of ${key}: it was saved for other parameters`;
        throw new HunyuanError("CHECKPOINT_INVALID", message, { key });
      }
      slot.steps = steps as number;
    }
  }

  dispose(): void {
    for (const { m, v } of this.#slots) {
      m.dispose();
      v?.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

interface Ready {
  readonly slot: Slot;
  readonly grad: Tensor;
}

const plainAdamw: ParameterGroup = { kind: "adamw", match: ["*"] };

function groupOf({ name, tensor }: Parameter, groups: readonly ParameterGroup[]): ParameterGroup {
  const fits = ({ kind, match }: ParameterGroup) => matchesAny(name, match) && (kind === "adamw" || tensor.rank > 1);
  return groups.find(fits) ?? plainAdamw;
}

function slotOf(parameter: Parameter, group: ParameterGroup, { weightDecay = 0.01 }: OptimizerOptions): Slot {
  const { tensor } = parameter;
  const moment = () => {
    const made = zeros(tensor.shape, { dtype: sumDType(tensor), device: tensor.device });
    made.moveTo(undefined);
    return made;
  };
  return {
    parameter,
    group,
    weightDecay: group.weightDecay ?? (tensor.rank > 1 ? weightDecay : 0),
    m: moment(),
    v: group.kind === "adamw" ? moment() : undefined,
    steps: 0,
  };
}

/** Runs of parameters that one call moves: of one group, one decay and, for AdamW's correction, as many steps behind them. */
function alike(ready: readonly Ready[]): Iterable<readonly Ready[]> {
  const byGroup = new Map<ParameterGroup, Map<string, Ready[]>>();
  for (const one of ready) {
    const { group, weightDecay, steps } = one.slot;
    const lists = byGroup.get(group) ?? new Map<string, Ready[]>();
    byGroup.set(group, lists);
    const key = group.kind === "adamw" ? `${weightDecay} ${steps}` : String(weightDecay);
    const list = lists.get(key);
    if (list === undefined) lists.set(key, [one]);
    else list.push(one);
  }
  return [...byGroup.values()].flatMap((lists) => [...lists.values()]);
}
