/** Prints one line for each op case and type: a hash of the bytes of its outputs and of its gradients. */
import { createHash, type Hash } from "node:crypto";
import { backward, type DType, onesLike, openDevice, requiresGrad, scope, Tensor } from "../../lib/tensor.js";
import type { AnyTensor, OpCase } from "../ops/case.js";
import { loadCases, makeInputs } from "./run-cases.js";

const device = openDevice("cpu");

async function add(hash: Hash, t: Tensor): Promise<void> {
  const values = await t.read();
  hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

async function hashCase(c: OpCase, dtype: DType): Promise<string> {
  const hash = createHash("sha1");
  const { tensors } = await makeInputs(c, dtype, device);
  for (const name of c.gradients ?? []) requiresGrad(tensors[name] as Tensor);
  const outputs = scope(() => {
    const made = c.run(tensors as { [name: string]: AnyTensor });
    const list = made instanceof Tensor ? [made] : [...made];
    for (const output of list) if (output.requiresGrad) backward(output, { gradient: onesLike(output) });
    return list;
  });
  for (const output of outputs) await add(hash, output);
  for (const name of c.gradients ?? []) {
    const { grad } = tensors[name] as Tensor;
    if (grad !== undefined) await add(hash, grad);
  }
  for (const t of [...outputs, ...Object.values(tensors)]) t.dispose();
  return hash.digest("hex");
}

for (const [family, cases] of await loadCases()) {
  for (const c of cases) {
    for (const dtype of c.dtypes ?? (["f32", "bf16"] as const)) {
      console.log(`${await hashCase(c, dtype)} ${family} ${c.name} ${dtype}`);
    }
  }
}
await device.dispose();
