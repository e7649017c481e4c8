/** Every format, out and in again: size, number of frames, rate, metadata, and the picture itself. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  encodeVideo,
  type FrameSource,
  firstFrame,
  frameSource,
  generatedMark,
  type MediaFormat,
  readImage,
  readMetadata,
  readVideo,
  writeImage,
  writeVideo,
} from "../../lib/io/media/index.js";
import {
  allFrames,
  discClip,
  discFrames,
  hasBackend,
  leftovers,
  psnr,
  refusal,
  temporaryFolder,
  withBackend,
  worstPsnr,
} from "../support/media.js";

const folder = temporaryFolder();
const size = { width: 160, height: 96, numFrames: 17 };
const clip = discClip(size);
const frames = discFrames(size);
const metadata = {
  prompt: 'a red disc <moves> & "glides" – 円が動く',
  negativePrompt: "blur",
  seed: 42,
  settings: { steps: 50, size: [160, 96], guidance: 6.5, flag: true, nothing: null },
};
const backends = { "node-av": await hasBackend("node-av"), ffmpeg: await hasBackend("ffmpeg") };

/** Worst frame of the disc clip in dB; 4:2:0 costs most at the disc's edge. */
const closeness: Readonly<Record<string, number>> = { mp4: 33, webm: 32, gif: 34, webp: 31 };

async function checkRoundTrip(path: string, format: MediaFormat): Promise<void> {
  await writeVideo(path, clip, { format, metadata });
  const back = await readVideo(path);
  const { width, height, fps, numFrames } = back;
  assert.equal({ width, height, fps, numFrames }, { ...size, fps: 24 });
  const worst = worstPsnr(await allFrames(back), frames);
  assert.ok(worst > (closeness[format] ?? 99), `${format}: ${worst} dB`);
  const found = await readMetadata(path);
  assert.match(found?.software ?? "", /^hunyuan-native \d/);
  assert.equal(found, {
    ...metadata,
    software: found?.software,
    digitalSourceType: generatedMark,
    generated: true,
  });
  assert.equal(leftovers(folder), []);
}

for (const name of ["node-av", "ffmpeg"] as const) {
  const run = backends[name] ? test : test.skip;
  for (const format of ["mp4", "webm"] as const) {
    run(`${format} through ${name}`, () =>
      withBackend(name, () => checkRoundTrip(join(folder, `${name}.${format}`), format)),
    );
  }
  run(`mp4 through ${name}: index first, H.264, tags and mark in the bytes`, () =>
    withBackend(name, async () => {
      const bytes = await encodeVideo(clip, { format: "mp4", metadata });
      const at = (text: string) => bytes.indexOf(text, 0, "latin1");
      assert.ok(at("ftyp") === 4 && at("moov") > 0 && at("moov") < at("mdat"));
      assert.ok(at("avc1") > 0 && at("avcC") > 0);
      assert.ok(at("trainedAlgorithmicMedia") > 0 && bytes.indexOf("a9636d74", 0, "hex") > 0);
    }),
  );
  run(`odd sizes grow by one pixel through ${name}`, () =>
    withBackend(name, async () => {
      const odd = { width: 63, height: 47, numFrames: 3 };
      for (const format of ["mp4", "webm"] as const) {
        const path = join(folder, `odd-${name}.${format}`);
        await writeVideo(path, discClip(odd), { format });
        const back = await readVideo(path);
        assert.equal([back.width, back.height, back.numFrames], [64, 48, 3]);
        const [first] = await allFrames(back);
        const [wanted] = discFrames(odd);
        const cut = await readImage(await encodeVideo(still(first, 64, 48), { format: "png" }));
        const row = (data: Uint8Array, width: number, y: number) =>
          data.subarray(y * width * 3, y * width * 3 + 63 * 3);
        for (const y of [0, 20, 46]) assert.ok(psnr(row(cut.data, 64, y), row(wanted ?? first!, 63, y)) > 26);
      }
    }),
  );
  run(`one frame, and other rates, through ${name}`, () =>
    withBackend(name, async () => {
      for (const [fps, numFrames] of [
        [24, 1],
        [30000 / 1001, 9],
        [12.5, 6],
        [60, 8],
      ] as const) {
        const path = join(folder, `rate-${name}.mp4`);
        await writeVideo(path, discClip({ width: 64, height: 64, numFrames }), { fps });
        const back = await readVideo(path);
        assert.is(back.numFrames, numFrames);
        assert.is((await allFrames(back)).length, numFrames);
        assert.ok(Math.abs(back.fps - fps) < 1e-3, `${back.fps} for ${fps}`);
      }
    }),
  );
}

function still(data: Uint8Array | undefined, width: number, height: number): FrameSource {
  return frameSource(data === undefined ? [] : [data], { width, height, fps: 24 });
}

