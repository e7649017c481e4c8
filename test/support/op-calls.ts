/** Which ops a piece of code queues, and whether a device has kernels for them: seen without running any. */
import { binding } from "../../lib/runtime/binding.js";
import { headerDoubles, mailboxOf } from "../../lib/runtime/mailbox.js";
import { dtypeNames } from "../../lib/tensor/dtype.js";
import type { Device, DType } from "../../lib/tensor.js";

export interface OpCall {
  readonly op: number;
  /** Type of the first tensor: what a backend's `supports` asks about. */
  readonly dtype: number;
}

/** The record that lies in the mailbox (lib/runtime/mailbox.ts). */
function callInMailbox(): OpCall {
  const box = mailboxOf(headerDoubles);
  const args = box[2] as number;
  let at = headerDoubles;
  for (let i = 0; i < args && box[at] === 0; i++) at++;
  return { op: box[0] as number, dtype: box[at + 3] as number };
}

/** The op calls that `fn` queues on `device`. */
export async function callsOf(device: Device, fn: () => Promise<void>): Promise<OpCall[]> {
  const native = binding();
  const { submit } = native;
  const calls: OpCall[] = [];
  native.submit = (id) => {
    if (id === device.id) calls.push(callInMailbox());
    return submit(id);
  };
  try {
    await fn();
  } finally {
    native.submit = submit;
  }
  return calls;
}

/** "" when the device has a kernel for each call, else the first for which it has none. */
export function missingKernel(device: Device, calls: readonly OpCall[], opNames: readonly string[]): string {
  const missing = calls.find(({ op, dtype }) => !binding().supports(device.id, op, dtype));
  if (missing === undefined) return "";
  const dtype: DType | undefined = dtypeNames[missing.dtype];
  return `${opNames[missing.op]} at ${dtype}`;
}
