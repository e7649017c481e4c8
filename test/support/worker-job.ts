/** What the workers of test/runtime/workers.test.ts do: one product, or products until they are ended. */
import { parentPort, workerData } from "node:worker_threads";
import { matmul, mul, ones, openDevice, scope, sum } from "../../lib/tensor.js";

const device = openDevice("cpu");
const x = mul(ones([128, 128], { device }), 1 / 128);

async function round(ops: number): Promise<number> {
  const total = scope(() => {
    let y = x;
    for (let i = 0; i < ops; i++) y = matmul(y, x);
    return sum(mul(y, 128));
  });
  const value = await total.item();
  total.dispose();
  return value;
}

parentPort?.postMessage(Math.round(await round(10)));
if (workerData.job === "forever") for (;;) await round(200);
await device.dispose();
