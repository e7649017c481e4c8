// Renders the captioned clips that the small model is trained on, as any user's folder of clips would look.
//
//   npm run demo:data -- [--out folder] [--clips 6000] [--validation 256] [--seed 1] [--colour brown|any]
//
//   folder/train/clip-00000.webp       17 frames of 64 × 64 at 24 frames a second, lossless
//   folder/train/clip-00000.json       { "captions": [four of them], "scene": where the shape goes }
//   folder/validation/…                the same, half of it combinations that training never sees
//   folder/held-out.json               those 32 combinations of colour, shape and motion
//   folder/sheet.png                   the first clips of training, a row each
//
// --colour makes all clips in one colour; brown and lime are none of the eight that the model learns, for a LoRA to teach.
// --colour any gives each clip a colour of its own, from all there are: captions then say it as #82c41e.
// The same arguments give the same bytes. A folder that holds anything is refused.
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { type DemoClip, demoClips } from "../lib/train/demo/clips.js";
import { renderScene } from "../lib/train/demo/render.js";
import { demoClip } from "../lib/train/demo/scene.js";
import { colours, combinations, type DemoColour, extraColours } from "../lib/train/demo/vocabulary.js";

const { width, height, numFrames, fps } = demoClip;

function wholeOf(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} ${text}: expected a whole number`);
  process.exit(2);
}

function colourOf(name: string | undefined): DemoColour | "any" | undefined {
  const known = [...Object.keys({ ...colours, ...extraColours }), "any"];
  if (name === undefined || known.includes(name)) return name as DemoColour | "any" | undefined;
  console.error(`--colour ${name}: expected one of ${known.join(", ")}`);
  process.exit(2);
}

/** Milliseconds of each frame; the rounding is spread, so that the clip as a whole has its rate. */
const delay = Array.from(
  { length: numFrames },
  (_, i) => Math.round(((i + 1) * 1000) / fps) - Math.round((i * 1000) / fps),
);

/**
 * The encoder joins equal frames, and a clip in which nothing moves would be a picture: there, the last pixel's blue
 * goes to and fro by one of 255.
 */
function withoutEqualFrames(bytes: Uint8Array): Uint8Array {
  const size = bytes.length / numFrames;
  for (let end = 2 * size; end <= bytes.length; end += size) {
    const [before, frame] = [bytes.subarray(end - 2 * size, end - size), bytes.subarray(end - size, end)];
    if (Buffer.compare(before, frame) !== 0) continue;
    const last = frame[size - 1] as number;
    frame[size - 1] = last === 255 ? 254 : last + 1;
  }
  return bytes;
}

async function writeClip(stem: string, { scene, captions }: DemoClip): Promise<number> {
  const raw = { width, height: height * numFrames, channels: 3, pageHeight: height } as const;
  const image = sharp(withoutEqualFrames(renderScene(scene)), { raw }).webp({
    lossless: true,
    effort: 2,
    loop: 0,
    delay,
  });
  const bytes = await image.toBuffer();
  await writeFile(`${stem}.webp`, bytes);
  await writeFile(`${stem}.json`, `${JSON.stringify({ captions, scene }, null, 2)}\n`);
  return bytes.length;
}

/** @returns bytes of the clips */
async function writeClips(folder: string, clips: readonly DemoClip[]): Promise<number> {
  await mkdir(folder, { recursive: true });
  const waiting = [...clips.entries()].reverse();
  let total = 0;
  const worker = async () => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const bytes = await writeClip(join(folder, `clip-${String(next[0]).padStart(5, "0")}`), next[1]);
      total += bytes;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, worker));
  return total;
}

async function writeSheet(path: string, clips: readonly DemoClip[]): Promise<void> {
  const shown = Array.from({ length: 9 }, (_, i) => i * 2);
  const [cellWidth, cellHeight] = [width + 2, height + 2];
  const tiles = clips.flatMap(({ scene }, row) => {
    const bytes = renderScene(scene);
    return shown.map((frame, column) => ({
      input: Buffer.from(bytes.subarray(frame * width * height * 3, (frame + 1) * width * height * 3)),
      raw: { width, height, channels: 3 } as const,
      ...{ left: column * cellWidth, top: row * cellHeight },
    }));
  });
  const size = { width: shown.length * cellWidth, height: clips.length * cellHeight };
  const sheet = sharp({ create: { ...size, channels: 3, background: "#5a5a5a" } });
  await sheet.composite(tiles).png().toFile(path);
}

const { values } = parseArgs({
  options: {
    out: { type: "string", default: "demo-data" },
    clips: { type: "string", default: "6000" },
    validation: { type: "string", default: "256" },
    seed: { type: "string", default: "1" },
    colour: { type: "string" },
  },
});
const [count, validation, seed] = [
  wholeOf("clips", values.clips),
  wholeOf("validation", values.validation),
  wholeOf("seed", values.seed),
];
const colour = colourOf(values.colour);
const there = await readdir(values.out).catch(() => []);
if (there.length > 0) {
  console.error(`${values.out} is not empty; give another --out, or remove it`);
  process.exit(2);
}
const started = performance.now();
const training = demoClips({ count, seed, colour });
// Another seed, so that no clip of training comes again; all motions alike, as evaluation has them.
const heldOut = demoClips({
  count: Math.floor(validation / 2),
  seed: seed + 1,
  which: "held out",
  weights: {},
  colour,
});
const unseen = demoClips({ count: validation - heldOut.length, seed: seed + 1, weights: {}, colour });
const bytes = await writeClips(join(values.out, "train"), training);
await writeClips(join(values.out, "validation"), [...heldOut, ...unseen]);
await writeFile(join(values.out, "held-out.json"), `${JSON.stringify(combinations("held out"), null, 2)}\n`);
await writeSheet(join(values.out, "sheet.png"), training.slice(0, 24));
const seconds = ((performance.now() - started) / 1000).toFixed(1);
const where = relative(".", values.out) || values.out;
console.log(
  `${where}: ${count} clips for training (${(bytes / 2 ** 20).toFixed(1)} MiB), ${validation} for validation, in ${seconds} s`,
);