const both = backends["node-av"] && backends.ffmpeg ? test : test.skip;
both("what one writes, the other reads: the same bytes from both decoders", async () => {
  for (const format of ["mp4", "webm"] as const) {
    for (const [writer, reader] of [
      ["node-av", "ffmpeg"],
      ["ffmpeg", "node-av"],
    ] as const) {
      const path = join(folder, `crossed.${format}`);
      await withBackend(writer, () => writeVideo(path, clip, { format }));
      const own = await withBackend(writer, async () => allFrames(await readVideo(path, { width: 80, height: 80 })));
      const other = await withBackend(reader, async () => allFrames(await readVideo(path, { width: 80, height: 80 })));
      assert.ok(worstPsnr(own, other) > 45);
    }
  }
});

for (const format of ["gif", "webp"] as const) {
  test(`${format} needs neither`, () =>
    withBackend("none", () => checkRoundTrip(join(folder, `alone.${format}`), format)));
  test(`${format}: one frame, odd size, other rates`, async () => {
    for (const [fps, numFrames] of [
      [24, 1],
      [8, 3],
      [16, 10],
      [30, 31],
    ] as const) {
      const path = join(folder, `rate.${format}`);
      await writeVideo(path, discClip({ width: 33, height: 17, numFrames }, fps));
      const back = await readVideo(path);
      assert.equal([back.width, back.height, back.numFrames], [33, 17, numFrames]);
      if (numFrames > 1) assert.is(back.fps, fps);
    }
  });
}

test("a folder of PNG frames is exact, replaces frames, and spares what is no frame", async () => {
  const path = join(folder, "frames");
  await writeVideo(path, discClip({ ...size, numFrames: 20 }));
  await writeVideo(path, clip, { metadata });
  assert.equal(readdirSync(path).length, 17);
  assert.is(readdirSync(path).sort()[16], "frame-00016.png");
  const back = await readVideo(path);
  assert.is(worstPsnr(await allFrames(back), frames), Number.POSITIVE_INFINITY);
  assert.is((await readMetadata(path))?.seed, 42);
  writeFileSync(join(path, "notes.txt"), "mine");
  const error = await refusal(writeVideo(path, clip));
  assert.is(error.code, "FILE_ERROR");
  assert.match(error.message, /notes\.txt/);
  assert.equal(readdirSync(path).length, 18);
  assert.equal(leftovers(folder), []);
});

test("a contact sheet shows frames in reading order", async () => {
  for (const name of ["sheet.png", "sheet.jpg", "sheet.webp"]) {
    const path = join(folder, name);
    const sheet = { frames: 4, columns: 2, gap: 10, cellWidth: 80 };
    await writeVideo(path, clip, { format: "sheet", sheet, metadata });
    const picture = await readImage(path);
    assert.equal([picture.width, picture.height], [2 * 90 + 10, 2 * 58 + 10]);
    assert.is((await readMetadata(path))?.generated, true);
    // The disc of frames 0, 5, 11 and 16: its centre in each cell is red.
    for (const [cell, frame] of [0, 5, 11, 16].entries()) {
      const x = 10 + (cell % 2) * 90 + Math.round(80 * (0.15 + (0.7 * frame) / 16));
      const y = 10 + Math.floor(cell / 2) * 58 + 24;
      const [red = 0, green = 255, blue = 255] = picture.data.subarray((y * picture.width + x) * 3);
      assert.ok(red > 200 && green < 70 && blue < 60, `${name} cell ${cell}: ${[red, green, blue]}`);
    }
  }
});

test("pictures: png is exact, jpg and webp are close, all carry metadata", async () => {
  const picture = await firstFrame("test", clip);
  for (const format of ["png", "jpg", "webp"] as const) {
    const path = join(folder, `picture.${format}`);
    await writeImage(path, picture, { metadata });
    const back = await readImage(path);
    assert.ok(psnr(back.data, picture.data) > (format === "png" ? 1000 : 30), format);
    assert.equal(
      { ...(await readMetadata(path)), software: "" },
      {
        ...metadata,
        software: "",
        digitalSourceType: generatedMark,
        generated: true,
      },
    );
    assert.is((await readVideo(path)).numFrames, 1);
  }
  await writeVideo(join(folder, "one.png"), still(frames[0], 160, 96));
  const error = await refusal(writeVideo(join(folder, "many.png"), clip));
  assert.is(error.code, "INVALID_ARGUMENT");
  assert.match(error.message, /sheet/);
});

test("the mark is written when nothing is said, and nothing when metadata is false", async () => {
  for (const format of ["gif", "webp", "png", "jpg"] as const) {
    const path = join(folder, `default.${format}`);
    const source = format === "gif" || format === "webp" ? clip : still(frames[0], 160, 96);
    await writeVideo(path, source);
    assert.is((await readMetadata(path))?.generated, true);
    await writeVideo(path, source, { metadata: false });
    assert.is(await readMetadata(path), undefined);
  }
});

