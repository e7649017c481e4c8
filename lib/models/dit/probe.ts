/** Looking into a forward pass: intermediates for conformance, outputs of blocks for guards. */
import { concat } from "../../ops/concat.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";

/**
 * Is shown intermediates under the places' names of the conformance cases (`double_blocks.0.img_attn`, …), [B, S, C] or
 * [B, C], each as soon as it is queued. The tensor is lent for the call: read() it there, or keep an alias.
 */
export type Probe = (place: string, value: Tensor) => void;

/** Parts of a sequence as one tensor, for the call; they are joined only when someone looks. */
export function showJoined(probe: Probe | undefined, place: string, parts: readonly Tensor[]): void {
  if (probe === undefined) return;
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) {
    probe(place, only);
    return;
  }
  const joined = withoutRecording(() => concat(parts, 1));
  probe(place, joined);
  joined.dispose();
}
