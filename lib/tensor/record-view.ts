/** Puts on the tape what shares or rearranges elements without computing: views, and the copies that stand in for them. */
import { edgeOf, retainEdges } from "./grad-record.js";
import type { Edge, GradNode } from "./tape.js";
import { recordingOff } from "./tape.js";
import type { Tensor } from "./tensor.js";

/** The gradient of the input from those of the outputs (undefined: nothing depends on that output). */
type ViewBackward = (grads: readonly (Tensor | undefined)[]) => Tensor | undefined;

/** Records that `outputs`, fresh tensors, were taken from `input`; does nothing when no gradient flows through it. */
export function recordView(name: string, input: Tensor, outputs: readonly Tensor[], backward: ViewBackward): void {
  if (recordingOff()) return;
  const edge = edgeOf(input);
  if (edge === undefined) return;
  const edges = [edge];
  retainEdges(edges);
  const node = new ViewNode(name, edges, outputs.length, backward);
  outputs.forEach((output, i) => output.attachNode(node, i));
}

class ViewNode implements GradNode {
  refs = 0;

  constructor(
    readonly name: string,
    readonly edges: readonly Edge[],
    readonly outputs: number,
    readonly viewBackward: ViewBackward,
  ) {}

  backward(grads: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
    return [grads.every((grad) => grad === undefined) ? undefined : this.viewBackward(grads)];
  }

  /** Views save nothing. */
  release(): void {}
}
