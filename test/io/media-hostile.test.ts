/** Files that are damaged, cut off or made to harm: a typed error, soon, and never a crash. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeVideo, readImage, readMetadata, readVideo, writeVideo } from "../../lib/io/media/index.js";
import { isHunyuanError } from "../../lib/runtime/errors.js";
import { discClip, hasBackend, refusal, temporaryFolder } from "../support/media.js";

const folder = temporaryFolder();
const clip = discClip({ width: 48, height: 32, numFrames: 9 });
const metadata = { prompt: "a disc", seed: 7, settings: { steps: 4 } };
const canVideo = (await hasBackend("node-av")) || (await hasBackend("ffmpeg"));
const formats = canVideo ? (["mp4", "webm", "gif", "webp"] as const) : (["gif", "webp"] as const);

async function readAll(path: string): Promise<number> {
  let count = 0;
  for await (const _ of (await readVideo(path)).frames()) count++;
  return count;
}

/** "ok", or the code of our error; anything else fails the test. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  const start = performance.now();
  try {
    await promise;
    return "ok";
  } catch (error) {
    if (!isHunyuanError(error)) throw new Error(`untyped: ${error instanceof Error ? error.stack : String(error)}`);
    assert.ok(performance.now() - start < 5000);
    return error.code;
  }
}

for (const format of formats) {
  test(`${format} cut off at any place is refused`, async () => {
    const whole = await encodeVideo(clip, { format, metadata });
    const path = join(folder, `cut.${format}`);
    for (const part of [0, 3, 11, 20, 40, 100, 0.2, 0.5, 0.8, 0.97]) {
      const length = part < 1 ? Math.floor(whole.length * part) : part;
      writeFileSync(path, whole.subarray(0, length));
      const read = await outcome(readAll(path));
      assert.is(read, "MEDIA_INVALID", `${length} of ${whole.length} bytes: ${read}`);
      // Metadata may stand before the place of the cut; then it is found, else the file is refused.
      assert.ok(["ok", "MEDIA_INVALID"].includes(await outcome(readMetadata(path))));
    }
  });

  test(`${format} with bytes changed never gives an untyped error`, async () => {
    const whole = await encodeVideo(clip, { format, metadata });
    const path = join(folder, `changed.${format}`);
    const change = fc.record({ at: fc.nat({ max: whole.length - 1 }), value: fc.nat({ max: 255 }) });
    const changes = fc.array(change, { minLength: 1, maxLength: 8 });
    const property = fc.asyncProperty(changes, async (list) => {
      const bytes = Buffer.from(whole);
      for (const { at, value } of list) bytes[at] = value;
      writeFileSync(path, bytes);
      assert.ok(["ok", "MEDIA_INVALID"].includes(await outcome(readAll(path))));
      assert.ok(["ok", "MEDIA_INVALID"].includes(await outcome(readMetadata(path))));
    });
    await fc.assert(property, { numRuns: 60, seed: 42 });
  });
}

test("what is no clip is named, and what is missing too", async () => {
  const texts = {
    "empty.mp4": "",
    "text.mp4": "this is text, and not a video at all",
    // A playlist: FFmpeg would open what it names.
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "concat.webm": "ffconcat version 1.0\nfile /etc/hostname\n",
    "vector.png": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
  };
  for (const [name, text] of Object.entries(texts)) {
    const path = join(folder, name);
    writeFileSync(path, text);
    for (const read of [readVideo, readMetadata]) {
      const error = await refusal(read(path));
      assert.is(error.code, "MEDIA_INVALID");
      assert.ok(error.message.includes(name));
    }
    rmSync(path);
  }
  assert.is((await refusal(readVideo(join(folder, "absent.mp4")))).code, "FILE_ERROR");
  assert.is((await refusal(readMetadata(join(folder, "absent.mp4")))).code, "FILE_ERROR");
  assert.is((await refusal(readImage(join(folder, "absent.png")))).code, "FILE_ERROR");
  assert.is((await refusal(readImage(new Uint8Array(100)))).code, "MEDIA_INVALID");
});

test("a picture that claims to be huge is refused before it is decoded", async () => {
  const path = join(folder, "huge.png");
  await writeVideo(path, discClip({ width: 8, height: 8, numFrames: 1 }));
  const bytes = readFileSync(path);
  // The size in IHDR, and its checksum.
  bytes.writeUInt32BE(60_000, 16);
  bytes.writeUInt32BE(60_000, 20);
  const { crc32 } = await import("node:zlib");
  bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
  const error = await refusal(readImage(bytes));
  assert.is(error.code, "MEDIA_INVALID");
  assert.match(error.message, /pixel limit/);
});

test("boxes and elements that nest or promise too much", async () => {
  const box = (type: string, contents: Buffer, claimed = contents.length + 8) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(claimed);
    head.write(type, 4, "latin1");
    return Buffer.concat([head, contents]);
  };
  const start = box("ftyp", Buffer.from("isom\0\0\0\0"));
  const path = join(folder, "boxes.mp4");
  const empty = Buffer.alloc(0);
  const files = [
    Buffer.concat([start, box("moov", empty, 2 ** 31)]),
    Buffer.concat([start, box("moov", empty, 4)]),
    Buffer.concat([start, box("moov", box("udta", box("meta", empty, 2 ** 30)))]),
    Buffer.concat([start, ...Array.from({ length: 20_000 }, () => box("free", empty))]),
    Buffer.from("1a45dfa38018538067010000000000ffff1254c36710", "hex"),
    Buffer.from(`1a45dfa38018538067ff1254c3678a7373876 7c8ff`.replace(" ", ""), "hex"),
    Buffer.from(`1a45dfa38018538067ff${"ec80".repeat(200_000)}`, "hex"),
  ];
  for (const bytes of files) {
    writeFileSync(path, bytes);
    const start = performance.now();
    assert.is((await refusal(readMetadata(path))).code, "MEDIA_INVALID");
    assert.ok(performance.now() - start < 2000);
  }
});

test.run();
