/** What attention refuses before it is queued; lengths that only the device can see: ops/data-errors.test.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attention, isHunyuanError, openDevice, tensor, zeros } from "../lib/tensor.js";

const device = openDevice("cpu");
const make = (shape: readonly number[]) => zeros(shape, { device });

function refuses(code: string, pattern: RegExp, run: () => unknown): void {
  assert.throws(run, (error: unknown) => isHunyuanError(error) && error.code === code && pattern.test(error.message));
}

test("shapes that do not fit are named", () => {
  const q = make([2, 3, 4, 8]);
  refuses("SHAPE_MISMATCH", /q is \[3, 4, 8\]/, () => attention(make([3, 4, 8]), q, q));
  refuses("SHAPE_MISMATCH", /k is \[1, 3, 4, 8\]/, () => attention(q, make([1, 3, 4, 8]), q));
  refuses("SHAPE_MISMATCH", /k is \[2, 3, 4, 9\]/, () => attention(q, make([2, 3, 4, 9]), q));
  refuses("SHAPE_MISMATCH", /v is \[2, 5, 4, 8\]/, () => attention(q, q, make([2, 5, 4, 8])));
  refuses("SHAPE_MISMATCH", /divides the 4 of q/, () => attention(q, make([2, 3, 3, 8]), make([2, 3, 3, 8])));
  refuses("SHAPE_MISMATCH", /keyMask is \[3\]/, () => attention(q, q, q, { keyMask: make([3]) }));
});

test("options that do not fit are named", () => {
  const q = make([1, 3, 2, 8]);
  const cuSeqlens = tensor([0, 3], { dtype: "i32", device });
  refuses("INVALID_ARGUMENT", /frameTokens/, () => attention(q, q, q, { frameTokens: 0 }));
  refuses("INVALID_ARGUMENT", /exclude each other/, () => attention(q, q, q, { frameTokens: 1, causal: true }));
  refuses("INVALID_ARGUMENT", /scale/, () => attention(q, q, q, { scale: Number.NaN }));
  refuses("INVALID_ARGUMENT", /without cuSeqlens/, () => attention(q, q, q, { cuSeqlensK: cuSeqlens }));
  const two = make([2, 3, 2, 8]);
  refuses("SHAPE_MISMATCH", /batch of 1/, () => attention(two, two, two, { cuSeqlens }));
  const long = make([1, 5, 2, 8]);
  refuses("SHAPE_MISMATCH", /cuSeqlensK/, () => attention(q, long, long, { cuSeqlens }));
});

test("lse comes when it is asked for, and stays alive no longer than that", async () => {
  const q = make([1, 2, 1, 8]);
  const { tensors } = device.memory();
  attention(q, q, q).dispose();
  await device.sync();
  assert.is(device.memory().tensors, tensors);
  const { o, lse } = attention(q, q, q, { returnLse: true });
  assert.equal([...(await lse.read())], [Math.fround(Math.log(2)), Math.fround(Math.log(2))]);
  o.dispose();
  lse.dispose();
});

test.after(() => device.dispose());
test.run();
