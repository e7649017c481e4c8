/**
 * What changes parameters in place: AdamW over many tensors in one op, moving averages, clipping. None of it is recorded
 * on the tape, and no number comes back to the host: the gradients' norm reaches the step as a tensor.
 */
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkNumber, checkOptions, checkTensor, checkTensorList, invalid } from "../tensor/check.js";
import { scope } from "../tensor/scope.js";
import { sameShape, showShape } from "../tensor/shape.js";
import { withoutRecording } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp, list, optional, writtenList } from "./define.js";
import { div, minimum } from "./pointwise.js";

const sumBytes = (...lists: (readonly Tensor[])[]) => lists.flat().reduce((sum, tensor) => sum + tensor.bytes, 0);

function wrongCount(op: string, argument: string, seen: number, expected: number): HunyuanError<"INVALID_ARGUMENT"> {
  return new HunyuanError(
    "INVALID_ARGUMENT",
    `${op}: ${argument} has ${seen} entries, expected ${expected}, one for each tensor`,
    {
      op,
      argument,
    },
  );
}

/** Throws unless `values` has one dense tensor of the same shape for each of `params`. */
function checkLike(op: string, name: string, values: readonly Tensor[], params: readonly Tensor[]): void {
  if (values.length !== params.length) throw wrongCount(op, name, values.length, params.length);
  values.forEach((value, i) => checkShapes(op, `${name}[${i}]`, value, params[i] as Tensor));
}

