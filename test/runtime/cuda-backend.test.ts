/**
 * The CUDA backend's library as it was built, and the backend's own logic (streams, staging, errors) on a runtime that
 * needs no GPU. Skipped where it was not built.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeBackends, packageRoot } from "../../lib/runtime/binding.js";
import { add, ones, openDevice } from "../../lib/tensor.js";
import { refusal } from "../support/refusal.js";

const folder = join(process.env.HUNYUAN_NATIVE_PREBUILD ?? packageRoot, "build", "Release");

/** A test where the file was built; else skipped, by a name that says so. */
function testWith(file: string, name: string, run: () => void | Promise<void>): void {
  if (existsSync(join(folder, file))) test(name, run);
  else test.skip(`${name}: ${file} was not built`);
}

testWith("hunyuan_cuda.so", "the library loads with or without a driver, and says why there is no GPU", async () => {
  const cuda = describeBackends().find(({ name }) => name === "cuda");
  assert.ok(cuda !== undefined);
  assert.not.match(cuda.reason, /does not load|is no backend|build both/);
  if (cuda.devices > 0) {
    assert.is(cuda.reason, "");
    await openDevice("cuda").dispose();
  } else {
    assert.match(cuda.reason, /driver|GPU/);
    const error = refusal(() => openDevice("cuda"));
    assert.is(error.code, "DEVICE_UNAVAILABLE");
    assert.is(error.message, `cuda: ${cuda.reason}`);
  }
  await using cpu = openDevice("cpu");
  using one = ones([2], { device: cpu });
  using two = add(one, 1);
  assert.equal(Array.from(await two.read()), [2, 2], "the CPU works on beside it");
});

testWith("hn_cuda_driver", "streams, staging, memory, refused data and lost GPUs, on the fake runtime", () => {
  const { status, signal, stdout, stderr } = spawnSync(join(folder, "hn_cuda_driver"), { encoding: "utf8" });
  assert.is(signal, null, stderr);
  assert.is(status, 0, stderr);
  assert.match(stdout, /all well/);
});

test.run();
