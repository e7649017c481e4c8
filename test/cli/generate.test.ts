/** A tiny model, from words to files: what is written, the same seed, Ctrl-C, and a process that dies while it decodes. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { version } from "../../lib/index.js";
import { findVideoBackend, readMetadata, readVideo } from "../../lib/io/media/index.js";
import { hunyuan, records } from "../support/cli.js";
import { readSafetensors } from "../support/safetensors.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-cli-"));
const model = join(folder, "model");
writeTinyModel(model);
const at = (name: string) => join(folder, name);

const test = suite("cli: generate");
test.after(() => rmSync(folder, { recursive: true }));

const prompt = "a red circle moves left";
const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "3"];
const generate = (...more: readonly string[]) => [
  "generate",
  prompt,
  "--model",
  model,
  "--seed",
  "5",
  ...size,
  ...more,
];

/** Every box of an mp4 by its path, from the bytes: a second opinion on what was written. */
function boxes(bytes: Buffer, from = 0, to = bytes.length, path = ""): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let i = from; i + 8 <= to; ) {
    const length = bytes.readUInt32BE(i) || to - i;
    const name = `${path}/${bytes.toString("latin1", i + 4, i + 8)}`;
    if (!found.has(name)) found.set(name, bytes.subarray(i + 8, i + length));
    if (/\/(moov|trak|mdia|minf|stbl)$/.test(name)) {
      for (const [inner, box] of boxes(bytes, i + 8, i + length, name)) if (!found.has(inner)) found.set(inner, box);
    }
    i += length;
  }
  return found;
}

test("an mp4 that others read: size, frames, rate, metadata", async () => {
  if (!("backend" in (await findVideoBackend()))) return console.log("no node-av and no ffmpeg: not run");
  const path = at("a.mp4");
  const { status, stdout, stderr } = await hunyuan(generate("-o", path, "--fps", "16", "--guidance", "4"));
  assert.is(status, 0, stderr);
  assert.match(stdout, /a\.mp4: 64×48, 9 frames at 16 fps, seed 5, .*KiB\ndone in /);
  assert.match(stderr, /^sample: 3\/3/m);

  const found = boxes(readFileSync(path));
  const header = found.get("/moov/trak/tkhd") as Buffer;
  assert.equal([header.readUInt32BE(header.length - 8), header.readUInt32BE(header.length - 4)], [64 << 16, 48 << 16]);
  assert.is(found.get("/moov/trak/mdia/minf/stbl/stsz")?.readUInt32BE(8), 9);
  const media = found.get("/moov/trak/mdia/mdhd") as Buffer;
  assert.is(media.readUInt32BE(12) / media.readUInt32BE(16), 16 / 9, "ticks a second over ticks in all");

  const metadata = await readMetadata(path);
  assert.is(metadata?.generated, true);
  assert.is(metadata?.prompt, prompt);
  assert.is(Number(metadata?.seed), 5);
  assert.is(metadata?.software, `hunyuan-native ${version}`);
  assert.is(metadata?.settings?.guidanceScale, 4);
  const { numFrames, width, height } = await readVideo(path, { fps: 16 });
  assert.equal({ numFrames, width, height }, { numFrames: 9, width: 64, height: 48 });
  const inspected = await hunyuan(["inspect", path]);
  assert.match(inspected.stdout, /generated +yes[\s\S]*prompt +a red circle moves left/);
});

test("the same seed gives the same latents, on one thread too; another does not", async () => {
  const bytes: Buffer[] = [];
  for (const [name, threads, seed] of [
    ["one", "1", "5"],
    ["two", "2", "5"],
    ["other", "2", "6"],
  ] as const) {
    const args = generate("-o", at(`${name}.gif`), "--latents", at(`${name}.safetensors`), "--seed", seed, "-q");
    const { status, stderr } = await hunyuan(args, { env: { HUNYUAN_NUM_THREADS: threads } });
    assert.is(status, 0, stderr);
    assert.is(stderr, "");
    bytes.push(readFileSync(at(`${name}.safetensors`)));
  }
  assert.ok(bytes[0]?.equals(bytes[1] as Buffer));
  assert.not(bytes[0]?.equals(bytes[2] as Buffer));
  assert.ok(readFileSync(at("one.gif")).equals(readFileSync(at("two.gif"))));
  assert.equal(readSafetensors(at("one.safetensors")).get("latents")?.shape, [1, 16, 3, 6, 8]);
});

