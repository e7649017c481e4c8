/** Runs op cases forward and backward without looking at the values: for what compares bytes, or records the calls. */

import { isFloat } from "../../lib/tensor/dtype.js";
import { backward, type Device, type DType, requiresGrad, scope, Tensor, tensor } from "../../lib/tensor.js";
import type { AnyTensor, OpCase } from "../ops/case.js";
import { makeInputs, strided } from "./case-inputs.js";

/** Not all the same: many gradients of a constant are zero, and what remains of them is noise. */
function weights(like: Tensor, device: Device): Tensor {
  const values = Float64Array.from({ length: like.size }, (_, i) => Math.sin(1 + 0.7 * i));
  return tensor(values, { dtype: like.dtype, device, shape: like.shape });
}

/**
 * Makes the case's inputs, runs it and its gradients, and hands on the outputs, then the gradients.
 *
 * @param pitched the input that is passed as a strided view
 */
export async function walkCase(
  c: OpCase,
  dtype: DType,
  device: Device,
  visit: (results: readonly Tensor[]) => Promise<void>,
  pitched?: string,
): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, dtype, device);
  const inputs: { [name: string]: Tensor } = { ...tensors };
  const host = pitched === undefined ? undefined : hosts[pitched];
  if (pitched !== undefined && host !== undefined) {
    inputs[pitched] = scope(() => strided(tensors[pitched] as Tensor, host, device));
  }
  const leaves = (c.gradients ?? []).map((name) => inputs[name] as Tensor).filter((t) => isFloat(t.dtype));
  for (const leaf of leaves) requiresGrad(leaf);
  const outputs = scope(() => {
    const made = c.run(inputs as { [name: string]: AnyTensor });
    const list = made instanceof Tensor ? [made] : [...made];
    for (const output of list) if (output.requiresGrad) backward(output, { gradient: weights(output, device) });
    return list;
  });
  try {
    await visit([...outputs, ...leaves.flatMap((leaf) => leaf.grad ?? [])]);
  } finally {
    for (const t of new Set([...outputs, ...Object.values(inputs), ...Object.values(tensors)])) t.dispose();
  }
}
