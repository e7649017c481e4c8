/** Commands without --model: they work with the demo model of the package and say so, or say that it is not there. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hunyuanHere, records } from "../support/cli.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "hunyuan-cli-demo-"));
const at = (name: string) => join(folder, name);
const model = at("demo");
writeTinyModel(model);
const defaults = { width: 64, height: 48, numFrames: 9, fps: 12, numInferenceSteps: 2 };
writeFileSync(join(model, "hunyuan.json"), JSON.stringify({ defaults }));

const test = suite("cli: the demo model");
const own = process.env.HUNYUAN_DEMO_MODEL;
test.before.each(() => {
  process.env.HUNYUAN_DEMO_MODEL = model;
});
test.after(() => {
  if (own === undefined) delete process.env.HUNYUAN_DEMO_MODEL;
  else process.env.HUNYUAN_DEMO_MODEL = own;
  rmSync(folder, { recursive: true });
});

const prompt = "a red circle moves left on a black background";
const told = /^the demo model of the package, for small clips .*; another: --model FOLDER/m;

test("generate takes its sizes from it, and decode finishes its latents", async () => {
  const args = ["generate", prompt, "-o", at("a.gif"), "--latents", at("a.safetensors"), "--seed", "1"];
  const { status, stdout, stderr } = await hunyuanHere(args);
  assert.is(status, 0, stderr);
  assert.match(stderr, told);
  assert.match(stderr, /^sample: 2\/2/m);
  assert.match(stdout, /a\.gif: 64×48, 9 frames at 12 fps, seed 1/);
  const again = await hunyuanHere(["decode", at("a.safetensors"), "-o", at("again.gif"), "--json"]);
  assert.is(again.status, 0, again.stdout);
  assert.match(String(records(again.stdout)[0]?.message), told);
});

test("encode marks its latents with the model, and decode takes nobody else's for its own", async () => {
  const encoded = await hunyuanHere(["encode", at("a.gif"), "-o", at("b.safetensors")]);
  assert.is(encoded.status, 0, encoded.stderr);
  assert.match(encoded.stderr, told);
  assert.is((await hunyuanHere(["decode", at("b.safetensors"), "-o", at("b.gif")])).status, 0);
  process.env.HUNYUAN_DEMO_MODEL = at("elsewhere");
  const other = await hunyuanHere(["decode", at("b.safetensors"), "-o", at("c.gif")]);
  assert.is(other.status, 2);
  assert.match(other.stderr, /b\.safetensors is of the model demo: name it with --model/);
  assert.not(existsSync(at("c.gif")));
});

test("inspect shows it; estimate stays with the released model and says so", async () => {
  const inspected = await hunyuanHere(["inspect"]);
  assert.is(inspected.status, 0, inspected.stdout);
  assert.match(inspected.stdout, /demo: diffusers layout/);
  assert.match(inspected.stdout, /^defaults: 64×48, 9 frames at 12 fps, 2 steps, shift 7, guidance 6$/m);
  const estimated = await hunyuanHere(["estimate"]);
  assert.match(estimated.stdout, /\nfor the released model t2v; another: --variant NAME, --model FOLDER\n$/);
  const own = await hunyuanHere(["estimate", "-m", model, "--json"]);
  const asked = await hunyuanHere([
    "estimate",
    "-m",
    model,
    "--json",
    "--width",
    "64",
    "--height",
    "48",
    "--steps",
    "2",
  ]);
  assert.is(own.stdout, asked.stdout);
});

test("where it is missing they say what to do, before anything is written", async () => {
  process.env.HUNYUAN_DEMO_MODEL = at("missing");
  for (const args of [
    ["generate", prompt, "-o", at("never.gif")],
    ["encode", at("a.gif"), "-o", at("never.safetensors")],
    ["eval", "-o", at("never")],
    ["inspect"],
  ]) {
    const { status, stdout, stderr } = await hunyuanHere(args);
    assert.is(status, 1, args.join(" "));
    assert.is(stdout, "");
    assert.match(
      stderr,
      /^error \(FILE_ERROR\): no model is named, and the demo model is not at .*missing.* Or name a model: --model FOLDER/,
    );
  }
  const json = await hunyuanHere(["generate", prompt, "-o", at("never.gif"), "--json"]);
  assert.equal(
    records(json.stdout).map(({ code }) => code),
    ["FILE_ERROR"],
  );
  for (const name of ["never.gif", "never.safetensors"]) assert.not(existsSync(at(name)));
  assert.match((await hunyuanHere(["doctor"])).stdout, /^demo model +not in this copy of the package: give --model$/m);
});

test.run();
