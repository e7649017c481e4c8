/**
 * Reverse-mode gradients over the tape that ops record. Gradients of gradients are not recorded: everything here runs
 * with recording off.
 */

import { onesLike } from "../ops/fill.js";
import { cast } from "../ops/layout.js";
import { add } from "../ops/pointwise.js";
import { checkFunction } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { checkFlag, checkOptions, checkTensor, checkTensorList } from "../tensor/check.js";
import { type DType, isFloat, sumDType } from "../tensor/dtype.js";
import { edgeOf } from "../tensor/grad-record.js";
import { topOwner } from "../tensor/ownership.js";
import { type Scope, scope } from "../tensor/scope.js";
import { sameShape, showShape } from "../tensor/shape.js";
import { closeLeaf, type Edge, type GradNode, Leaf, withoutRecording } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";

/** Marks a tensor as a leaf: ops on it are recorded, and `backward()` gathers its gradient in `tensor.grad`. */
export function requiresGrad<T extends Tensor>(tensor: T, on = true): T {
  checkTensor("requiresGrad", "tensor", tensor);
  checkFlag("requiresGrad", "on", on);
  if (!on) {
    closeLeaf(tensor.leaf);
    tensor.leaf = undefined;
  } else if (tensor.node !== undefined) {
    throw new HunyuanError("INVALID_ARGUMENT", `requiresGrad: ${tensor} was computed; only leaves gather gradients`, {
      op: "requiresGrad",
    });
  } else {
    checkFloat("requiresGrad", "tensor", tensor);
    tensor.leaf ??= new Leaf(tensor.shape, tensor.dtype);
  }
  return tensor;
}

function checkFloat(op: string, argument: string, { dtype }: Tensor): void {
  if (isFloat(dtype)) return;
  const message = `${op}: ${argument} is ${dtype}; gradients are of f32, f64, f16 or bf16`;
  throw new HunyuanError("DTYPE_UNSUPPORTED", message, { op, argument, dtype });
}

/** Runs fn without recording: no gradient flows through what it computes. */
export function noGrad<T>(fn: () => T): T {
  checkFunction("noGrad", "fn", fn);
  return withoutRecording(fn);
}

/** The same elements, cut off from the graph. */
export function detach<D extends DType>(tensor: Tensor<D>): Tensor<D> {
  checkTensor("detach", "tensor", tensor);
  return tensor.alias();
}

/** Receives the gradient of each leaf that the walk reaches, as it is. The sink owns the tensor from then on. */
type LeafSink = (leaf: Leaf, grad: Tensor) => void;

/** Where leaf gradients go while a walk is on; a checkpoint's inner walk uses the outer one's. */
let activeSink: LeafSink | undefined;

export interface BackwardOptions {
  /** Gradient of the output, same shape. Default: ones, for an output of one element. */
  readonly gradient?: Tensor;
}

/**
 * Computes the gradient of `output` with respect to every leaf it depends on and adds it to `leaf.grad` (f32, or f64 for
 * f64 leaves). The graph stays until its tensors are disposed of, so a second call adds a second time.
 *
 * @throws GRADIENT_UNAVAILABLE when output does not depend on a leaf.
 */
export function backward(output: Tensor, options: BackwardOptions = {}): void {
  walk("backward", output, options, addToLeaf);
}

/**
 * The gradients of `output` with respect to `leaves`, without touching their `.grad`. A leaf that output does not depend
 * on gives undefined.
 *
 * @example const [dw] = grad(loss, [w]);
 */
export function grad(output: Tensor, leaves: readonly Tensor[], options: BackwardOptions = {}): (Tensor | undefined)[] {
  checkTensorList("grad", "leaves", leaves);
  const wanted = leaves.map((tensor) => {
    if (tensor.leaf !== undefined) return tensor.leaf;
    const message = `grad: ${tensor} is not a leaf; call requiresGrad() on it before`;
    throw new HunyuanError("GRADIENT_UNAVAILABLE", message, { op: "grad" });
  });
  const gathered = new Set(wanted);
  const sums = new Map<Leaf, Tensor>();
  walk("grad", output, options, (leaf, next) => {
    if (!gathered.has(leaf)) return;
    const sum = sums.get(leaf);
    sums.set(leaf, sum === undefined ? own(leaf, next) : replace(sum, next));
  });
  return wanted.map((leaf) => {
    const found = sums.get(leaf);
    sums.delete(leaf);
    // Gathered outside of all scopes, as leaves gather theirs; from here on they are like any result.
    found?.moveTo(topOwner());
    return found;
  });
}

function addToLeaf(leaf: Leaf, next: Tensor): void {
  if (leaf.closed) return;
  leaf.grad = leaf.grad === undefined ? own(leaf, next) : replace(leaf.grad, next);
}

/** A first gradient in the type that gradients gather in, owned by whoever keeps it. */
function own(leaf: Leaf, next: Tensor): Tensor {
  // Gradients gather in f32 also where the parameter is bf16 or f16.
  const as = sumDType(next);
  // An alias would do where the type fits, but a view (of a bigger gradient) would keep all of its storage alive.
  const kept = next.dtype === as && next.isDense && sameShape(next.shape, leaf.shape) ? next.alias() : cast(next, as);
  kept.moveTo(undefined);
  return kept;
}

function replace(sum: Tensor, next: Tensor): Tensor {
  const total = add(sum, cast(next, sum.dtype));
  total.moveTo(undefined);
  sum.dispose();
  return total;
}

