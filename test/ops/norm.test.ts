/** What the norms refuse, and what they say then; what they compute is in norm.cases.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { groupNorm, layerNorm, layerNormModulate, ones, openDevice, rmsNorm, scope } from "../../lib/tensor.js";
import { refusal } from "../support/refusal.js";

const device = openDevice("cpu");
test.after(() => device.dispose());

const filled = (shape: readonly number[]) => ones(shape, { device });

/** The call is refused for its shapes, in a message that holds all the parts. */
function refuses(run: () => unknown, ...parts: readonly string[]): void {
  const { code, message } = refusal(() => scope(run));
  assert.is(code, "SHAPE_MISMATCH", message);
  for (const part of parts) assert.ok(message.includes(part), `"${message}" does not say "${part}"`);
}

test("a weight is as long as the last axis", () => {
  refuses(() => rmsNorm(filled([2, 3]), filled([4])), "rmsNorm: weight is [4], expected [3]", "[2, 3]");
  refuses(() => rmsNorm(filled([2, 3]), filled([1, 3])), "rmsNorm: weight is [1, 3], expected [3]");
  refuses(() => layerNorm(filled([2, 3]), { bias: filled([2]) }), "layerNorm: bias is [2], expected [3]");
  refuses(() => groupNorm(filled([1, 5, 4]), { groups: 2, weight: filled([5]) }), "groupNorm: weight is [5]");
});

test("a tensor without axes has no channels to weight", () => {
  for (const shape of [[0], [1], []]) {
    refuses(() => rmsNorm(filled([]), filled(shape)), "rmsNorm: weight", "x has no axes");
    refuses(() => layerNorm(filled([]), { weight: filled(shape) }), "layerNorm: weight", "x has no axes");
    refuses(() => layerNorm(filled([]), { bias: filled(shape) }), "layerNorm: bias", "x has no axes");
  }
  refuses(() => layerNormModulate(filled([]), filled([1]), filled([1])), "layerNormModulate: shift");
  refuses(() => groupNorm(filled([]), { groups: 1, weight: filled([0]) }), "groupNorm: x is []");
});

test.run();
