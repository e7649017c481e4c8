/** Measuring clips: the yardsticks of evaluation itself, and what must not be taken for what it is not. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isHunyuanError } from "../../lib/tensor.js";
import { Draws } from "../../lib/train/data/draws.js";
import { demoClipOf, demoClips } from "../../lib/train/demo/clips.js";
import { renderScene } from "../../lib/train/demo/render.js";
import type { DemoScene } from "../../lib/train/demo/scene.js";
import { colours, extraColours } from "../../lib/train/demo/vocabulary.js";
import type { RgbClip } from "../../lib/train/eval/clip.js";
import { nameColour } from "../../lib/train/eval/colour.js";
import { measureClip } from "../../lib/train/eval/measure.js";
import { criteria, judge, scoresOf } from "../../lib/train/eval/score.js";

const test = suite("eval: measuring");
const size = { width: 64, height: 64, numFrames: 17 };

const clipOf = (scene: DemoScene): RgbClip => ({ ...size, data: renderScene(scene) });

/** Frames drawn by a function of x, y and the frame. */
function drawn(paint: (x: number, y: number, n: number) => readonly [number, number, number]): RgbClip {
  const data = new Uint8Array(64 * 64 * 17 * 3);
  for (let i = 0; i < 64 * 64 * 17; i++) {
    data.set(paint((i % 64) + 0.5, (Math.floor(i / 64) % 64) + 0.5, Math.floor(i / 4096)), 3 * i);
  }
  return { ...size, data };
}

const red = colours.red;
const black = [0, 0, 0] as const;
const inside = (x: number, y: number, radius: number) => Math.hypot(x, y) < radius;

/** As a weak autoencoder leaves it: blurred over 3 × 3, with noise and a shift of the colours. */
function degraded(clip: RgbClip, seed: number): RgbClip {
  const draws = new Draws("degraded", seed);
  const { data } = clip;
  const out = new Uint8Array(data.length);
  for (let n = 0; n < 17; n++) {
    for (let y = 0; y < 64; y++) {
      for (let x = 0; x < 64; x++) {
        for (let c = 0; c < 3; c++) {
          let [sum, count] = [0, 0];
          for (let v = Math.max(0, y - 1); v <= Math.min(63, y + 1); v++) {
            for (let u = Math.max(0, x - 1); u <= Math.min(63, x + 1); u++) {
              sum += data[((n * 64 + v) * 64 + u) * 3 + c] as number;
              count++;
            }
          }
          const value = 8 + 0.92 * (sum / count) + draws.uniform(-14, 14);
          out[((n * 64 + y) * 64 + x) * 3 + c] = Math.min(255, Math.max(0, Math.round(value)));
        }
      }
    }
  }
  return { ...size, data: out };
}

/**
 * Another judge, who knows nothing of covers and overlaps: pixels far from the frame's corner, their bounding box, how much
 * of it they fill, how wide their top and their middle are.
 */
function otherJudge({ data }: RgbClip, frame: number): string {
  const at = (x: number, y: number) => data.subarray(((frame * 64 + y) * 64 + x) * 3).slice(0, 3);
  const rows: number[][] = [];
  for (let y = 1; y < 63; y++) {
    const ground = at(0, y);
    const row: number[] = [];
    for (let x = 0; x < 64; x++) {
      const seen = at(x, y);
      if (Math.hypot(...[0, 1, 2].map((c) => (seen[c] as number) - (ground[c] as number))) > 60) row.push(x);
    }
    if (row.length > 0) rows.push(row);
  }
  const widths = rows.map((row) => (row.at(-1) as number) - (row[0] as number) + 1);
  const widest = Math.max(...widths);
  const fill = rows.reduce((sum, row) => sum + row.length, 0) / (widest * rows.length);
  const [top, bottom] = [widths[1] as number, widths.at(-2) as number];
  if (fill < 0.7) return bottom > 1.7 * top ? "triangle" : "cross";
  return fill > 0.88 ? "square" : "circle";
}