function checkShapes(op: string, name: string, value: Tensor, like: Tensor): void {
  if (sameShape(value.shape, like.shape)) return;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op}: ${name} is ${showShape(value.shape)}, expected ${showShape(like.shape)}`,
    {
      op,
      argument: name,
      shapes: [value.shape, like.shape],
    },
  );
}

/** A strided view cannot be written by these ops, and a copy of it would not be the tensor that was meant. */
function checkDense(op: string, name: string, values: readonly Tensor[]): void {
  values.forEach((value, i) => {
    if (value.isDense) return;
    throw new HunyuanError(
      "INVALID_ARGUMENT",
      `${op}: ${name}[${i}] is a strided view; only dense tensors are written in place`,
      {
        op,
        argument: name,
      },
    );
  });
}

function checkScalar(op: string, name: string, value: Tensor | undefined): void {
  if (value === undefined || value.size === 1) return;
  throw new HunyuanError("SHAPE_MISMATCH", `${op}: ${name} is ${showShape(value.shape)}, expected one element`, {
    op,
    argument: name,
    shapes: [value.shape],
  });
}

const adamwStepOp = defineOp({
  name: "adamw_step",
  doc: "one AdamW step (decoupled weight decay) over many tensors; masterOf[i] is the f32 master of param i, or -1",
  inputs: {
    params: writtenList(),
    grads: list(),
    m: writtenList(),
    v: writtenList(),
    masters: writtenList({ dtypes: ["f32"] }),
    gradScale: optional({ dtypes: ["f32", "f64"] }),
  },
  attrs: {
    lr: "f64",
    beta1: "f64",
    beta2: "f64",
    eps: "f64",
    weightDecay: "f64",
    step: "i64",
    masterOf: "i64[]",
  },
  outputs: [],
  shape({ params, grads, m, v, masters, gradScale }, { masterOf }) {
    checkLike("adamwStep", "grads", grads, params);
    checkLike("adamwStep", "m", m, params);
    checkLike("adamwStep", "v", v, params);
    masterOf.forEach((at, i) => {
      if (at >= 0) checkShapes("adamwStep", `masters[${i}]`, masters[at] as Tensor, params[i] as Tensor);
    });
    for (const [name, values] of Object.entries({ params, m, v, masters })) checkDense("adamwStep", name, values);
    checkScalar("adamwStep", "gradScale", gradScale);
    return {};
  },
  cost: ({ params, grads, m, v, masters }) => ({
    bytes: 2 * sumBytes(params, m, v, masters) + sumBytes(grads),
    flops: 15 * params.reduce((sum, { size }) => sum + size, 0),
  }),
});

export interface AdamWOptions {
  readonly lr: number;
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** Share of the parameter, times lr, that is taken away in each step. Default 0.01. */
  readonly weightDecay?: number;
  /** Number of this step, from 1: undoes the moments' start at zero. */
  readonly step: number;
  /** One element that multiplies every gradient (from `clipScale`, or 1 / loss scale). */
  readonly gradScale?: Tensor;
  /**
   * f32 copies of bf16 or f16 parameters, one entry for each parameter (undefined: has none). The step is made on the
   * master; the parameter becomes its rounded value.
   */
  readonly masters?: readonly (Tensor<"f32"> | undefined)[];
}

/**
 * One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as torch.optim.AdamW
 * makes it, over all parameters in one op. Overwrites params, m, v and masters, which must be dense.
 *
 * @param m first moments, f32 (any float type), zero before the first step
 * @param v second moments, the same
 * @throws SHAPE_MISMATCH, DTYPE_UNSUPPORTED, INVALID_ARGUMENT
 * @example adamwStep(params, grads, m, v, { lr: 1e-4, step: 1, gradScale: clipScale(globalNorm(grads), 1) })
 */
export function adamwStep(
  params: readonly Tensor[],
  grads: readonly Tensor[],
  m: readonly Tensor[],
  v: readonly Tensor[],
  options: AdamWOptions,
): void {
  for (const [name, tensors] of Object.entries({ params, grads, m, v })) checkTensorList("adamwStep", name, tensors);
  checkOptions("adamwStep", options);
  const {
    lr,
    beta1 = 0.9,
    beta2 = 0.999,
    eps = 1e-8,
    weightDecay = 0.01,
    step,
    gradScale,
    masters = params.map(() => undefined),
  } = options;
  for (const [name, value] of Object.entries({ lr, eps, weightDecay })) {
    checkNumber("adamwStep", name, value, { min: 0 });
  }
  for (const [name, beta] of Object.entries({ beta1, beta2 })) {
    checkNumber("adamwStep", name, beta, { min: 0 });
    if (beta >= 1) throw invalid("adamwStep", name, beta, "a number ≥ 0 and below 1");
  }
  checkNumber("adamwStep", "step", step, { whole: true, min: 1 });
  if (!Array.isArray(masters)) throw invalid("adamwStep", "masters", masters, "an array of tensors and undefined");
  for (const [name, { length }] of Object.entries({ grads, m, v })) {
    if (length !== params.length) throw wrongCount("adamwStep", name, length, params.length);
  }
  if (masters.length !== params.length) throw wrongCount("adamwStep", "masters", masters.length, params.length);
  if (params.length === 0) return;
  const given: Tensor[] = [];
  const masterOf = params.map((_, i) => {
    const master = masters[i];
    return master === undefined ? -1 : given.push(master) - 1;
  });
  const attrs = { lr, beta1, beta2, eps, weightDecay, step, masterOf };
  runOp<Record<never, never>>(adamwStepOp, { params, grads, m, v, masters: given, gradScale }, attrs);
}

const emaStepOp = defineOp({
  name: "ema_step",
  doc: "targets = decay · targets + (1 − decay) · sources, over many tensors",
  inputs: { targets: writtenList(), sources: list() },
  attrs: { decay: "f64" },
  outputs: [],
  shape({ targets, sources }) {
    checkLike("emaStep", "sources", sources, targets);
    checkDense("emaStep", "targets", targets);
    return {};
  },
  cost: ({ targets, sources }) => ({
    bytes: 2 * sumBytes(targets) + sumBytes(sources),
    flops: 3 * targets.reduce((sum, { size }) => sum + size, 0),
  }),
});

/**
 * Moves averages towards values: targets = decay · targets + (1 − decay) · sources. Keep the targets in f32: in bf16 a
 * decay of 0.999 would leave them where they are.
 *
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT
 */
export function emaStep(targets: readonly Tensor[], sources: readonly Tensor[], decay: number): void {
  checkTensorList("emaStep", "targets", targets);
  checkTensorList("emaStep", "sources", sources);
  checkNumber("emaStep", "decay", decay, { min: 0, max: 1 });
  if (targets.length === 0 && sources.length === 0) return;
  runOp<Record<never, never>>(emaStepOp, { targets, sources }, { decay });
}

const globalNormOp = defineOp({
  name: "global_norm",
  doc: "Euclidean norm of all elements of many tensors, summed in f64 in a fixed order",
  inputs: { tensors: list() },
  attrs: {},
  outputs: ["y"],
  shape: ({ tensors }) => ({ y: { dtype: tensors.every(({ dtype }) => dtype === "f64") ? "f64" : "f32", shape: [] } }),
  cost: ({ tensors }) => ({ bytes: sumBytes(tensors), flops: 2 * tensors.reduce((sum, { size }) => sum + size, 0) }),
});

/**
 * The Euclidean norm of all elements of all tensors, as a scalar (f32; f64 when all are f64). No gradient.
 *
 * @throws INVALID_ARGUMENT for an empty list
 */
export function globalNorm(tensors: readonly Tensor[]): Tensor<"f32" | "f64"> {
  checkTensorList("globalNorm", "tensors", tensors);
  return runOp<{ y: "f32" | "f64" }>(globalNormOp, { tensors }, {}).y;
}

/**
 * What gradients must be multiplied by so that their norm does not exceed `maxNorm`: min(1, maxNorm / norm), a scalar on
 * the device for `adamwStep` or `scaleInPlace`.
 *
 * @throws INVALID_ARGUMENT unless maxNorm is a number > 0
 */
export function clipScale(norm: Tensor<"f32" | "f64">, maxNorm: number): Tensor<"f32" | "f64"> {
  checkTensor("clipScale", "norm", norm);
  checkScalar("clipScale", "norm", norm);
  if (typeof maxNorm !== "number" || !(maxNorm > 0)) throw invalid("clipScale", "maxNorm", maxNorm, "a number > 0");
  return withoutRecording(() => scope(() => minimum(div(maxNorm, norm), 1)));
}

const scaleInPlaceOp = defineOp({
  name: "scale_in_place",
  doc: "tensors = tensors · factor · scale, over many tensors",
  inputs: { tensors: writtenList(), scale: optional({ dtypes: ["f32", "f64"] }) },
  attrs: { factor: "f64" },
  outputs: [],
  shape({ tensors, scale }) {
    checkDense("scaleInPlace", "tensors", tensors);
    checkScalar("scaleInPlace", "factor", scale);
    return {};
  },
  cost: ({ tensors }) => ({ bytes: 2 * sumBytes(tensors), flops: tensors.reduce((sum, { size }) => sum + size, 0) }),
});

/**
 * Multiplies every element of the tensors, in place, by a number or by a tensor of one element (f32 or f64).
 *
 * @throws SHAPE_MISMATCH, INVALID_ARGUMENT
 */
export function scaleInPlace(tensors: readonly Tensor[], factor: number | Tensor): void {
  checkTensorList("scaleInPlace", "tensors", tensors);
  if (typeof factor === "number") checkNumber("scaleInPlace", "factor", factor);
  else checkTensor("scaleInPlace", "factor", factor);
  if (tensors.length === 0) return;
  const attrs = typeof factor === "number" ? { factor } : { factor: 1 };
  runOp<Record<never, never>>(
    scaleInPlaceOp,
    { tensors, scale: typeof factor === "number" ? undefined : factor },
    attrs,
  );
}
