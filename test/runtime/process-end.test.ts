/** How a process ends: a pending read keeps it alive, a forgotten dispose does not, and exit() in mid-work is clean. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const library = fileURLToPath(new URL("../../lib/tensor.ts", import.meta.url));
const tsx = import.meta.resolve("tsx");
const folder = mkdtempSync(join(tmpdir(), "hunyuan-end-"));
test.after(() => rmSync(folder, { recursive: true }));

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly ms: number;
}

function run(name: string, body: string): Promise<Ending> {
  const file = join(folder, `${name}.mts`);
  writeFileSync(
    file,
    `import { add, matmul, mul, ones, openDevice, scope, tensor } from ${JSON.stringify(library)};\n${body}`,
  );
  const began = performance.now();
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--import", tsx, file], {
      stdio: ["ignore", "pipe", "inherit"],
      timeout: 60_000,
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      out += part;
    });
    child.on("close", (code, signal) => resolve({ code, signal, out: out.trim(), ms: performance.now() - began }));
  });
}

const chain = (ops: number) => `
const device = openDevice("cpu");
const x = mul(ones([256, 256], { device }), 1 / 256);
const y = scope(() => { let h = x; for (let i = 0; i < ${ops}; i++) h = matmul(h, x); return h; });
`;

test("a pending read keeps the process alive", async () => {
  const end = await run("pending", `${chain(200)} y.read().then((v) => console.log(v.length));`);
  assert.is(end.code, 0);
  assert.is(end.out, "65536");
});

test("a forgotten dispose does not", async () => {
  const end = await run("forgotten", `${chain(3)} await y.read(); console.log("done");`);
  assert.is(end.code, 0);
  assert.is(end.out, "done");
});

test("work that nobody waits for does not hold the process", async () => {
  const end = await run("unwaited", `${chain(20_000)} console.log("queued");`);
  assert.is(end.signal, null);
  assert.is(end.code, 0);
  assert.is(end.out, "queued");
  assert.ok(end.ms < 30_000, `took ${end.ms} ms`);
});

test("process.exit in the middle of work", async () => {
  const end = await run("exit", `${chain(20_000)} y.read().catch(() => {}); setTimeout(() => process.exit(7), 20);`);
  assert.is(end.signal, null);
  assert.is(end.code, 7);
});

test("an uncaught exception in the middle of work", async () => {
  const end = await run(
    "throw",
    `${chain(20_000)} process.on("uncaughtException", () => process.exit(9)); setTimeout(() => { throw new Error("x"); }, 20);`,
  );
  assert.is(end.code, 9);
});

test.run();
