/** Downloading a model from a hub that breaks off, lies and refuses; the cache is the one of huggingface_hub. */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { neededFiles } from "../../lib/io/hub/selection.js";
import { type DownloadProgress, downloadModel, hubCacheFolder, parseHubId } from "../../lib/io/hub.js";
import type { HunyuanError } from "../../lib/tensor.js";
import { commit, type HubFile, HubServer } from "../support/hub-server.js";
import { refusal, rejection } from "../support/refusal.js";

const repo = "someone/HunyuanVideo-small";
const weights = "transformer/diffusion_pytorch_model.safetensors";
const files = new Map<string, HubFile>([
  ["README.md", { content: Buffer.from("# a model"), lfs: false }],
  ["assets/cat.png", { content: randomBytes(5000), lfs: true }],
  ["model_index.json", { content: Buffer.from("{}"), lfs: false }],
  [weights, { content: randomBytes(1_500_000), lfs: true }],
  ["transformer/config.json", { content: Buffer.from('{"a":1}'), lfs: false }],
  ["vae/diffusion pytorch+model.safetensors", { content: randomBytes(300_000), lfs: true }],
  ["tokenizer/merges.txt", { content: Buffer.alloc(0), lfs: false }],
]);
const wanted = [...files.keys()].filter((path) => !/README|assets/.test(path));

const retry = { tries: 3, firstDelayMs: 1 };
const test = suite<{ server: HubServer; home: string }>("hub");

test.before.each(async (context) => {
  context.server = new HubServer(repo, files);
  await context.server.start();
  context.home = mkdtempSync(join(tmpdir(), "hunyuan-hub-"));
  for (const name of Object.keys(process.env))
    if (/^(HF_|HUGGING|TRANSFORMERS_OFFLINE)/.test(name)) delete process.env[name];
  process.env.HF_HOME = context.home;
  process.env.HF_ENDPOINT = `${context.server.endpoint}/`;
});

test.after.each(async ({ server, home }) => {
  await server.stop();
  rmSync(home, { recursive: true, force: true });
});

const blobsOf = (home: string) => join(home, "hub", "models--someone--HunyuanVideo-small", "blobs");
const blobOf = (home: string, path: string) =>
  join(
    blobsOf(home),
    createHash("sha256")
      .update(files.get(path)?.content ?? "")
      .digest("hex"),
  );

function checkSnapshot(folder: string, home: string): void {
  assert.is(folder, join(home, "hub", "models--someone--HunyuanVideo-small", "snapshots", commit));
  for (const path of wanted) {
    assert.ok(readFileSync(join(folder, path)).equals(files.get(path)?.content ?? Buffer.from("?")), path);
  }
  assert.not(existsSync(join(folder, "README.md")));
  assert.not(existsSync(join(folder, "assets")));
  const left = readdirSync(blobsOf(home)).filter((name) => /incomplete|lock/.test(name));
  assert.equal(left, []);
}

test("goes on after a break, then works from the cache without a network", async ({ server, home }) => {
  server.misbehaviour.breakOff = { path: weights, afterBytes: 400_000, times: 1 };
  const told: DownloadProgress[] = [];
  const folder = await downloadModel(repo, { retry, onProgress: (progress) => told.push(progress) });
  checkSnapshot(folder, home);
  const asked = server.seen.filter(({ host, path }) => host === "cdn" && decodeURIComponent(path).includes(weights));
  assert.is(asked.length, 2);
  const from = Number(/^bytes=(\d+)-$/.exec(asked[1]?.range ?? "")?.[1]);
  assert.ok(from > 0 && from <= 400_000, `the second try asks for ${asked[1]?.range}`);

  // As Python's hub lays it out: a link from the snapshot to a blob named by its sum, and the revision in refs.
  const link = readlinkSync(join(folder, weights));
  assert.is(join(folder, "transformer", link), blobOf(home, weights));
  assert.is(readFileSync(join(folder, "../../refs/main"), "utf8"), commit);

  const total = wanted.reduce((sum, path) => sum + (files.get(path)?.content.length ?? 0), 0);
  assert.equal(told[0], { repo, commit, totalBytes: total, doneBytes: 0, totalFiles: wanted.length, doneFiles: 0 });
  assert.is(told.at(-1)?.doneBytes, total);
  assert.is(told.at(-1)?.doneFiles, wanted.length);
  assert.ok(told.some(({ file }) => file?.path === weights));

  await server.stop();
  assert.is(await downloadModel(repo, { retry }), folder, "the hub cannot be reached");
  process.env.HF_HUB_OFFLINE = "1";
  assert.is(await downloadModel(repo), folder, "offline by choice");
  assert.is(await downloadModel(`${repo}@${commit}`), folder, "by commit");
  const error = await rejection(downloadModel(`${repo}@v1.0`));
  assert.is(error.code, "DOWNLOAD_FAILED");
  assert.match(error.message, /HF_HUB_OFFLINE is set.*v1\.0.*not in the cache/);
  await server.start();
});