test("rendered clips: at least 99 % of each", () => {
  const scenes = demoClips({ count: 64, seed: 11, which: "all", weights: {} }).map(({ scene }) => scene);
  const scores = scoresOf(scenes.map((scene) => judge(measureClip(clipOf(scene)), scene)));
  for (const criterion of criteria) {
    const { rate, total } = scores[criterion];
    assert.is(total, 64);
    assert.ok(rate >= 0.99, `${criterion}: ${rate}`);
  }
});

test("blurred and noisy ones too, and another judge agrees on their shapes", () => {
  const scenes = demoClips({ count: 40, seed: 12, which: "all", weights: {} }).map(({ scene }) => scene);
  const results = scenes.map((scene, i) => {
    const clip = degraded(clipOf(scene), i);
    return { measured: measureClip(clip), scene, other: otherJudge(clip, 8) };
  });
  const scores = scoresOf(results.map(({ measured, scene }) => judge(measured, scene)));
  for (const criterion of criteria) {
    assert.ok(scores[criterion].rate >= 0.95, `${criterion}: ${scores[criterion].right} of ${scores[criterion].total}`);
  }
  const agreed = results.filter(({ measured, other }) => measured.shape === other).length;
  assert.ok(agreed >= 36, `the other judge agrees on ${agreed} of 40`);
});

test("every named colour has its name, and greys have none", () => {
  for (const [name, rgb] of Object.entries({ ...colours, ...extraColours })) {
    assert.is(nameColour(rgb).name, name);
    const faded = [rgb[0] * 0.9 + 12, rgb[1] * 0.9 + 12, rgb[2] * 0.9 + 12] as const;
    assert.is(nameColour(faded).name, name, `${name}, faded`);
  }
  for (const grey of [0, 90, 128, 200, 255]) assert.is(nameColour([grey, grey, grey]).name, undefined);
  const blend = (t: number) =>
    red.map((v, i) => v + t * ((colours.orange[i] as number) - v)) as [number, number, number];
  const names = Array.from({ length: 21 }, (_, i) => nameColour(blend(i / 20)).name);
  const order = names.filter((name, i) => name !== names[i - 1]);
  assert.equal(order, ["red", undefined, "orange"], "from red to orange");
});

test("nothing to be seen", () => {
  const { colour, shape, motion, details } = measureClip(drawn(() => [128, 128, 128]));
  assert.equal([colour, shape, motion, details.seen], [undefined, undefined, undefined, 0]);
  const noise = new Draws("noise");
  const noisy = measureClip(drawn(() => [100 + noise.below(20), 100 + noise.below(20), 100 + noise.below(20)]));
  assert.equal([noisy.colour, noisy.shape, noisy.motion], [undefined, undefined, undefined]);
});

test("an object that is there only half of the time has no motion", () => {
  const clip = drawn((x, y, n) => (n < 9 && inside(x - 20 - n, y - 30, 9) ? red : black));
  const { colour, motion, details } = measureClip(clip);
  assert.is(colour, "red");
  assert.is(motion, undefined);
  assert.ok(Math.abs(details.seen - 9 / 17) < 0.01);
});

test("two objects are not one", () => {
  const two = drawn((x, y) => (inside(x - 16, y - 30, 9) || inside(x - 46, y - 30, 9) ? red : black));
  const { colour, shape, motion } = measureClip(two);
  assert.equal([colour, shape, motion], ["red", undefined, undefined]);
  const other = drawn((x, y) => (inside(x - 16, y - 30, 10) ? red : inside(x - 46, y - 30, 8) ? [35, 80, 235] : black));
  assert.is(measureClip(other).shape, undefined, "of two colours");
});

