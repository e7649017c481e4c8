/** Puts an op that has just run on the tape: what it saved, and where its inputs came from. */
import type { AttrSpecs, Attrs, GradContext, InputSpec, InputSpecs, InputTensor, Op, OutputSpec } from "./op.js";
import type { Owner } from "./ownership.js";
import type { Edge, GradNode } from "./tape.js";
import { retainNode } from "./tape.js";
import { Tensor } from "./tensor.js";

type Named<T> = { [name: string]: T };

/** Saved tensors belong to their node, to no scope, and need no net under them: nodes are counted. */
const ownedByNode: Owner = { adopt() {}, forget() {} };

/** Where the gradient of a tensor goes: to its leaf, to the node that made it, or nowhere. */
export function edgeOf(tensor: Tensor): Edge | undefined {
  if (tensor.leaf !== undefined) return { leaf: tensor.leaf };
  return tensor.node === undefined ? undefined : { node: tensor.node, output: tensor.nodeOutput };
}

/** A tensor kept for the backward pass. */
export function saveTensor(tensor: Tensor): Tensor {
  return tensor.alias(ownedByNode);
}

export function retainEdges(edges: readonly (Edge | undefined)[]): void {
  for (const edge of edges) if (edge !== undefined && "node" in edge) retainNode(edge.node);
}

const asList = (value: InputTensor): readonly Tensor[] =>
  value === undefined ? [] : value instanceof Tensor ? [value] : value;

/** Whether a gradient flows to a tensor, or to one of a list. */
export function needsGrad(value: InputTensor): boolean {
  if (value === undefined) return false;
  return value instanceof Tensor ? value.requiresGrad : value.some((tensor) => tensor.requiresGrad);
}

export function recordGradient<I extends InputSpecs, A extends AttrSpecs, O extends string>(
  op: Op<I, A, O>,
  inputs: { readonly [name: string]: InputTensor },
  attrs: Attrs<A>,
  outputs: { readonly [name: string]: Tensor },
): void {
  if (!op.inputNames.some((name) => needsGrad(inputs[name]))) return;
  const edges: (Edge | undefined)[] = [];
  for (const name of op.inputNames) {
    if ((op.inputs[name] as InputSpec).written) continue;
    for (const tensor of asList(inputs[name])) edges.push(edgeOf(tensor));
  }
  if (edges.every((edge) => edge === undefined)) return;
  retainEdges(edges);
  const node = new OpNode(op, inputs, attrs, outputs, edges);
  op.outputs.forEach((name, i) => outputs[name]?.attachNode(node, i));
}

class OpNode<I extends InputSpecs, A extends AttrSpecs, O extends string> implements GradNode {
  refs = 0;
  readonly name: string;
  readonly outputs: number;
  readonly edges: readonly (Edge | undefined)[];
  readonly #op: Op<I, A, O>;
  readonly #attrs: Attrs<A>;
  readonly #counts: Named<number> = {};
  readonly #specs: Named<OutputSpec> = {};
  readonly #specLists: Named<readonly OutputSpec[]> = {};
  readonly #saved: Named<readonly Tensor[]> = {};

  constructor(
    op: Op<I, A, O>,
    inputs: { readonly [name: string]: InputTensor },
    attrs: Attrs<A>,
    outputs: { readonly [name: string]: Tensor },
    edges: readonly (Edge | undefined)[],
  ) {
    this.name = op.name;
    this.outputs = op.outputs.length;
    this.edges = edges;
    this.#op = op;
    this.#attrs = attrs;
    for (const name of op.inputNames) {
      const list = asList(inputs[name]);
      this.#counts[name] = list.length;
      const specs = list.map(({ dtype, shape }) => ({ dtype, shape }));
      this.#specLists[name] = specs;
      if (specs[0] !== undefined) this.#specs[name] = specs[0];
    }
    const saves = op.savesFor?.(attrs, this.#needs()) ?? op.saves ?? [];
    for (const name of saves) this.#saved[name] = asList(inputs[name] ?? outputs[name]).map(saveTensor);
  }

  /** For each input by name, whether a gradient flows to it. */
  #needs(): { readonly [K in keyof I]: boolean } {
    const needs: Named<boolean> = {};
    let edge = 0;
    for (const name of this.#op.inputNames) {
      if ((this.#op.inputs[name] as InputSpec).written) continue;
      const end = edge + (this.#counts[name] as number);
      needs[name] = this.edges.slice(edge, end).some((e) => e !== undefined);
      edge = end;
    }
    // Filled in by walking over the op's own names.
    return needs as { readonly [K in keyof I]: boolean };
  }

  backward(outputGrads: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
    const { inputNames, vjp } = this.#op;
    const grads: Named<Tensor | undefined> = {};
    this.#op.outputs.forEach((name, i) => {
      grads[name] = outputGrads[i];
    });
    const saved: Named<Tensor> = {};
    for (const [name, list] of Object.entries(this.#saved)) if (list[0] !== undefined) saved[name] = list[0];
    const given: Named<boolean> = {};
    for (const name of inputNames) given[name] = (this.#counts[name] as number) > 0;
    // The context's names are the op's own, filled in above by iterating over its declaration.
    const context = {
      saved,
      savedList: this.#saved,
      given,
      specs: this.#specs,
      specLists: this.#specLists,
      attrs: this.#attrs,
      grads,
      needs: this.#needs(),
    };
    const result: { readonly [name: string]: InputTensor | readonly (Tensor | undefined)[] } =
      vjp?.(context as GradContext<I, A, O>) ?? {};
    return this.#flatten(result);
  }

  #flatten(result: Named<InputTensor | readonly (Tensor | undefined)[]>): (Tensor | undefined)[] {
    const flat: (Tensor | undefined)[] = [];
    for (const name of this.#op.inputNames) {
      if ((this.#op.inputs[name] as InputSpec).written) continue;
      const value = result[name];
      const count = this.#counts[name] as number;
      if (Array.isArray(value)) for (let i = 0; i < count; i++) flat.push(value[i]);
      else for (let i = 0; i < count; i++) flat.push(value instanceof Tensor ? value : undefined);
    }
    return flat;
  }

  release(): void {
    for (const list of Object.values(this.#saved)) for (const tensor of list) tensor.dispose();
  }
}
