/** Token ids on their way from the tokenizer to the device. */
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { tensor } from "../../tensor/host.js";
import type { Tensor } from "../../tensor/tensor.js";

/** Ids of each prompt, padded on the right to one length. */
export type TokenBatch = readonly (readonly number[])[];

/**
 * The ids as a tensor i32 [B, S].
 *
 * @throws INVALID_ARGUMENT for ids outside the vocabulary, or rows of several lengths
 */
export function tokenTensor(op: string, ids: TokenBatch, vocabSize: number, device: Device): Tensor<"i32"> {
  const refuse = (message: string) =>
    new HunyuanError("INVALID_ARGUMENT", `${op}: ${message}`, { op, argument: "ids" });
  const length = ids[0]?.length ?? 0;
  if (length === 0) throw refuse("no token ids");
  if (ids.some((row) => row.length !== length)) {
    throw refuse(`rows of ${ids.map((row) => row.length).join(", ")} ids; pad them on the right to one length`);
  }
  const flat = ids.flat();
  const outside = flat.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
  if (outside !== undefined) {
    throw refuse(
      `token id ${outside} is outside of the vocabulary of ${vocabSize}; the tokenizer is not this encoder's`,
    );
  }
  return tensor(Int32Array.from(flat), { dtype: "i32", shape: [ids.length, length], device });
}
