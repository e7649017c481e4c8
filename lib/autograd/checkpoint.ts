/** Recomputation: trades the memory of what a block saved for running the block once more during backward. */
import { checkFunction, invalid } from "../runtime/check.js";
import { checkTensor, checkTensorList } from "../tensor/check.js";
import { edgeOf, retainEdges, saveTensor } from "../tensor/grad-record.js";
import { scope } from "../tensor/scope.js";
import { type Edge, type GradNode, Leaf, recordingOff, withoutRecording, withRecording } from "../tensor/tape.js";
import { Tensor } from "../tensor/tensor.js";
import { walkInner } from "./backward.js";

/**
 * Runs fn(...inputs) without saving anything but the inputs; backward runs fn again, recorded, and walks that. fn must
 * compute the same each time. Gradients reach the inputs and also leaves (weights) that fn uses without taking them as
 * inputs; at least one input must require a gradient, or lead to one, for the block to be on the tape.
 *
 * @param fn takes the inputs, gives a tensor or an array of tensors
 * @example x = checkpoint((h) => block(h, vec), x);
 */
export function checkpoint<I extends readonly Tensor[], O extends Tensor | readonly Tensor[]>(
  fn: (...inputs: I) => O,
  ...inputs: I
): O {
  checkFunction("checkpoint", "fn", fn);
  checkTensorList("checkpoint", "inputs", inputs);
  if (recordingOff()) return fn(...inputs);
  const result = scope(() => {
    const made = withoutRecording(() => fn(...inputs));
    checkResult(made);
    return made;
  });
  const edges = inputs.map(edgeOf);
  const node = new CheckpointNode(fn, inputs, edges, Array.isArray(result) ? result.length : 1);
  retainEdges(edges);
  const outputs: readonly Tensor[] = asArray(result);
  outputs.forEach((output, i) => output.attachNode(node, i));
  return result;
}

function checkResult(result: unknown): void {
  if (result instanceof Tensor) checkTensor("checkpoint", "the result of fn", result);
  else if (Array.isArray(result)) checkTensorList("checkpoint", "the result of fn", result);
  else throw invalid("checkpoint", "the result of fn", result, "a tensor or an array of tensors, made at once");
}

function asArray(result: Tensor | readonly Tensor[]): readonly Tensor[] {
  return Array.isArray(result) ? result : [result as Tensor];
}

class CheckpointNode<I extends readonly Tensor[]> implements GradNode {
  readonly name = "checkpoint";
  refs = 0;
  readonly #inputs: readonly Tensor[];

  constructor(
    readonly fn: (...inputs: I) => Tensor | readonly Tensor[],
    inputs: I,
    readonly edges: readonly (Edge | undefined)[],
    readonly outputs: number,
  ) {
    this.#inputs = inputs.map(saveTensor);
  }

  backward(outputGrads: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
    const leaves = this.edges.map((edge, i) => {
      const input = this.#inputs[i] as Tensor;
      return edge === undefined ? undefined : new Leaf(input.shape, input.dtype);
    });
    const again = this.#inputs.map((input, i) => {
      const copy = input.alias();
      copy.leaf = leaves[i];
      return copy;
    });
    // The inputs have the types that fn was given, one by one.
    const results = asArray(withRecording(() => this.fn(...(again as readonly Tensor[] as I))));
    return walkInner(results, outputGrads, leaves);
  }

  release(): void {
    for (const input of this.#inputs) input.dispose();
  }
}