test("a second download asks only what there is", async ({ server, home }) => {
  await downloadModel(repo, { retry });
  server.seen.length = 0;
  checkSnapshot(await downloadModel(repo, { retry, revision: "v1.0" }), home);
  assert.ok(server.seen.every(({ path }) => path.startsWith("/api/")));
});

test("goes on in another process with what a killed one, or Python's hub, has left", async ({ server, home }) => {
  const content = files.get(weights)?.content ?? Buffer.alloc(0);
  await rejection(downloadModel(repo, { retry: { tries: 1 }, signal: AbortSignal.abort() }));
  const { mkdir } = await import("node:fs/promises");
  await mkdir(blobsOf(home), { recursive: true });
  writeFileSync(`${blobOf(home, weights)}.incomplete`, content.subarray(0, 1_000_000));
  writeFileSync(`${blobOf(home, weights)}.lock`, `${(await import("node:os")).hostname()} 4194305`);
  const told: DownloadProgress[] = [];
  checkSnapshot(await downloadModel(repo, { retry, onProgress: (one) => told.push(one) }), home);
  assert.is(told[0]?.doneBytes, 1_000_000);
  assert.ok(server.seen.some(({ range }) => range === "bytes=1000000-"));
});

test("a damaged beginning is thrown away and fetched again", async ({ home }) => {
  const { mkdir } = await import("node:fs/promises");
  await mkdir(blobsOf(home), { recursive: true });
  writeFileSync(`${blobOf(home, weights)}.incomplete`, randomBytes(1000));
  checkSnapshot(await downloadModel(repo, { retry }), home);
});

test("a wrong sum is refused and nothing of it is kept", async ({ home }) => {
  const wrong = new Map(files).set(weights, { content: randomBytes(1000), lfs: true, sha256: "ab".repeat(32) });
  const server = new HubServer(repo, wrong);
  await server.start();
  process.env.HF_ENDPOINT = server.endpoint;
  const error = await rejection(downloadModel(repo, { retry }));
  await server.stop();
  assert.is(error.code, "DOWNLOAD_FAILED");
  assert.equal(error.details, { repo, file: weights });
  assert.match(error.message, /sha256 is \w{64}, expected (ab){32}/);
  assert.not(readdirSync(blobsOf(home)).some((name) => name.startsWith("abab")));
});

test("a hub that knows no ranges sends the file again", async ({ server, home }) => {
  server.misbehaviour.breakOff = { path: weights, afterBytes: 400_000, times: 1 };
  server.misbehaviour.noRanges = true;
  checkSnapshot(await downloadModel(repo, { retry }), home);
});

test("what may pass is tried again, what stays is told", async ({ server, home }) => {
  server.misbehaviour.statuses = [503, 429];
  checkSnapshot(await downloadModel(repo, { retry }), home);
  rmSync(home, { recursive: true });
  server.misbehaviour.statuses = [500, 502, 503];
  const failed = await rejection(downloadModel(repo, { retry }));
  assert.equal(failed.details, { repo, status: 503 });
  server.misbehaviour.breakOff = { path: weights, afterBytes: 0, times: 100 };
  const broken = await rejection(downloadModel(repo, { retry }));
  assert.match(broken.message, /the connection broke.*What has arrived is kept/);
  assert.is(100 - server.misbehaviour.breakOff.times, retry.tries);
});

for (const [status, code, words] of [
  [401, "RepoNotFound", /no such model, or it is private or gated.*HF_TOKEN/],
  [401, "GatedRepo", /accept its licence at .*\/someone\/HunyuanVideo-small, then set HF_TOKEN/],
  [403, "GatedRepo", /accept its licence/],
  [404, "RevisionNotFound", /no revision "main"/],
  [404, undefined, /no such model/],
] as const) {
  test(`status ${status} ${code ?? ""} says what to do`, async ({ server }) => {
    server.misbehaviour.refusal = code === undefined ? { status } : { status, code };
    const error = await rejection(downloadModel(repo, { retry }));
    assert.is(error.code, "DOWNLOAD_FAILED");
    assert.is((error as HunyuanError<"DOWNLOAD_FAILED">).details.status, status);
    assert.match(error.message, words);
    assert.is(server.seen.length, 1, "it is not tried again");
  });
}

test("the token goes to the hub and nowhere else", async ({ server, home }) => {
  process.env.HF_TOKEN = "hf_secret";
  await downloadModel(repo, { retry });
  for (const { host, authorization } of server.seen) {
    assert.is(authorization, host === "hub" ? "Bearer hf_secret" : undefined);
  }
  delete process.env.HF_TOKEN;
  writeFileSync(join(home, "token"), "hf_saved\n");
  server.seen.length = 0;
  await downloadModel(repo, { retry });
  assert.is(server.seen[0]?.authorization, "Bearer hf_saved");
});

