/** The command line as somebody meets it who has read nothing: help, mistakes, exit codes, --config. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { failureOf } from "../../lib/cli/errors.js";
import { showBytes, showDuration, showFlops, table } from "../../lib/cli/format.js";
import { bytesOf, loraOf } from "../../lib/cli/values.js";
import type { BackendDescription } from "../../lib/runtime/binding.js";
import { HunyuanError } from "../../lib/tensor.js";
import { hunyuan, hunyuanHere, records } from "../support/cli.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-cli-"));
const test = suite("cli: usage");
test.after(() => rmSync(folder, { recursive: true }));

const config = (name: string, text: string) => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

test("help names every command and shows examples", async () => {
  const { status, stdout } = await hunyuan(["--help"]);
  assert.is(status, 0);
  for (const name of ["generate", "decode", "encode", "estimate", "inspect", "convert", "doctor", "build"]) {
    assert.match(stdout, new RegExp(`^  ${name} `, "m"));
  }
  assert.match(stdout, /Examples:\n {2}hunyuan doctor/);
  assert.match(stdout, /0 done, 1 failed, 2 .*, 130 interrupted/);
  const generate = await hunyuan(["generate", "--help"]);
  assert.is(generate.status, 0);
  const flags =
    "model output width height frames steps guidance shift seed negative image video strength lora device dtype";
  for (const flag of `${flags} offload memory-limit json config`.split(" ")) {
    assert.match(generate.stdout, new RegExp(`--${flag}\\b`), flag);
  }
});

const mistakes: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [[], /Usage: hunyuan/],
  [["paint"], /unknown command 'paint'/],
  [["generate"], /no prompt is given/],
  [["generate", "a cat"], /where to write the video is not given/],
  [["generate", "a cat", "-m", folder], /where to write the video is not given: -o out\.mp4/],
  [["generate", "a cat", "-m", folder, "-o", "/nowhere/a.gif"], /there is no folder \/nowhere/],
  [
    ["generate", "a cat", "-m", folder, "-o", `${folder}/a.gif`, "--width", "100"],
    /width is 100, expected a multiple of 16.*--width/,
  ],
  [["generate", "a cat", "-m", folder, "-o", `${folder}/a.gif`, "--frames", "30"], /numFrames is 30.*\(--frames\)/],
  [["generate", "a cat", "-m", folder, "-o", `${folder}/a.gif`, "--image", "no.png"], /there is no file no\.png/],
  [["generate", "a cat", "--width", "wide"], /--width <pixels>.*Expected a number/],
  [["generate", "a cat", "--dtype", "f8"], /--dtype <type>.*Allowed choices are f32, bf16, f16/],
  [["generate", "a cat", "--memory-limit", "lots"], /such as "12GiB"/],
  [["generate", "a cat", "--unknown"], /unknown option '--unknown'/],
  [["decode"], /missing required argument 'latents'/],
  [["decode", "x.safetensors"], /there is no file x\.safetensors/],
  [["encode", "x.mp4", "-m", folder], /where to write the latents/],
  [["convert", "x.pt"], /where to write is not given/],
  [["estimate", "-m", "owner/name"], /no such folder.*--variant/],
];

for (const [args, message] of mistakes) {
  test(`hunyuan ${args.join(" ")}`.replaceAll(folder, "DIR"), async () => {
    const { status, stdout, stderr } = await hunyuanHere(args);
    assert.is(status, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, message);
    assert.not.match(stderr, /\n\s+at /, "no stack of calls");
  });
}

test("what fails says how, and ends with 1", async () => {
  const { status, stderr } = await hunyuan(["inspect", join(folder, "nothing.safetensors")]);
  assert.is(status, 1);
  assert.match(stderr, /^error \(FILE_ERROR\): .*nothing\.safetensors/);
});

test("--json tells mistakes too", async () => {
  const { status, stdout } = await hunyuan(["generate", "--json", "--frames", "x"]);
  assert.is(status, 2);
  const [record] = records(stdout);
  assert.is(record?.event, "error");
  assert.is(record?.code, "USAGE");
  assert.match(record?.message ?? "", /^option '--frames/);
  const missing = await hunyuanHere(["inspect", "/nowhere", "--json"]);
  assert.is(missing.status, 1);
  assert.equal(records(missing.stdout)[0]?.code, "FILE_ERROR");
});

test("--config gives options, and the command line goes before it", async () => {
  const file = config("small.json", JSON.stringify({ width: 320, height: 320, frames: 5, memoryLimit: "64GiB" }));
  const peaks: unknown[] = [];
  for (const args of [[], ["--width", "640"]]) {
    const { status, stdout } = await hunyuanHere(["estimate", "--config", file, "--json", ...args]);
    assert.is(status, 0);
    peaks.push(records(stdout)[0]?.flops);
  }
  const plain = await hunyuanHere(["estimate", "--width", "640", "--height", "320", "--frames", "5", "--json"]);
  assert.is(peaks[1], records(plain.stdout)[0]?.flops);
  assert.ok(Number(peaks[0]) < Number(peaks[1]));
});

for (const [name, text, message] of [
  ["unknown.json", '{"widht":320}', /unknown\.json: there is no option widht; known are .*width/],
  ["type.json", '{"width":"wide"}', /type\.json: width: .*expected number/],
  ["broken.json", "{", /broken\.json is no JSON/],
  ["list.json", "[1]", /list\.json: .*expected object/],
] as const) {
  test(`--config ${name}`, async () => {
    const { status, stderr } = await hunyuanHere(["estimate", "--config", config(name, text)]);
    assert.is(status, 2);
    assert.match(stderr, message);
  });
}

test("estimate prints a table, and the same for machines", async () => {
  const { status, stdout } = await hunyuanHere(["estimate", "--width", "960", "--height", "544"]);
  assert.is(status, 0);
  assert.match(stdout, /^stage +memory +of it weights +work\nencode .*\nsample .*\ndecode .*\nin all /);
  const json = await hunyuanHere(["estimate", "--width", "960", "--height", "544", "--json"]);
  const [record] = records(json.stdout);
  assert.is(record?.event, "result");
  assert.is(Array.isArray(record?.stages) && record.stages.length, 3);
});

test("doctor says what this machine can do", async () => {
  const { status, stdout } = await hunyuan(["doctor"], { env: { HUNYUAN_VIDEO_BACKEND: "none", HF_HOME: folder } });
  assert.is(status, 0);
  assert.match(stdout, /^cpu +1 device: .*(portable|avx2|avx512).*\d+ threads?, uses at most .*GiB/m);
  assert.match(stdout, /^video +gif, webp and png; for mp4 and webm: npm install node-av, or install ffmpeg/m);
  assert.match(stdout, new RegExp(`^models +${folder}/hub, .* free$`, "m"));
  assert.match(stdout, /^cpu .* of [\d.]+ [GT]iB \(80 % of what the machine or its container has; --memory-limit\)$/m);
  assert.not.match(stdout, /^(simt|null)/m, "what only tests use");
  const json = await hunyuanHere(["doctor", "--json"]);
  const record = records(json.stdout)[0];
  assert.is(record?.healthy, true);
  assert.ok(record !== undefined);
  const [cpu] = record.backends as { name: string; opened: { memoryBytes: number; limitBytes: number }[] }[];
  assert.is(cpu?.name, "cpu");
  assert.ok((cpu?.opened[0]?.limitBytes ?? 0) < (cpu?.opened[0]?.memoryBytes ?? 0));
});

test("doctor says what the GPU is, or why there is none", async () => {
  const { stdout } = await hunyuanHere(["doctor", "--json"]);
  const [record] = records(stdout);
  assert.ok(record !== undefined);
  const cuda = (record.backends as BackendDescription[]).find(({ name }) => name === "cuda");
  assert.ok(cuda !== undefined);
  if (cuda.devices > 0) {
    assert.match(String(record?.["cuda driver"]), /CUDA \d+\.\d+; this build needs \d{3} or newer/);
    assert.match(
      String(record?.cuda ?? record?.["cuda:0"]),
      /compute capability \d\.\d.* were free when it was opened/,
    );
  } else if (cuda.reason.startsWith("this build has no cuda backend")) {
    assert.is(record?.cuda, `not available: ${cuda.reason}`);
  } else {
    assert.match(String(record?.cuda), /^not available: .*(driver|GPU)/);
    assert.match(cuda.reason, /this build needs \d{3} or newer|shows no GPU|cannot start CUDA|compute capability/);
  }
});

test("numbers for people", () => {
  assert.is(showBytes(0), "0 B");
  assert.is(showBytes(1536), "1.50 KiB");
  assert.is(showBytes(25_642_025_088), "23.9 GiB");
  assert.is(showDuration(59_400), "59 s");
  assert.is(showDuration(754_000), "12 min 34 s");
  assert.is(showDuration(8_100_000), "2 h 15 min");
  assert.is(showFlops(6.03e17), "603 PFLOP");
  assert.equal(
    table([
      ["a", "1"],
      ["bb", "22"],
    ]),
    ["a    1", "bb  22"],
  );
});

test("words of the command line", () => {
  assert.is(bytesOf("12GiB"), 12 * 2 ** 30);
  assert.is(bytesOf("1.5 gb"), 1.5 * 2 ** 30);
  assert.is(bytesOf("900"), 900);
  for (const bad of ["", "GiB", "-1", "12 apples"]) assert.throws(() => bytesOf(bad));
  assert.equal(loraOf("a.safetensors"), { path: "a.safetensors", strength: 1 });
  assert.equal(loraOf("a:b.safetensors:-0.5"), { path: "a:b.safetensors", strength: -0.5 });
});

test("exit codes of errors", () => {
  const aborted = new HunyuanError("ABORTED", "generate: aborted by its signal", { op: "generate" });
  assert.is(failureOf(aborted, true).exitCode, 130);
  assert.is(failureOf(aborted, false).exitCode, 1);
  const invalid = new HunyuanError("INVALID_ARGUMENT", "generate: flowShift is 0", {
    op: "generate",
    argument: "flowShift",
  });
  assert.is(failureOf(invalid, false).exitCode, 2);
  assert.match(failureOf(invalid, false).lines[0] ?? "", /\(--shift\)$/);
  assert.match(failureOf(new TypeError("oops"), false).lines[0] ?? "", /usage\.test/, "a bug shows its place");
});

test.run();
