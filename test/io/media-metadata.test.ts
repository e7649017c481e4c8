/** Metadata as text: what is written comes back, and what others wrote is understood. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generatedMark, readMetadata } from "../../lib/io/media/index.js";
import { completeMetadata, metadataJson, parseMetadata } from "../../lib/io/media/metadata.js";
import { frameDelays, pickFrames, rateFraction, rateOfDelays, rateOfTimes } from "../../lib/io/media/timing.js";
import { fromXmp, toXmp } from "../../lib/io/media/xmp.js";
import { temporaryFolder } from "../support/media.js";

const folder = temporaryFolder();

test("any metadata survives XMP and JSON, and the packet is XML", () => {
  const text = fc.string({ unit: "binary", maxLength: 200 });
  const given = fc.record(
    { prompt: text, negativePrompt: text, seed: fc.integer(), settings: fc.dictionary(text, fc.jsonValue()) },
    { requiredKeys: [] },
  );
  const property = fc.property(given, (metadata) => {
    // JSON knows no -0 and drops undefined.
    const plain = JSON.parse(JSON.stringify(metadata));
    const complete = completeMetadata("test", plain) ?? {};
    const xmp = toXmp("test", complete);
    assert.not.match(xmp, /(?![\t\n\r])[\p{Cc}\p{Cs}\ufffe\uffff]/u);
    assert.equal(fromXmp(xmp), { ...complete, generated: true });
    assert.equal(parseMetadata(metadataJson("test", complete)), { ...complete, generated: true });
  });
  fc.assert(property, { numRuns: 300, seed: 1 });
});

test("no text makes the readers throw", () => {
  const pieces = fc.constantFrom(
    "<Iptc4xmpExt:DigitalSourceType>",
    "</Iptc4xmpExt:DigitalSourceType>",
    "<hunyuan:generation",
    ">",
    "/>",
    "{",
    "&#x110000;",
    'xmp:CreatorTool="',
    "rdf:resource=",
    '"',
    "null",
    "[]",
    '{"software":1}',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
      const text = parts.join("");
      assert.type(fromXmp(text)?.generated ?? false, "boolean");
      assert.type(parseMetadata(text)?.generated ?? false, "boolean");
    }),
    { numRuns: 500, seed: 2 },
  );
});

test("others' files: elements, attributes, references, or nothing", async () => {
  const wrap = (inside: string, attributes = "") =>
    `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description ${attributes}>${inside}</rdf:Description></rdf:RDF></x:xmpmeta>`;
  const path = join(folder, "other.png");
  const picture = sharp({ create: { width: 8, height: 8, channels: 3, background: "red" } }).png();
  for (const xmp of [
    wrap(`<Iptc4xmpExt:DigitalSourceType>${generatedMark}</Iptc4xmpExt:DigitalSourceType>`),
    wrap(`<Iptc4xmpExt:DigitalSourceType rdf:resource="${generatedMark}"/>`),
    wrap("", `Iptc4xmpExt:DigitalSourceType="${generatedMark}" xmp:CreatorTool="Some &amp; Tool"`),
  ]) {
    writeFileSync(path, await picture.clone().withXmp(xmp).toBuffer());
    const found = await readMetadata(path);
    assert.is(found?.generated, true);
    assert.is(found?.digitalSourceType, generatedMark);
  }
  assert.is((await readMetadata(path))?.software, "Some & Tool");
  writeFileSync(path, await picture.clone().withXmp(wrap("<dc:format>x</dc:format>")).toBuffer());
  assert.is(await readMetadata(path), undefined);
  writeFileSync(path, await picture.clone().toBuffer());
  assert.is(await readMetadata(path), undefined);
});

test("a source type can be another, and false is none", () => {
  const camera = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture";
  const complete = completeMetadata("test", { digitalSourceType: camera, software: "mine 1" });
  assert.is(complete?.digitalSourceType, camera);
  assert.is(fromXmp(toXmp("test", complete ?? {}))?.generated, false);
  assert.is(completeMetadata("test", false), undefined);
  assert.is(completeMetadata("test")?.digitalSourceType, generatedMark);
});

test("rates: delays add up, and come back as the rate they stand for", () => {
  const total = (list: number[]) => list.reduce((sum, value) => sum + value, 0);
  assert.equal(frameDelays(24, 6, "gif"), [40, 40, 40, 50, 40, 40]);
  for (const format of ["gif", "webp"] as const) {
    for (const fps of [8, 12, 15, 16, 24, 25, 30, 50]) {
      for (const count of [5, 17, 49, 129]) {
        const delays = frameDelays(fps, count, format);
        assert.ok(Math.abs(total(delays) - (1000 * count) / fps) <= 5);
        assert.is(rateOfDelays(delays, format), fps, `${format} ${fps} ${count}`);
      }
    }
  }
  assert.is(rateOfDelays([0, 0], "gif"), 10);
  assert.equal(rateFraction(30000 / 1001), { num: 30000, den: 1001 });
  assert.equal(rateFraction(12.5), { num: 12500, den: 1000 });
  const times = Array.from({ length: 9 }, (_, i) => Math.round((1000 * i) / 24) / 1000);
  assert.is(rateOfTimes(times, 0.001, undefined), 24);
  assert.is(rateOfTimes([0], 0.001, 25), 25);
});

test("picking frames: every one, fewer, more, from a start", () => {
  const times = Array.from({ length: 10 }, (_, i) => i / 20);
  assert.equal(pickFrames(times, 0.05, {}), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(pickFrames(times, 0.05, { fps: 10 }), [0, 2, 4, 6, 8]);
  assert.equal(pickFrames(times, 0.05, { fps: 40, maxFrames: 5 }), [0, 0, 1, 1, 2]);
  assert.equal(pickFrames(times, 0.05, { start: 0.2 }), [4, 5, 6, 7, 8, 9]);
  assert.equal(pickFrames(times, 0.05, { fps: 10, start: 0.25, maxFrames: 2 }), [5, 7]);
  assert.equal(pickFrames(times, 0.05, { start: 3 }), []);
  assert.equal(pickFrames([], 0.05, { fps: 5 }), []);
});

test.run();
