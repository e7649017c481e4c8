/** The event loop never computes: its delay stays small while the device works for ten seconds. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { matmul, mul, ones, openDevice, scope, type Tensor } from "../../lib/tensor.js";

test("p99 of the delay during a long computation", async () => {
  const seconds = process.env.HUNYUAN_TEST_FULL === "1" ? 10 : 3;
  await using device = openDevice("cpu");
  const x = mul(ones([1024, 1024], { device }), 1 / 1024);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    const y: Tensor = scope(() => {
      let h = x;
      for (let i = 0; i < 10; i++) h = matmul(h, x);
      return h;
    });
    await y.read();
    y.dispose();
  }
  delay.disable();
  const p99 = delay.percentile(99) / 1e6;
  console.log(
    `event-loop delay over ${seconds} s: p50 ${(delay.percentile(50) / 1e6).toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
  );
  // The aim is 10 ms; on a busy machine the operating system alone may keep a thread waiting longer than that.
  assert.ok(p99 < 100, `p99 ${p99} ms`);
});

test.run();
