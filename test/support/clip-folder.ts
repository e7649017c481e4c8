/** A folder of small clips with captions, some of them broken, as a user might have it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { firstFrame, writeImage, writeVideo } from "../../lib/io/media/index.js";
import { discClip } from "./media.js";

/** Gone at the end of the process. */
export function emptyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hunyuan-data-test-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * - 6 clips of 17 frames, 64×64 (webp), with .txt captions "clip 0" …
 * - 2 wide ones of 9 frames, 96×48 (gif), in a folder below, with .json captions, two each
 * - 2 pictures of 80×60, one without a caption
 * - a folder of 5 frames
 * - an empty file, a cut one, one that is no media file, and a clip whose caption is no JSON
 */
export async function clipFolder(): Promise<string> {
  const folder = emptyFolder();
  const at = (name: string) => join(folder, name);
  mkdirSync(at("wide"));
  for (let i = 0; i < 6; i++) {
    const clip = discClip({ width: 64, height: 64, numFrames: 17 + i });
    await writeVideo(at(`clip-${i}.webp`), clip, { metadata: false });
    writeFileSync(at(`clip-${i}.txt`), `clip ${i}\n`);
  }
  for (let i = 0; i < 2; i++) {
    await writeVideo(at(`wide/${i}.gif`), discClip({ width: 96, height: 48, numFrames: 9 + i }, 25), {
      metadata: false,
    });
    writeFileSync(at(`wide/${i}.json`), JSON.stringify({ captions: [`wide ${i}`, `broad ${i}`] }));
  }
  for (const i of [0, 1]) {
    const picture = await firstFrame("test", discClip({ width: 80, height: 60 + i, numFrames: 1 }));
    await writeImage(at(`picture-${i}.png`), picture, { metadata: false });
  }
  writeFileSync(at("picture-0.txt"), "a  picture\nof a disc");
  await writeVideo(at("frames"), discClip({ width: 64, height: 64, numFrames: 5 }), { metadata: false });
  writeFileSync(at("frames.txt"), "five frames");
  writeFileSync(at("empty.mp4"), "");
  writeFileSync(at("cut.gif"), readFileSync(at("wide/0.gif")).subarray(0, 900));
  writeFileSync(at("text.webm"), "this is no video at all, whatever its name says");
  writeFileSync(at("quoted.webp"), readFileSync(at("clip-0.webp")));
  writeFileSync(at("quoted.json"), '{ "caption": ');
  writeFileSync(at("notes.md"), "not looked at");
  return folder;
}
