/** Demo clips: what they show is what they say; held-out combinations; the script that writes them. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readVideo } from "../../lib/io/media/index.js";
import { Draws } from "../../lib/train/data/draws.js";
import { allCaptions, captionOf, parseCaption } from "../../lib/train/demo/captions.js";
import { clipWeights, demoClips } from "../../lib/train/demo/clips.js";
import { renderScene } from "../../lib/train/demo/render.js";
import { demoClip, drawScene } from "../../lib/train/demo/scene.js";
import {
  backgroundNames,
  colourNames,
  combinations,
  isHeldOut,
  motionNames,
  rgbOf,
  shapeNames,
} from "../../lib/train/demo/vocabulary.js";
import { emptyFolder } from "../support/clip-folder.js";
import { allFrames } from "../support/media.js";

/** Centre and area of what has the colour, by how near each pixel is to it. */
function measure(frame: Uint8Array, rgb: readonly number[]) {
  let [area, x, y, edge] = [0, 0, 0, 0];
  for (let i = 0; i < 64 * 64; i++) {
    const off = Math.hypot(...rgb.map((value, c) => value - (frame[i * 3 + c] ?? 0)));
    if (off > 40) continue;
    area++;
    x += i % 64;
    y += Math.floor(i / 64);
    if (i % 64 === 0 || i % 64 === 63 || i < 64 || i >= 63 * 64) edge++;
  }
  return { area, x: x / area, y: y / area, edge };
}

test("32 of 256 combinations are held out, and every pair is still seen", () => {
  const [out, seen] = [combinations("held out"), combinations("training")];
  assert.equal([out.length, seen.length], [32, 224]);
  assert.not.ok(isHeldOut({ colour: "red", shape: "circle", motion: "left" }));
  for (const [a, b] of [
    ["colour", "shape"],
    ["shape", "motion"],
    ["colour", "motion"],
  ] as const) {
    const pairs = (list: typeof out) => new Set(list.map((one) => `${one[a]} ${one[b]}`)).size;
    assert.is(pairs(seen), pairs(combinations()));
    assert.is(pairs(out), 32);
  }
});

test("every clip shows its colour wholly inside, and moves as it says", () => {
  for (const { scene } of demoClips({ count: 500, seed: 11, which: "all" })) {
    const bytes = renderScene(scene);
    const rgb = rgbOf(scene.colour);
    const at = (n: number) => measure(bytes.subarray(n * 12288, (n + 1) * 12288), rgb);
    const track = [0, 4, 8, 12, 16].map(at);
    const [a, b] = [at(0), at(16)];
    const what = JSON.stringify(scene);
    assert.ok(
      track.every(({ area, edge }) => area > 110 && edge === 0),
      what,
    );
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const expected = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] } as const;
    if (scene.motion in expected) {
      const [sx, sy] = expected[scene.motion as keyof typeof expected];
      assert.ok(dx * sx + dy * sy > 15 && Math.abs(dx * sy) + Math.abs(dy * sx) < 1.2, what);
    } else if (scene.motion === "clockwise") {
      // The area that the way encloses is positive when it turns clockwise on a screen.
      const turn = track.reduce(
        (sum, p, i) => sum + (i === 0 ? 0 : (track[i - 1]?.x ?? 0) * p.y - p.x * (track[i - 1]?.y ?? 0)),
        0,
      );
      const close = (track[4]?.x ?? 0) * (track[0]?.y ?? 0) - (track[0]?.x ?? 0) * (track[4]?.y ?? 0);
      assert.ok((turn + close) / 2 > 150, what);
    } else {
      assert.ok(Math.hypot(dx, dy) < 1.2, what);
      const growth = b.area / a.area;
      if (scene.motion === "growing") assert.ok(growth > 1.8, what);
      else if (scene.motion === "shrinking") assert.ok(growth < 1 / 1.8, what);
      else assert.is(growth, 1);
    }
  }
});

test("shapes of one size cover about the same area", () => {
  const areas = shapeNames.map((shape) => {
    const subject = { colour: "red", shape, motion: "still", background: "black" } as const;
    const scene = {
      ...drawScene(subject, new Draws(1)),
      from: { x: 32, y: 32, radius: 12 },
      to: { x: 32, y: 32, radius: 12 },
    };
    return measure(renderScene(scene).subarray(0, 12288), rgbOf("red")).area;
  });
  for (const area of areas) assert.ok(Math.abs(area / (Math.PI * 144) - 1) < 0.3, areas.join());
});

