/** Prints one line for each op case and type: a hash of the bytes of its outputs and of its gradients. */
import { createHash } from "node:crypto";
import { openDevice } from "../../lib/tensor.js";
import { loadCases } from "./run-cases.js";
import { walkCase } from "./walk-cases.js";

const device = openDevice("cpu");

for (const [family, cases] of await loadCases("cpu")) {
  for (const c of cases) {
    for (const dtype of c.dtypes ?? (["f32", "bf16"] as const)) {
      const hash = createHash("sha1");
      await walkCase(c, dtype, device, async (results) => {
        for (const t of results) {
          const values = await t.read();
          hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
        }
      });
      console.log(`${hash.digest("hex")} ${family} ${c.name} ${dtype}`);
    }
  }
}
await device.dispose();