test("an abort keeps what has arrived, and the next call goes on", async ({ server, home }) => {
  server.misbehaviour.chunkDelayMs = 5;
  const stop = new AbortController();
  const onProgress = ({ doneBytes }: DownloadProgress) => {
    if (doneBytes > 500_000) stop.abort();
  };
  const started = performance.now();
  const error = await rejection(downloadModel(repo, { retry, signal: stop.signal, onProgress }));
  assert.is(error.code, "ABORTED");
  assert.ok(performance.now() - started < 3000);
  server.misbehaviour.chunkDelayMs = 0;
  const told: DownloadProgress[] = [];
  checkSnapshot(await downloadModel(repo, { retry, onProgress: (one) => told.push(one) }), home);
  assert.ok((told[0]?.doneBytes ?? 0) > 300_000, "something was there");
});

test("two downloads of one model at once fetch each file once", async ({ server, home }) => {
  const both = await Promise.all([downloadModel(repo, { retry }), downloadModel(repo, { retry })]);
  for (const folder of both) checkSnapshot(folder, home);
  const asked = server.seen.filter(({ host, path }) => host === "cdn" && decodeURIComponent(path).includes(weights));
  assert.is(asked.length, 1);
});

test("include chooses other files", async ({ home }) => {
  const folder = await downloadModel(repo, { retry, include: (path) => path === "README.md" });
  assert.equal(readdirSync(folder), ["README.md"]);
  assert.is(readdirSync(blobsOf(home)).length, 1);
});

test("names that lead out of the cache are refused", async ({ home }) => {
  for (const path of ["../../../evil.json", "/etc/evil.json", "vae/../../evil.json", "a\\b.json"]) {
    const server = new HubServer(repo, new Map([[path, { content: Buffer.from("x"), lfs: false }]]));
    await server.start();
    process.env.HF_ENDPOINT = server.endpoint;
    const error = await rejection(downloadModel(repo, { retry, include: () => true }));
    await server.stop();
    assert.match(error.message, /cannot be the name of a file/);
    assert.not(existsSync(join(home, "evil.json")));
  }
});

test("something else than a hub is told from one", async () => {
  process.env.HF_ENDPOINT = "http://127.0.0.1:9";
  const error = await rejection(downloadModel(repo, { retry: { tries: 2, firstDelayMs: 1 } }));
  assert.match(error.message, /127\.0\.0\.1:9 could not be reached/);
});

test("ids", () => {
  assert.equal(parseHubId("a/b@v1"), { repo: "a/b", revision: "v1" });
  assert.equal(parseHubId("a/b"), { repo: "a/b", revision: "main" });
  for (const id of ["", "a", "a/b/c", "../b", "a/..", "a/b@", "a b/c"]) {
    assert.is(refusal(() => parseHubId(id)).code, "INVALID_ARGUMENT", id);
  }
});

test("places", () => {
  delete process.env.HF_HOME;
  process.env.HF_HUB_CACHE = "/somewhere";
  assert.is(hubCacheFolder(), "/somewhere");
  delete process.env.HF_HUB_CACHE;
  assert.match(hubCacheFolder(), /huggingface\/hub$/);
});

test("files of the published layouts", () => {
  const diffusers = [
    "LICENSE.txt",
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model.safetensors.index.json",
    "text_encoder_2/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/vocab.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "vae/diffusion_pytorch_model.safetensors",
  ];
  assert.equal(
    neededFiles([...diffusers, ".gitattributes", "demo.mp4"]),
    diffusers.filter((path) => path !== "README.md"),
  );
  const tencent = neededFiles([
    "Notice.txt",
    "README.md",
    "README_zh.md",
    "assets/WECHAT.md",
    "assets/logo.png",
    "config.json",
    "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
    "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8.pt",
    "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8_map.pt",
    "hunyuan-video-t2v-720p/vae/config.json",
    "hunyuan-video-t2v-720p/vae/pytorch_model.pt",
    "requirements.txt",
  ]);
  assert.equal(tencent, [
    "Notice.txt",
    "config.json",
    "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
    "hunyuan-video-t2v-720p/vae/config.json",
    "hunyuan-video-t2v-720p/vae/pytorch_model.pt",
  ]);
  const clip = neededFiles([
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "merges.txt",
    "model.safetensors",
    "pytorch_model.bin",
    "tf_model.h5",
    "tokenizer.json",
    "vocab.json",
    "model.fp16.safetensors",
  ]);
  assert.equal(clip, ["config.json", "merges.txt", "model.safetensors", "tokenizer.json", "vocab.json"]);
});

test.run();
