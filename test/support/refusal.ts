/** The error that a call ends with, for tests that look at its code and words. */
import { type HunyuanError, isHunyuanError } from "../../lib/tensor.js";

function ours(error: unknown): HunyuanError {
  if (isHunyuanError(error)) return error;
  throw error;
}

/** What the call throws; anything but a HunyuanError is thrown on. */
export function refusal(run: () => unknown): HunyuanError {
  try {
    run();
  } catch (error) {
    return ours(error);
  }
  throw new Error("nothing was thrown");
}

/** What the promise rejects with. */
export async function rejection(promise: PromiseLike<unknown>): Promise<HunyuanError> {
  try {
    await promise;
  } catch (error) {
    return ours(error);
  }
  throw new Error("nothing was thrown");
}
