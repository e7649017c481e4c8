/** One number for everything that a saved state would hold. */
import { createHash } from "node:crypto";
import { readBytes } from "../../lib/tensor/file.js";
import type { StateParts } from "../../lib/train.js";

export async function hashOfState(parts: StateParts): Promise<string> {
  const hash = createHash("sha256");
  for (const part of Object.values(parts)) {
    for (const [name, tensor] of part.tensors()) hash.update(name).update(await readBytes(tensor));
    hash.update(JSON.stringify(part.data()));
  }
  return hash.digest("hex");
}