test("shapes that have no name", () => {
  const diamond = drawn((x, y) => (Math.abs(x - 32) + Math.abs(y - 32) < 16 ? red : black));
  const bar = drawn((x, y) => (Math.abs(x - 32) < 20 && Math.abs(y - 32) < 5 ? red : black));
  const ring = drawn((x, y) => (inside(x - 32, y - 32, 15) && !inside(x - 32, y - 32, 9) ? red : black));
  for (const [what, clip] of Object.entries({ bar, ring })) {
    assert.is(measureClip(clip).shape, undefined, `${what}: ${JSON.stringify(measureClip(clip).details.overlaps)}`);
  }
  assert.is.not(measureClip(diamond).shape, "square");
  const upsideDown = drawn((x, y) => (y > 20 && y < 44 && Math.abs(x - 32) < (44 - y) * 0.58 ? red : black));
  assert.is.not(measureClip(upsideDown).shape, "triangle");
});

/** A circle whose centre and radius are a function of 0 … 1. */
const moving = (way: (t: number) => readonly [x: number, y: number, radius?: number]): RgbClip =>
  drawn((x, y, n) => {
    const [cx, cy, radius = 9] = way(n / 16);
    return inside(x - cx, y - cy, radius) ? red : black;
  });

test("motions that have no name, and those that have another", () => {
  const motions: [string, RgbClip, string | undefined][] = [
    ["diagonal", moving((t) => [15 + 30 * t, 15 + 30 * t]), undefined],
    ["there and back", moving((t) => [15 + 60 * Math.min(t, 1 - t), 32]), undefined],
    ["a short way", moving((t) => [30 + 4 * t, 32]), undefined],
    ["zigzag", moving((t) => [16 + 32 * t, 32 + 14 * Math.sin(20 * t)]), undefined],
    ["a quarter of a circle", moving((t) => [32 + 16 * Math.cos(1.6 * t), 32 + 16 * Math.sin(1.6 * t)]), undefined],
    ["the other way around", moving((t) => [32 + 16 * Math.cos(6 * t), 32 - 16 * Math.sin(6 * t)]), "counterclockwise"],
    ["around", moving((t) => [32 + 16 * Math.cos(6 * t), 32 + 16 * Math.sin(6 * t)]), "clockwise"],
    ["growing on its way", moving((t) => [16 + 32 * t, 32, 7 + 7 * t]), undefined],
    ["a little larger", moving((t) => [32, 32, 10 + 1.6 * t]), undefined],
    ["growing", moving((t) => [32, 32, 9 + 6 * t]), "growing"],
    ["shrinking", moving((t) => [32, 32, 15 - 6 * t]), "shrinking"],
    ["trembling", moving((t) => [32 + Math.sin(40 * t), 32 + Math.cos(30 * t)]), "still"],
    ["a jump", moving((t) => [t < 0.5 ? 16 : 48, 32]), "right"],
  ];
  for (const [what, clip, name] of motions) {
    const { motion, details } = measureClip(clip);
    assert.is(motion, name, `${what}: ${JSON.stringify(details.movement)}`);
  }
});

test("a clip of another size measures alike; bytes that are no clip are refused", () => {
  const { scene } = demoClipOf({ colour: "cyan", shape: "cross", motion: "up", background: "gradient" }, 1, "one");
  const small = renderScene(scene);
  const data = new Uint8Array(small.length * 4);
  for (let i = 0; i < data.length / 3; i++) {
    const [x, y, n] = [i % 128, Math.floor(i / 128) % 128, Math.floor(i / 16384)];
    const from = ((n * 64 + (y >> 1)) * 64 + (x >> 1)) * 3;
    data.set(small.subarray(from, from + 3), 3 * i);
  }
  const { colour, shape, motion } = measureClip({ width: 128, height: 128, numFrames: 17, data });
  assert.equal([colour, shape, motion], ["cyan", "cross", "up"]);
  assert.throws(
    () => measureClip({ ...size, data: small.subarray(3) }),
    (error: unknown) => isHunyuanError(error, "INVALID_ARGUMENT"),
  );
});

test.run();