/** Walks the graph from output to its leaves. */
function walk(op: string, output: Tensor, options: BackwardOptions, sink: LeafSink): void {
  checkTensor(op, "output", output);
  checkOptions(op, options);
  const { gradient } = options;
  if (gradient !== undefined) {
    checkTensor(op, "gradient", gradient);
    checkFloat(op, "gradient", gradient);
    if (gradient.device !== output.device) {
      const names = [gradient.device.name, output.device.name];
      const message = `${op}: gradient is on ${names[0]}, another device than ${names[1]} of output`;
      throw new HunyuanError("DEVICE_MISMATCH", message, { op, devices: names });
    }
  }
  const edge = edgeOf(output);
  if (edge === undefined) {
    throw new HunyuanError("GRADIENT_UNAVAILABLE", `${op}: ${output} depends on no tensor that requires a gradient`, {
      op,
    });
  }
  if (gradient === undefined && output.size !== 1) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op}: output ${showShape(output.shape)} has more than one element; pass { gradient } of its shape`,
      { op, shapes: [output.shape] },
    );
  }
  if (gradient !== undefined && !sameShape(gradient.shape, output.shape)) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op}: gradient ${showShape(gradient.shape)} does not have the shape of output ${showShape(output.shape)}`,
      { op, shapes: [gradient.shape, output.shape] },
    );
  }
  withSink(sink, () => scope((walkScope) => walkEdges([edge], [gradient ?? onesLike(output)], sink, walkScope)));
}

/** Walks with recording off, and with `sink` for the leaves of checkpoints inside. */
function withSink(sink: LeafSink, fn: () => void): void {
  const outer = activeSink;
  activeSink = sink;
  try {
    withoutRecording(fn);
  } finally {
    activeSink = outer;
  }
}

/**
 * The inner walk of a checkpoint: from several outputs at once. Gradients of `inputs` are the result; those of leaves
 * that the function used besides go where the outer walk sends its own.
 */
export function walkInner(
  outputs: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
  inputs: readonly (Leaf | undefined)[],
): (Tensor | undefined)[] {
  const outer = activeSink ?? addToLeaf;
  return scope((walkScope) => {
    const found = new Array<Tensor | undefined>(inputs.length).fill(undefined);
    const sink: LeafSink = (leaf, next) => {
      const at = inputs.indexOf(leaf);
      const before = found[at];
      if (at < 0) outer(leaf, next);
      else found[at] = before === undefined ? next.alias() : addGrads(before, next);
    };
    withSink(sink, () => walkEdges(outputs.map(edgeOf), grads, sink, walkScope));
    return found;
  });
}

/** Two gradients of one tensor. One may be f32 and the other the tensor's narrow type: then the sum is f32. */
function addGrads(a: Tensor, b: Tensor): Tensor {
  if (a.dtype === b.dtype) return add(a, b);
  const as = sumDType(a.dtype === "f64" ? a : b);
  return add(cast(a, as), cast(b, as));
}

/** Counts who still needs each gradient of a walk, so that it goes as soon as nobody does. */
class GradUses {
  readonly #uses = new Map<Tensor, number>();

  constructor(readonly scope: Scope) {}

  take(grad: Tensor | undefined): void {
    if (grad !== undefined) this.#uses.set(grad, (this.#uses.get(grad) ?? 0) + 1);
  }

  drop(grad: Tensor | undefined): void {
    if (grad === undefined) return;
    const left = (this.#uses.get(grad) ?? 1) - 1;
    if (left > 0) this.#uses.set(grad, left);
    else {
      this.#uses.delete(grad);
      // A rule may hand on what it was given or what it saved; only what was made during the walk is ours.
      if (this.scope.owns(grad)) grad.dispose();
    }
  }
}

function walkEdges(
  roots: readonly (Edge | undefined)[],
  rootGrads: readonly (Tensor | undefined)[],
  sink: LeafSink,
  walkScope: Scope,
): void {
  const pending = new Map<GradNode, (Tensor | undefined)[]>();
  const uses = new GradUses(walkScope);
  const give = (edge: Edge | undefined, next: Tensor | undefined) => {
    if (edge === undefined || next === undefined) return;
    if ("leaf" in edge) return sink(edge.leaf, next);
    const slots = pending.get(edge.node) ?? new Array<Tensor | undefined>(edge.node.outputs).fill(undefined);
    const before = slots[edge.output];
    const total = before === undefined ? next : addGrads(before, next);
    uses.take(total);
    uses.drop(before);
    slots[edge.output] = total;
    pending.set(edge.node, slots);
  };
  roots.forEach((edge, i) => give(edge, rootGrads[i]));
  for (const node of inOrder(roots)) {
    const slots = pending.get(node);
    if (slots === undefined) continue;
    pending.delete(node);
    // A scope a node: what a gradient rule makes on the way is gone before the next rule runs.
    const grads = scope(() => [...node.backward(slots)]);
    for (const next of grads) uses.take(next);
    node.edges.forEach((edge, i) => give(edge, grads[i]));
    for (const done of [...grads, ...slots]) uses.drop(done);
  }
}

/** The nodes below the roots, each before all that it was computed from. */
function inOrder(roots: readonly (Edge | undefined)[]): GradNode[] {
  const order: GradNode[] = [];
  const seen = new Set<GradNode>();
  const stack: { node: GradNode; next: number }[] = [];
  const enter = (edge: Edge | undefined) => {
    if (edge === undefined || !("node" in edge) || seen.has(edge.node)) return;
    seen.add(edge.node);
    stack.push({ node: edge.node, next: 0 });
  };
  for (const root of roots) {
    enter(root);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next < top.node.edges.length) enter(top.node.edges[top.next++]);
      else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order.reverse();
}
