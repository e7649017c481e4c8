/** The same bytes for 1, 2 and 3 threads: every op case, hashed in a process for each count. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const program = join(dirname(fileURLToPath(import.meta.url)), "../support/hash-cases.ts");

function hashes(threads: number): Promise<Map<string, string>> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", program], {
      env: { ...process.env, HUNYUAN_NUM_THREADS: String(threads) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    child.on("close", (code, signal) => {
      if (code !== 0) return reject(new Error(`${threads} threads: ended with ${signal ?? code}`));
      const lines = text.trim().split("\n");
      resolve(new Map(lines.map((line) => [line.slice(41), line.slice(0, 40)] as const)));
    });
  });
}

test("results do not depend on the number of threads", async () => {
  const one = await hashes(1);
  assert.ok(one.size > 50, `only ${one.size} cases`);
  for (const threads of [2, 3]) {
    const many = await hashes(threads);
    assert.is(many.size, one.size);
    for (const [name, hash] of one) assert.is(many.get(name), hash, `${name}: differs with ${threads} threads`);
  }
});

test.run();