test("decode makes the same video of the latents, encode makes latents of a picture", async () => {
  const again = await hunyuan(["decode", at("one.safetensors"), "-m", model, "-o", at("again.gif"), "--json"]);
  assert.is(again.status, 0, again.stdout);
  assert.ok(readFileSync(at("again.gif")).equals(readFileSync(at("one.gif"))));
  const args = ["encode", at("one.gif"), "-m", model, "-o", at("encoded.safetensors"), "--frames", "5", "--json"];
  const encoded = await hunyuan(args);
  assert.is(encoded.status, 0, encoded.stdout);
  assert.equal(records(encoded.stdout).at(-1)?.shape, [1, 16, 2, 6, 8]);
  assert.equal(readSafetensors(at("encoded.safetensors")).get("latents")?.shape, [1, 16, 2, 6, 8]);
});

test("--json: each stage, then the files", async () => {
  const { status, stdout, stderr } = await hunyuan(generate("-o", at("b.webp"), "--videos", "2", "--json"));
  assert.is(status, 0, stdout);
  assert.is(stderr, "");
  const told = records(stdout);
  const stages = [...new Set(told.filter(({ event }) => event === "progress").map(({ stage }) => stage))];
  for (const stage of ["load", "encode", "sample", "decode", "write"]) assert.ok(stages.includes(stage), stage);
  const step = told.find(({ stage, done, video }) => stage === "sample" && done === 3 && video === 1);
  assert.is(step?.sigma, 0);
  const files = told.at(-1)?.files as { path: string; seed: number }[];
  assert.is(told.at(-1)?.event, "result");
  assert.equal(
    files.map(({ path, seed }) => [path, seed]),
    [
      [at("b.webp"), 5],
      [at("b-1.webp"), 6],
    ],
  );
  for (const { path } of files) assert.ok(existsSync(path));
});

test("without node-av and ffmpeg gif works, and mp4 says what to install before anything is computed", async () => {
  const env = { HUNYUAN_VIDEO_BACKEND: "none" };
  const mp4 = await hunyuan(generate("-o", at("none.mp4")), { env });
  assert.is(mp4.status, 1);
  assert.match(mp4.stderr, /^error \(ENCODER_MISSING\): .*(npm install node-av|ffmpeg)/);
  assert.is((await hunyuan(generate("-o", at("none.gif"), "-q"), { env })).status, 0);
});

test("one frame is a picture", async () => {
  const { status, stderr } = await hunyuan([...generate("-o", at("c.png")), "--frames", "1"]);
  assert.is(status, 0, stderr);
  const image = await readVideo(at("one.gif"), {});
  assert.is(image.width, 64);
  assert.ok(readFileSync(at("c.png")).subarray(1, 4).equals(Buffer.from("PNG")));
});

test("Ctrl-C ends it cleanly with 130", async () => {
  const { status, stdout } = await hunyuan([...generate("-o", at("never.gif"), "--json"), "--steps", "5000"], {
    onLine(line, child) {
      if (/"stage":"sample","done":2,/.test(line)) child.kill("SIGINT");
    },
  });
  assert.is(status, 130);
  const last = records(stdout).at(-1);
  assert.is(last?.event, "error");
  assert.is(last?.code, "ABORTED");
  assert.not(existsSync(at("never.gif")));
});

test("a process killed while it decodes leaves latents that decode finishes", async () => {
  const tmp = at("tmp");
  mkdirSync(tmp);
  const tiles = ["--width", "320", "--height", "320", "--tiling", "hunyuan"];
  const whole = await hunyuan([...generate("-o", at("whole.gif")), ...tiles]);
  assert.is(whole.status, 0, whole.stderr);
  const killed = await hunyuan([...generate("-o", at("killed.gif"), "--json"), ...tiles], {
    env: { TMPDIR: tmp },
    onLine(line, child) {
      if (/"stage":"decode"/.test(line)) child.kill("SIGKILL");
    },
  });
  assert.is(killed.status, null);
  assert.not(existsSync(at("killed.gif")));
  const left = readdirSync(tmp, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".safetensors"));
  assert.is(left.length, 1);
  const latents = join(tmp, left[0] as string);
  const args = ["decode", latents, "-m", model, "-o", at("finished.gif"), "--tiling", "hunyuan"];
  assert.is((await hunyuan(args)).status, 0);
  assert.ok(readFileSync(at("finished.gif")).equals(readFileSync(at("whole.gif"))));
});

test.run();
