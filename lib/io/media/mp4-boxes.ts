/**
 * The boxes of an mp4 file (ISO 14496-12), as far as metadata needs them: the `uuid` box that holds XMP, and the
 * comment in `moov/udta/meta/ilst`. Nothing is read but headers and those two, and each length is checked.
 */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { mediaInvalid } from "./abort.js";
import { FileWindow } from "./file-window.js";
import { maxReadBytes } from "./metadata.js";

/** XMP specification, part 3: BE7ACFCB-97A9-42E8-9C71-999491E3AFAC. */
const xmpUuid = Buffer.from("be7acfcb97a942e89c71999491e3afac", "hex");
const maxBoxes = 10_000;

interface Box {
  readonly type: string;
  /** First byte of the contents. */
  readonly start: number;
  readonly end: number;
}

export interface Mp4Texts {
  readonly xmp?: string | undefined;
  readonly comment?: string | undefined;
}

/** A box of XMP, to append to an mp4 file. */
export function xmpBox(xmp: string): Buffer {
  const text = Buffer.from(xmp, "utf8");
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + xmpUuid.length + text.length);
  head.write("uuid", 4, "latin1");
  return Buffer.concat([head, xmpUuid, text]);
}

/**
 * XMP and comment of an open mp4 file.
 *
 * @throws MEDIA_INVALID when a box reaches past the file's end, as in a file that was cut off
 */
export async function readMp4Texts(path: string, file: FileHandle): Promise<Mp4Texts> {
  const bytes = await FileWindow.open(file);
  const found: { xmp?: string | undefined; comment?: string | undefined } = {};
  const boxes = await boxesOf(path, bytes, 0, bytes.size);
  if (!boxes.some(({ type }) => type === "moov")) {
    throw mediaInvalid(path, "has no moov box: the file was cut off, or was never finished");
  }
  for (const box of boxes) {
    if (box.type === "uuid" && found.xmp === undefined) found.xmp = await readXmp(bytes, box);
    if (box.type === "moov") found.comment = await readComment(path, bytes, box);
  }
  return found;
}

async function boxesOf(path: string, file: FileWindow, from: number, to: number): Promise<Box[]> {
  const boxes: Box[] = [];
  for (let at = from; to - at >= 8; ) {
    if (boxes.length >= maxBoxes) throw mediaInvalid(path, `has more than ${maxBoxes} boxes in one place`);
    const head = await file.read(at, 16);
    if (head.length < 8) throw mediaInvalid(path, "ended before its boxes did: the file was cut off");
    const type = head.toString("latin1", 4, 8);
    let length = head.readUInt32BE(0);
    let header = 8;
    // Four zero bytes end a udta box in QuickTime files.
    if (length === 0 && from > 0) break;
    if (length === 0) length = to - at;
    if (length === 1) {
      length = head.length < 16 ? 0 : Number(head.readBigUInt64BE(8));
      header = 16;
    }
    if (length < header || length > to - at) {
      throw mediaInvalid(
        path,
        `box "${type}" at byte ${at} has ${length} bytes, ${to - at} are left: the file was cut off`,
      );
    }
    boxes.push({ type, start: at + header, end: at + length });
    at += length;
  }
  return boxes;
}

async function readXmp(file: FileWindow, box: Box): Promise<string | undefined> {
  const length = box.end - box.start;
  if (length < 16 || length > maxReadBytes) return undefined;
  const bytes = await file.read(box.start, length);
  return bytes.subarray(0, 16).equals(xmpUuid) ? bytes.toString("utf8", 16) : undefined;
}

async function readComment(path: string, file: FileWindow, moov: Box): Promise<string | undefined> {
  let inside: Box | undefined = moov;
  for (const type of ["udta", "meta", "ilst", "©cmt", "data"]) {
    // `meta` starts with four bytes of version and flags.
    const start: number = inside.start + (inside.type === "meta" ? 4 : 0);
    inside = (await boxesOf(path, file, start, inside.end)).find((box) => box.type === type);
    if (inside === undefined) return undefined;
  }
  // `data` starts with its type and a locale.
  const length = inside.end - inside.start - 8;
  if (length < 0 || length > maxReadBytes) return undefined;
  return (await file.read(inside.start + 8, length)).toString("utf8");
}