test("reading: size, rate, start and count", async () => {
  const path = join(folder, "read.webp");
  await writeVideo(path, clip, { quality: 100 });
  const half = await readVideo(path, { fps: 12 });
  assert.equal([half.numFrames, half.fps], [9, 12]);
  assert.ok(
    worstPsnr(
      await allFrames(half),
      frames.filter((_, i) => i % 2 === 0),
    ) > 31,
  );
  const double = await readVideo(path, { fps: 48, maxFrames: 6 });
  assert.ok(
    worstPsnr(
      await allFrames(double),
      [0, 0, 1, 1, 2, 2].map((i) => frames[i] ?? new Uint8Array()),
    ) > 31,
  );
  const late = await readVideo(path, { start: 0.25, maxFrames: 3 });
  assert.ok(worstPsnr(await allFrames(late), frames.slice(6, 9)) > 31);
  const [whole = new Uint8Array()] = await allFrames(late);
  const square = await readVideo(path, { width: 96, height: 96, start: 0.25, maxFrames: 1 });
  assert.equal([square.width, square.height], [96, 96]);
  // Cover, centred: columns 32 to 127.
  const centre = await readImage(await encodeVideo(still(whole, 160, 96), { format: "png" }), {
    width: 96,
    height: 96,
  });
  assert.equal([...centre.data.subarray(0, 9)], [...whole.subarray(32 * 3, 35 * 3)]);
  assert.is(worstPsnr(await allFrames(square), [centre.data]), Number.POSITIVE_INFINITY);
  const byHeight = await readVideo(path, { height: 48 });
  assert.equal([byHeight.width, byHeight.height], [80, 48]);
  assert.is((await refusal(readVideo(path, { start: 9 }))).code, "MEDIA_INVALID");
  assert.is((await refusal(readVideo(path, { maxFrames: 0 }))).code, "INVALID_ARGUMENT");
});

test("readImage: cover, contain and fill; bytes as well as files; EXIF turns", async () => {
  const path = join(folder, "fit.png");
  await writeImage(path, await firstFrame("test", clip));
  const bytes = readFileSync(path);
  const cover = await readImage(bytes, { width: 96, height: 96 });
  const wanted = frames[0] ?? new Uint8Array();
  const middle = Uint8Array.from({ length: 96 * 96 * 3 }, (_, i) => {
    const [row, rest] = [Math.floor(i / 288), i % 288];
    return wanted[row * 480 + 96 + rest] ?? 0;
  });
  assert.is(psnr(cover.data, middle), Number.POSITIVE_INFINITY);
  const contain = await readImage(path, { width: 96, height: 96, fit: "contain" });
  assert.equal([...contain.data.subarray(0, 3)], [0, 0, 0]);
  assert.equal((await readImage(path, { width: 10, height: 90, fit: "fill" })).data.length, 2700);
  const { default: sharp } = await import("sharp");
  const turned = await sharp(bytes).withExif({ IFD0: {} }).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  const upright = await readImage(turned);
  assert.equal([upright.width, upright.height], [96, 160]);
  const grey = await sharp(bytes).greyscale().toColourspace("b-w").png().toBuffer();
  assert.is((await readImage(grey)).data.length, 160 * 96 * 3);
});

test("what is not a clip is refused by name", async () => {
  const wrong = frameSource([new Uint8Array(12)], { width: 2, height: 2, fps: 24 });
  const short: FrameSource = { ...wrong, numFrames: 3 };
  const path = join(folder, "wrong.webp");
  for (const [run, pattern] of [
    [() => writeVideo(path, short), /frames is 1, expected 3/],
    [
      () => writeVideo(path, { ...wrong, frames: () => [new Uint8Array(11)] }),
      /frame 0 is "11 bytes", expected .* 12 bytes/,
    ],
    [() => writeVideo(path, { ...wrong, width: 0 }), /width is 0/],
    [() => writeVideo(path, wrong, { fps: 0 }), /fps is 0/],
    [() => writeVideo(path, wrong, { quality: 200 }), /quality is 200/],
    [() => writeVideo(path, wrong, { metadata: { settings: { long: "x".repeat(300_000) } } }), /metadata/],
    [() => encodeVideo(wrong, { format: "jpg", metadata: { prompt: "x".repeat(40_000) } }), /at most 65000 in a JPEG/],
    [() => writeVideo(join(folder, "wrong.xyz"), wrong), /\.mp4, \.webm/],
    [() => encodeVideo(wrong, { format: "jpg", quality: 0 }), /quality is 0/],
  ] as const) {
    const error = await refusal(run());
    assert.is(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, pattern);
  }
  assert.is((await refusal(writeVideo(join(folder, "no", "such", "x.webp"), wrong))).code, "FILE_ERROR");
  assert.not.ok(readdirSync(folder).includes("wrong.webp"));
  assert.ok(statSync(folder).isDirectory());
});

test.run();
