/**
 * The array of doubles through which op records reach native code: TypeScript writes one record, calls `submit`, and
 * reads back the handles of fresh outputs. One a JavaScript thread, reused for every call, so that an op allocates
 * nothing for crossing the boundary.
 *
 * Layout: op, lane, argument count, attribute count; for each argument its tensor count, then for each tensor
 * handle (0 = fresh output), flags, dtype, offset, rank, shape…, strides…; then the attributes.
 */
import { binding } from "./binding.js";

export const headerDoubles = 4;
/** Doubles that one tensor takes at most: handle, flags, dtype, offset, rank and 2 × 6 dimensions. */
export const tensorDoubles = 17;
/** Flag of a tensor that the op writes. */
export const writtenFlag = 1;

let mailbox: Float64Array | undefined;

function install(doubles: number): Float64Array {
  mailbox = new Float64Array(doubles);
  binding().setMailbox(mailbox);
  return mailbox;
}

/** The mailbox, grown when a record of this many doubles would not fit. */
export function mailboxOf(doubles: number): Float64Array {
  if (mailbox !== undefined && mailbox.length >= doubles) return mailbox;
  return install(Math.max(4096, 2 * doubles));
}

/** Detail numbers that the last call left. */
export function mailboxNumber(index: number): number {
  return mailboxOf(index + 1)[index] as number;
}
