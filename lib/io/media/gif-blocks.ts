/** The blocks of a GIF89a file: XMP is put in and found as an application extension (XMP specification, part 3). */
import { Buffer } from "node:buffer";
import { mediaInvalid } from "./abort.js";
import { maxReadBytes } from "./metadata.js";

const xmpName = "XMP DataXMP";
const extension = 0x21;
const application = 0xff;
const imageDescriptor = 0x2c;
const trailer = 0x3b;

/**
 * 258 bytes after the text: 0x01, then 0xff down to 0x00, then 0x00. A reader that takes the text for sub-blocks jumps
 * somewhere into them, and from there each byte leads to the final zero.
 */
const magicTrailer = Buffer.from([1, ...Array.from({ length: 256 }, (_, i) => 255 - i), 0]);

/** The file with an XMP packet in it, before its trailer. */
export function withXmp(gif: Buffer, xmp: string): Buffer {
  const head = Buffer.from([extension, application, xmpName.length, ...Buffer.from(xmpName, "latin1")]);
  const end = gif[gif.length - 1] === trailer ? gif.length - 1 : gif.length;
  return Buffer.concat([gif.subarray(0, end), head, Buffer.from(xmp, "utf8"), magicTrailer, Buffer.from([trailer])]);
}

/**
 * Walks the whole file: the XMP packet, if there is one, and how many frames there are.
 *
 * @throws MEDIA_INVALID when a block reaches past the end, as in a file that was cut off
 */
export function readGif(gif: Uint8Array, path: string | undefined): { xmp?: string; numFrames: number } {
  const cutOff = () => mediaInvalid(path, "ends in the middle of a block: the file was cut off");
  const byte = (at: number): number => {
    const value = gif[at];
    if (value === undefined) throw cutOff();
    return value;
  };
  const colours = (flags: number) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  const found: { xmp?: string; numFrames: number } = { numFrames: 0 };
  let at = 13 + colours(byte(10));
  while (at < gif.length) {
    const kind = byte(at);
    if (kind === trailer) return found;
    if (kind === extension && byte(at + 1) === application && isXmp(gif, at)) {
      const start = at + 3 + xmpName.length;
      const end = Buffer.from(gif.buffer, gif.byteOffset, gif.length).indexOf(magicTrailer, start);
      if (end < 0) throw cutOff();
      if (end - start <= maxReadBytes) found.xmp ??= Buffer.from(gif.subarray(start, end)).toString("utf8");
      at = end + magicTrailer.length;
      continue;
    }
    if (kind === extension) at += 2;
    else if (kind === imageDescriptor) {
      // The descriptor, its own colours, and the byte that says how many bits a code has.
      at += 11 + colours(byte(at + 9));
      found.numFrames++;
    } else throw mediaInvalid(path, `has a block of unknown kind ${kind} at byte ${at}`);
    while (byte(at) !== 0) at += 1 + byte(at);
    at++;
  }
  // Some writers leave the trailer out; what was cut between two blocks looks the same.
  return found;
}

function isXmp(gif: Uint8Array, at: number): boolean {
  return gif[at + 2] === xmpName.length && Buffer.from(gif.subarray(at + 3, at + 14)).toString("latin1") === xmpName;
}
