/** Metadata out of every format that is written here. Needs neither node-av nor ffmpeg, and decodes no picture. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { isHunyuanError } from "../../runtime/errors.js";
import { fileError, mediaInvalid, reason } from "./abort.js";
import { readWebmTags } from "./ebml.js";
import { kindOfFile, type MediaKind } from "./format.js";
import { maxPixels } from "./frames.js";
import { readGif } from "./gif-blocks.js";
import { type FoundMetadata, isGenerated, parseMetadata } from "./metadata.js";
import { readMp4Texts } from "./mp4-boxes.js";
import { isFrameName } from "./picture.js";
import { fromXmp } from "./xmp.js";

const op = "readMetadata";
/** Pictures and animations are read whole. */
const maxPictureBytes = 2 ** 30;

/**
 * What a file says of how it was made: mp4, webm, gif, webp, png, jpg, or a folder of frames (by its first). Of files by
 * others, what is in the IPTC's and Adobe's fields. Undefined when it says nothing.
 *
 * @throws MEDIA_INVALID when it is no such file, or was cut off; FILE_ERROR
 * @example
 * const { prompt, seed, settings } = (await readMetadata("cat.mp4")) ?? {};
 */
export async function readMetadata(path: string): Promise<FoundMetadata | undefined> {
  const kind = await kindOfFile(op, path);
  try {
    if (kind !== "folder") return await readKind(path, kind);
    const first = (await readdir(path)).filter(isFrameName).sort()[0];
    return first === undefined ? undefined : await readMetadata(join(path, first));
  } catch (cause) {
    throw fileError(op, path, cause);
  }
}

async function readKind(path: string, kind: MediaKind): Promise<FoundMetadata | undefined> {
  if (kind === "mp4") {
    await using file = await open(path, "r");
    const { xmp, comment } = await readMp4Texts(path, file);
    // Programs that copy the streams into a new mp4 keep the comment and drop the XMP.
    return (
      (xmp === undefined ? undefined : fromXmp(xmp)) ?? (comment === undefined ? undefined : parseMetadata(comment))
    );
  }
  if (kind === "webm") {
    await using file = await open(path, "r");
    return fromTags(await readWebmTags(path, file));
  }
  if (kind === "avi") return undefined;
  if (kind === "gif") {
    const { xmp } = readGif(await readWhole(path), path);
    return xmp === undefined ? undefined : fromXmp(xmp);
  }
  return readPictureXmp(path);
}

function fromTags(tags: ReadonlyMap<string, string>): FoundMetadata | undefined {
  const comment = tags.get("COMMENT");
  const ours = comment === undefined ? undefined : parseMetadata(comment);
  const digitalSourceType = tags.get("DIGITAL_SOURCE_TYPE");
  if (ours !== undefined || digitalSourceType === undefined) return ours;
  const prompt = tags.get("DESCRIPTION");
  return { digitalSourceType, ...(prompt === undefined ? {} : { prompt }), generated: isGenerated(digitalSourceType) };
}

async function readWhole(path: string): Promise<Buffer> {
  const { size } = await stat(path);
  if (size <= maxPictureBytes) return readFile(path);
  throw mediaInvalid(path, `has ${size} bytes, expected at most ${maxPictureBytes}`);
}

async function readPictureXmp(path: string): Promise<FoundMetadata | undefined> {
  try {
    // Bytes, not the path: sharp remembers files by their name, and this one may just have been written anew.
    const { xmp } = await sharp(await readWhole(path), { limitInputPixels: maxPixels }).metadata();
    return xmp === undefined ? undefined : fromXmp(xmp.toString("utf8"));
  } catch (cause) {
    if (isHunyuanError(cause)) throw cause;
    throw mediaInvalid(path, `is no picture that can be read: ${reason(cause)}`, { cause });
  }
}
