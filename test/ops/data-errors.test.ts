// Values that only a kernel can see to be wrong: every device refuses them at the read, with the same code and words, and
// what does not depend on them is computed.
import * as assert from "uvu/assert";
import {
  add,
  attention,
  crossEntropy,
  type Device,
  embedding,
  gather,
  grad,
  ones,
  requiresGrad,
  scope,
  sum,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import { onEachDevice } from "../support/each-device.js";
import { rejection } from "../support/refusal.js";

const each = await onEachDevice("data errors");

/** What is read depends on bad values: it is refused in these words, and the device works on. */
async function isRefused(device: Device, run: () => Tensor, op: string, words: string): Promise<void> {
  const [bad, heir, apart] = scope(() => {
    const result = run();
    return [result, sum(result), add(ones([3], { device }), 1)] as const;
  });
  for (const t of [heir, bad]) {
    const error = await rejection(t.read());
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.ok(error.message.startsWith(`${op}: ${words}`), error.message);
    assert.is((error.details as { op: string }).op, op);
  }
  assert.equal(Array.from(await apart.read()), [2, 2, 2]);
  // Told, unless the run threw away a result that was just as bad: then a sync tells it, once.
  await device.sync().catch((error: unknown) => assert.match(String(error), words));
  await device.sync();
  for (const t of [bad, heir, apart]) t.dispose();
}

const f32 = (shape: readonly number[], device: Device) => ones(shape, { device });
const i32 = (values: readonly number[], device: Device) => tensor(values, { dtype: "i32", device });

const outside = "an index lies outside the axis that is gathered from";
for (const id of [-1, 4, 2 ** 31 - 1]) {
  each.test(
    `gather by ${id}`,
    async (device) => {
      for (const count of [1, 300]) {
        const ids = Array.from({ length: count }, (_, i) => (i === count - 1 ? id : i % 4));
        const run = () => gather(f32([2, 4, 3], device), i32(ids, device), { axis: 1 });
        await isRefused(device, run, "gather", outside);
      }
    },
    ["gather", "f32"],
  );
}

each.test(
  "the gradient of an embedding with a bad index",
  async (device) => {
    const run = () => {
      const table = requiresGrad(f32([4, 3], device));
      return grad(sum(embedding(table, i32([0, 9], device))), [table])[0] as Tensor;
    };
    await isRefused(device, run, "gather_backward", outside);
  },
  ["gather", "f32"],
  ["gather_backward", "f32"],
);

for (const [label, dtype] of [
  [3, "i32"],
  [-1, "i64"],
] as const) {
  each.test(
    `cross entropy with label ${label}`,
    async (device) => {
      const labels = () => tensor([0, label], { dtype, device });
      const words = "a label is outside 0 … classes − 1";
      await isRefused(device, () => crossEntropy(f32([2, 3], device), labels()), "cross_entropy", words);
      const run = () => {
        const logits = requiresGrad(f32([2, 3], device));
        return grad(crossEntropy(logits, labels()), [logits])[0] as Tensor;
      };
      await isRefused(device, run, "cross_entropy", words);
    },
    ["cross_entropy", "f32"],
    ["cross_entropy_backward", "f32"],
  );
}

each.test(
  "cross entropy leaves out the label that it is told to, whatever it is",
  async (device) => {
    const loss = scope(() => crossEntropy(f32([2, 3], device), i32([0, 77], device), { ignoreIndex: 77 }));
    assert.ok(Math.abs(Number((await loss.read())[0]) - Math.log(3)) < 1e-6);
    loss.dispose();
  },
  ["cross_entropy", "f32"],
);

const queries = "cuSeqlens must start at 0, never fall and end within the queries";
const keys = "cuSeqlensK must start at 0, never fall and end within the keys";
for (const [cu, cuK, words] of [
  [[0, 3, 2, 4], undefined, queries],
  [[0, 5], undefined, queries],
  [[1, 4], undefined, queries],
  [[0, 4], [0, 7], keys],
  [[0, 2, 4], [0, 3, 2], keys],
  [[2, 4], [0, 7], queries],
] as const) {
  each.test(
    `attention with lengths ${cu.join(" ")}${cuK === undefined ? "" : ` and keys' ${cuK.join(" ")}`}`,
    async (device) => {
      const run = (): Tensor => {
        const q = f32([1, 4, 2, 8], device);
        const kv = f32([1, cuK === undefined ? 4 : 6, 2, 8], device);
        const cuSeqlensK = cuK === undefined ? {} : { cuSeqlensK: i32(cuK, device) };
        return attention(q, kv, kv, { cuSeqlens: i32(cu, device), ...cuSeqlensK });
      };
      await isRefused(device, run, "attention", words);
    },
    ["attention", "f32"],
  );
}

each.run();
