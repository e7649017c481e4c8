/**
 * What a tensor remembers of how it was computed. The nodes form the graph that lib/autograd walks; they live here
 * because tensors hold them. A node is shared by its outputs and by the nodes computed from them, and counts them: when
 * the last one goes, what it saved is disposed of, so a graph that is never walked costs nothing after its scope.
 */
import type { Tensor } from "./tensor.js";

export interface GradNode {
  readonly name: string;
  /** For each differentiable input: the leaf tensor's gradient slot, or the node that made the input. */
  readonly edges: readonly (Edge | undefined)[];
  /** Gradients of the inputs (one for each edge) from those of the outputs. Runs inside a scope. */
  backward(outputGrads: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[];
  /** Disposes of what was saved. Called once. */
  release(): void;
  refs: number;
  readonly outputs: number;
}

export type Edge = { readonly node: GradNode; readonly output: number } | { readonly leaf: Leaf };

/** The identity of a tensor with `requiresGrad`, and where its gradient gathers. */
export class Leaf {
  grad: Tensor | undefined;
  /** The tensor has been disposed of, or is a leaf no more: a graph that still leads here gathers nothing. */
  closed = false;
  /** Shape and type of the tensor that this leaf stands for. */
  constructor(
    readonly shape: readonly number[],
    readonly dtype: string,
  ) {}
}

export function closeLeaf(leaf: Leaf | undefined): void {
  if (leaf === undefined) return;
  leaf.grad?.dispose();
  leaf.closed = true;
}

export function retainNode(node: GradNode): void {
  node.refs++;
}

/** Gives up one reference; iterative, since a chain of a million ops must not overflow the stack. */
export function releaseNode(node: GradNode): void {
  const waiting: GradNode[] = [node];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (--next.refs > 0) continue;
    next.release();
    for (const edge of next.edges) if (edge !== undefined && "node" in edge) waiting.push(edge.node);
  }
}

let depth = 0;

/** True inside noGrad: ops record nothing. */
export function recordingOff(): boolean {
  return depth > 0;
}

/** Runs fn with recording off. Synchronous, like scopes. */
export function withoutRecording<T>(fn: () => T): T {
  depth++;
  try {
    return fn();
  } finally {
    depth--;
  }
}

/** Runs fn with recording on, even inside noGrad (recomputation of a checkpoint during backward). */
export function withRecording<T>(fn: () => T): T {
  const outer = depth;
  depth = 0;
  try {
    return fn();
  } finally {
    depth = outer;
  }
}
