/** An op at a type that a device has no kernel for: never another device in silence, always an error that helps. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { opIds } from "../../lib/ops/generated/op-ids.js";
import { binding } from "../../lib/runtime/binding.js";
import { dtypeNames } from "../../lib/tensor/dtype.js";
import { add, cast, mul, ones, openDevice, softmax } from "../../lib/tensor.js";
import { unfit } from "../support/each-device.js";
import { rejection } from "../support/refusal.js";

const reason = await unfit("simt");
const simtTest = reason === "" ? test : test.skip;

simtTest("rejects with KERNEL_MISSING: the op, its type, the device, and what to do", async () => {
  await using device = openDevice("simt");
  assert.not.ok(binding().supports(device.id, opIds.binary, dtypeNames.indexOf("f64")), "choose another op for this");
  const x = ones([2, 3], { dtype: "f64", device });
  const error = await rejection(add(x, 1).read());
  assert.is(error.code, "KERNEL_MISSING");
  assert.equal(error.details, { op: "binary", device: "simt" });
  for (const part of ["binary: ", "[2, 3] f64", "device simt", "docs/ops.md", "cast", '"cpu"']) {
    assert.ok(error.message.includes(part), `"${error.message}" does not say "${part}"`);
  }
});

simtTest("what depends on it fails alike, and the device goes on", async () => {
  await using device = openDevice("simt");
  const wide = ones([4], { dtype: "f64", device });
  const after = mul(cast(softmax(wide), "f32"), 2);
  const error = await rejection(after.read());
  assert.is(error.code, "KERNEL_MISSING");
  assert.ok(error.message.startsWith("softmax: "), error.message);
  // What the message advises.
  assert.equal([...(await softmax(cast(wide, "f32")).read())], [0.25, 0.25, 0.25, 0.25]);
  assert.is((await rejection(softmax(wide).read())).code, "KERNEL_MISSING");
  await device.sync();
});

test.run();
