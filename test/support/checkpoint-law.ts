/** What opening and loading any file may end with: tensors that lie in it, or a typed error that names it, soon. */
import { statSync } from "node:fs";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { loadParams } from "../../lib/nn/load.js";
import { releasedNaming } from "../../lib/nn/spec.js";
import { sizeOf } from "../../lib/tensor/shape.js";
import { bytesOf, type Device, isHunyuanError } from "../../lib/tensor.js";
import { within } from "./soon.js";

/** More than any of the test files hold. */
const mostBytes = 2 ** 24;

/**
 * Opens the file and, when it is taken for a checkpoint, loads all of it.
 *
 * @returns whether it was taken
 * @throws Error when the law is broken: another error, a tensor outside the file, or more than a second
 */
export async function obeysTheLaw(device: Device, path: string): Promise<boolean> {
  const checkTime = within();
  const taken = await open(device, path);
  checkTime();
  return taken;
}

async function open(device: Device, path: string): Promise<boolean> {
  try {
    const { entries } = await openCheckpoint(path);
    let total = 0;
    for (const { name, dtype, shape, offset, bytes, file } of entries.values()) {
      const inside = offset >= 0 && offset + bytes <= statSync(file).size && bytes === bytesOf(dtype, sizeOf(shape));
      if (!inside) throw new Error(`${name}: ${bytes} bytes at ${offset} do not lie in the file`);
      total += bytes;
    }
    if (total > mostBytes) return true; // views of one storage may add up to more than the file
    const floats = [...entries.values()].filter(({ dtype }) => /^b?f\d/.test(dtype));
    const specs = floats.map(({ name, shape }) => ({ name, shape, layout: "channels-last" as const }));
    const params = await loadParams(device, { ...(await openCheckpoint(path)) }, specs, releasedNaming, {
      dtype: "bf16",
    });
    params.dispose();
    return true;
  } catch (error) {
    if (!isHunyuanError(error)) throw error;
    if (!["CHECKPOINT_INVALID", "FILE_ERROR", "MODEL_UNSUPPORTED"].includes(error.code)) {
      throw new Error(`${error.code}: ${error.message}`);
    }
    if (!error.message.includes(path)) throw new Error(`does not name the file: ${error.message}`);
    return false;
  }
}