test("captions say the subject, whichever words they take", () => {
  const words = new Set<string>();
  for (const { scene, captions } of demoClips({ count: 400, seed: 2, which: "all" })) {
    const { colour, shape, motion, background } = scene;
    assert.is(new Set(captions).size, 4);
    for (const caption of [...captions, captionOf(scene), ...allCaptions(scene)]) {
      assert.equal(parseCaption(caption), { colour, shape, motion, background }, caption);
      for (const word of caption.split(/[ ,]+/)) words.add(word);
    }
  }
  assert.is(
    captionOf({ colour: "red", shape: "circle", motion: "left", background: "black" }),
    "a red circle moves left on a black background",
  );
  assert.ok(words.size < 80, [...words].join(" "));
  assert.equal(parseCaption("The Orange CROSS, motionless"), { colour: "orange", shape: "cross", motion: "still" });
  assert.equal(parseCaption("a cat"), {});
});

test("a set comes evenly, keeps held-out combinations out, and is its seed's", () => {
  const clips = demoClips({ count: 3000, seed: 1 });
  assert.not.ok(clips.some(({ scene }) => isHeldOut(scene)));
  const share = (key: "colour" | "shape" | "background" | "motion", name: string) =>
    clips.filter(({ scene }) => scene[key] === name).length / clips.length;
  for (const name of colourNames) assert.ok(Math.abs(share("colour", name) * 8 - 1) < 0.1, name);
  const weight = shapeNames.reduce((sum, name) => sum + clipWeights[name], 0);
  for (const name of shapeNames) {
    assert.ok(Math.abs((share("shape", name) * weight) / clipWeights[name] - 1) < 0.1, name);
  }
  for (const name of backgroundNames) assert.ok(Math.abs(share("background", name) * 5 - 1) < 0.1, name);
  for (const name of motionNames) assert.ok(share("motion", name) > 0.07, name);
  assert.ok(share("motion", "clockwise") > 1.8 * share("motion", "left"));
  assert.equal(demoClips({ count: 3, seed: 1 }), clips.slice(0, 3));
  assert.not.equal(demoClips({ count: 3, seed: 2 }), clips.slice(0, 3));
});

test("clips in any colour say which, and show it", () => {
  const clips = demoClips({ count: 40, seed: 4, colour: "any" });
  assert.is(new Set(clips.map(({ scene }) => scene.colour)).size, 40);
  assert.equal(rgbOf("#82c41e"), [0x82, 0xc4, 0x1e]);
  for (const { scene, captions } of clips) {
    assert.match(scene.colour, /^#[0-9a-f]{6}$/);
    for (const caption of captions) assert.ok(caption.includes(`a ${scene.colour} ${scene.shape}`), caption);
    const { area } = measure(renderScene({ ...scene, background: "black" }).subarray(0, 12288), rgbOf(scene.colour));
    assert.ok(area > 110, JSON.stringify(scene));
  }
});

test("the script writes what was rendered, the same bytes each time", async () => {
  const [first, second] = [emptyFolder(), emptyFolder()];
  for (const folder of [first, second]) {
    const args = ["--import", "tsx", "scripts/demo-data.ts", "--out", folder, "--clips", "40", "--validation", "8"];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.is(status, 0, stderr);
    assert.match(stdout, /40 clips for training .* 8 for validation/);
  }
  const names = readdirSync(join(first, "train"));
  assert.is(names.length, 80);
  for (const name of names) {
    assert.equal(readFileSync(join(first, "train", name)), readFileSync(join(second, "train", name)), name);
  }
  assert.equal(JSON.parse(readFileSync(join(first, "held-out.json"), "utf8")), combinations("held out"));
  const clips = demoClips({ count: 40, seed: 1 });
  for (const [i, { scene }] of clips.entries()) {
    const stem = join(first, "train", `clip-${String(i).padStart(5, "0")}`);
    const source = await readVideo(`${stem}.webp`, { fps: demoClip.fps });
    assert.equal([source.width, source.height, source.numFrames], [64, 64, 17]);
    const [bytes, rendered] = [Buffer.concat(await allFrames(source)), renderScene(scene)];
    let worst = 0;
    let different = 0;
    for (const [at, value] of rendered.entries()) {
      const off = Math.abs(value - (bytes[at] ?? -1));
      worst = Math.max(worst, off);
      if (off > 0) different++;
    }
    assert.ok(worst <= 1 && different <= 16, `${stem}: ${different} values differ by up to ${worst}`);
    if (scene.motion !== "still") assert.is(different, 0);
  }
});

test.run();
