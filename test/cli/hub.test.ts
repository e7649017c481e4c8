/** A model by its name on the hub: downloaded over a line that breaks once, used, and used again without a network. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HunyuanVideo } from "../../lib/pipelines/hunyuan-video.js";
import { hunyuan, records } from "../support/cli.js";
import { type HubFile, HubServer } from "../support/hub-server.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-hub-cli-"));
const source = join(folder, "source");
writeTinyModel(source);
const repo = "someone/tiny";
const weights = "transformer/diffusion_pytorch_model.safetensors";

const files = new Map<string, HubFile>([["README.md", { content: Buffer.from("# tiny"), lfs: false }]]);
for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const content = readFileSync(path);
  files.set(path.slice(source.length + 1), { content, lfs: path.endsWith(".safetensors") });
}

const server = new HubServer(repo, files);
const env = { HF_HOME: join(folder, "home"), HF_ENDPOINT: "", HF_TOKEN: "", HF_HUB_OFFLINE: "" };
const test = suite("cli: a model on the hub");
test.before(async () => {
  await server.start();
  env.HF_ENDPOINT = server.endpoint;
  Object.assign(process.env, env);
});
test.after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const size = ["--width", "64", "--height", "48", "--frames", "5", "--steps", "2", "--seed", "1"];
const generate = (output: string, ...more: readonly string[]) =>
  hunyuan(["generate", "a kite", "-m", repo, "-o", join(folder, output), ...size, ...more], { env });

test("generate downloads what it needs, goes on after a break, and says how much it is", async () => {
  server.misbehaviour.breakOff = { path: weights, afterBytes: 500_000, times: 1 };
  const { status, stdout, stderr } = await generate("a.gif");
  assert.is(status, 0, stderr);
  assert.match(stdout, /a\.gif: 64×48/);
  assert.match(stderr, /^someone\/tiny: [\d.]+ MiB in all, [\d.]+ MiB to download to .*home\/hub$/m);
  assert.match(stderr, /^download: .* MiB of .* MiB/m);
  assert.ok(
    server.seen.some(({ range }) => /^bytes=[1-9]/.test(range ?? "")),
    "it went on within a file",
  );
  assert.not(server.seen.some(({ path }) => path.includes("README")));
});

test("the second time nothing is downloaded, offline neither", async () => {
  server.seen.length = 0;
  const again = await generate("b.gif", "--json");
  assert.is(again.status, 0, again.stdout);
  assert.ok(server.seen.every(({ path }) => path.startsWith("/api/")));
  const download = records(again.stdout).filter(({ stage }) => stage === "download");
  assert.ok(download.every(({ done, total }) => done === total));

  const offline = { ...env, HF_HUB_OFFLINE: "1", HF_ENDPOINT: "http://127.0.0.1:9" };
  const args = ["generate", "a kite", "-m", repo, "-o", join(folder, "c.gif"), ...size];
  const { status, stderr } = await hunyuan(args, { env: offline });
  assert.is(status, 0, stderr);
  for (const name of ["b.gif", "c.gif"]) {
    assert.ok(readFileSync(join(folder, name)).equals(readFileSync(join(folder, "a.gif"))), name);
  }
});

test("HunyuanVideo.load takes the same name", async () => {
  const model = await HunyuanVideo.load(`${repo}@main`, { dtype: "f32" });
  assert.is(model.config.numDoubleBlocks, 2);
  await model.dispose();
});

test("a name that is not there says what to do", async () => {
  server.misbehaviour.refusal = { status: 401, code: "RepoNotFound" };
  const { status, stderr } = await generate("d.gif");
  assert.is(status, 1);
  assert.match(stderr, /error \(DOWNLOAD_FAILED\): someone\/tiny: .*401.*HF_TOKEN/);
});

test.run();
