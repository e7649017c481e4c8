/** Evaluation as a whole: scores, yardsticks, chance, the page. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isHunyuanError } from "../../lib/tensor.js";
import { parseCaption } from "../../lib/train/demo/captions.js";
import { demoClipOf } from "../../lib/train/demo/clips.js";
import { renderScene } from "../../lib/train/demo/render.js";
import type { DemoSubject } from "../../lib/train/demo/vocabulary.js";
import type { RgbClip } from "../../lib/train/eval/clip.js";
import { type ClipResult, evaluate, psnrOfClips } from "../../lib/train/eval/evaluate.js";
import { evalPage } from "../../lib/train/eval/page.js";
import { demoPrompts, evalPrompt } from "../../lib/train/eval/prompts.js";
import { chanceOf, expectationOf, judge, rateOf, shuffledScores } from "../../lib/train/eval/score.js";
import { contactSheet, stripAddress, stripOf } from "../../lib/train/eval/sheet.js";

const test = suite("eval: evaluate");

/** A perfect model: renders what it is told. */
function rendered(prompt: string, index: number): RgbClip {
  const { scene } = demoClipOf(parseCaption(prompt) as DemoSubject, index, prompt);
  return { data: renderScene(scene), width: 64, height: 64, numFrames: 17 };
}

test("prompts: half of them held out, each says all three", () => {
  const prompts = demoPrompts({ count: 64, seed: 1 });
  assert.is(prompts.length, 64);
  assert.is(prompts.filter(({ heldOut }) => heldOut).length, 32);
  for (const { expected } of prompts) assert.ok(expected.colour && expected.shape && expected.motion);
  assert.equal(demoPrompts({ count: 64, seed: 1 }), prompts);
  assert.not.equal(demoPrompts({ count: 64, seed: 2 }), prompts);
  const brown = demoPrompts({ count: 20, seed: 1, colour: "brown" });
  assert.is(brown.length, 20);
  assert.ok(brown.every(({ prompt, expected }) => expected.colour === "brown" && / a brown /.test(` ${prompt}`)));
  assert.equal(evalPrompt("a blue thing").expected, { colour: "blue", shape: undefined, motion: undefined });
  assert.is(evalPrompt("a blue thing").heldOut, undefined);
});

test("what a caption does not say is not scored", () => {
  const measured = { colour: "blue", shape: undefined, motion: "left" } as const;
  assert.equal(judge(measured, expectationOf("a blue thing")), { colour: true });
  assert.equal(judge(measured, expectationOf("a red circle moves left on a black background")), {
    colour: false,
    shape: false,
    motion: true,
  });
});

test("rates with their intervals", () => {
  const { rate, low, high } = rateOf(58, 64);
  assert.ok(rate === 58 / 64 && low > 0.8 && low < 0.82 && high > 0.95 && high < 0.96, `${low} ${high}`);
  assert.equal(rateOf(0, 0), { right: 0, total: 0, rate: 0, low: 0, high: 1 });
});

test("a perfect model scores 100 %, shuffled captions chance", async () => {
  const stages = new Set<string>();
  const seen: ClipResult[] = [];
  const { generated, yardsticks } = await evaluate({
    prompts: demoPrompts({ count: 24, seed: 3 }),
    generate: async (prompt, index) => rendered(prompt, index),
    // Half of the colours' depth: a coarse autoencoder.
    reconstruct: async (clip) => ({ ...clip, data: clip.data.map((value) => (value & ~15) + 8) }),
    yardsticks: 32,
    seed: 5,
    onProgress: ({ stage }) => stages.add(stage),
    onClip: (_, result) => void seen.push(result),
  });
  assert.ok(generated);
  for (const part of [generated.scores, generated.seen, generated.heldOut, yardsticks.rendered]) {
    for (const one of Object.values(part)) assert.is(one.rate, 1);
  }
  assert.is(generated.seen.all.total + generated.heldOut.all.total, 24);
  assert.equal(seen, generated.clips);
  for (const criterion of ["colour", "shape", "motion"] as const) {
    const { rate } = yardsticks.renderedShuffled[criterion];
    const chance = yardsticks.renderedChance[criterion];
    assert.ok(chance < 0.3 && Math.abs(rate - chance) < 0.05, `${criterion}: ${rate}, by chance ${chance}`);
  }
  const psnr = yardsticks.reconstructed?.psnr;
  assert.ok(psnr && psnr.mean > 29 && psnr.mean < 36 && psnr.worst <= psnr.median, JSON.stringify(psnr));
  assert.ok((yardsticks.reconstructed?.colour.rate ?? 0) >= 0.99);
  assert.equal([...stages].sort(), ["generate", "reconstructed"]);
});

test("a model that shows something else scores what chance gives", () => {
  const expected = demoPrompts({ count: 64, seed: 4 }).map((one) => one.expected);
  const always = expected.map(() => ({ colour: "red", shape: "circle", motion: "left" }) as const);
  const { colour } = shuffledScores(always, expected, { seed: 1 });
  assert.ok(Math.abs(colour.rate - 1 / 8) < 0.05, String(colour.rate));
  assert.ok(chanceOf(expected).shape < 0.3);
});

test("PSNR of bytes", () => {
  const clip = { data: new Uint8Array(12).fill(100), width: 2, height: 2, numFrames: 1 };
  assert.is(psnrOfClips(clip, clip), 100);
  const off = psnrOfClips({ ...clip, data: clip.data.map((v) => v + 10) }, clip);
  assert.ok(Math.abs(off - 20 * Math.log10(25.5)) < 1e-9);
  assert.throws(() => psnrOfClips({ ...clip, data: new Uint8Array(6), height: 1 }, clip));
});

test("the page stands alone; strips show what is there", async () => {
  const clip = rendered("a red circle moves left on a white background", 1);
  const strip = stripOf(clip, { frames: 3, zoom: 2 });
  assert.equal([strip.width, strip.height], [3 * 128 + 4, 128]);
  assert.equal([...strip.data.subarray(0, 3)], [255, 255, 255]);
  const picture = await stripAddress(clip);
  const { generated, yardsticks } = await evaluate({
    prompts: [evalPrompt("a red circle moves left on a <b>white</b> background")],
    generate: async () => clip,
    yardsticks: 2,
  });
  const clips = (generated?.clips ?? []).map((result) => ({ picture, result }));
  const page = evalPage({ generated, yardsticks }, clips, { title: "a & b", notes: { steps: "20" } });
  assert.match(page, "<h1>a &amp; b</h1>");
  assert.match(page, "&lt;b&gt;white");
  assert.match(page, picture);
  assert.not.match(page, /<script|https?:\/\//);
  const sheet = await contactSheet([clip, clip, clip], { columns: 2 });
  assert.equal([...sheet.subarray(1, 4)].map((c) => String.fromCharCode(c)).join(""), "PNG");
});

test("prompts that say nothing are refused, and abort ends it", async () => {
  const refused = (code: Parameters<typeof isHunyuanError>[1]) => (error: unknown) => isHunyuanError(error, code);
  const throws = async (work: Promise<unknown>, code: Parameters<typeof isHunyuanError>[1]) => {
    const error = await work.then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.ok(refused(code)(error), String(error));
  };
  await throws(evaluate({ prompts: [evalPrompt("something")], yardsticks: 1 }), "INVALID_ARGUMENT");
  const stop = new AbortController();
  const generate = async (prompt: string, index: number) => {
    stop.abort();
    return rendered(prompt, index);
  };
  const prompts = demoPrompts({ count: 4 });
  await throws(evaluate({ prompts, generate, yardsticks: 1, signal: stop.signal }), "ABORTED");
});

test.run();
