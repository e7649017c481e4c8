/** Which kind of file a name asks for, and which kind some bytes are. */
import { open, stat } from "node:fs/promises";
import { extname } from "node:path";
import { checkOneOf, invalid } from "../../runtime/check.js";
import { fileError, mediaInvalid } from "./abort.js";

/**
 * What clips are written as:
 * - `mp4` H.264, `webm` AV1 (both need node-av or ffmpeg); `gif` and `webp` always work;
 * - `png` and `jpg` for one frame; `frames` is a folder of PNG files; `sheet` is one picture with frames in a grid.
 */
export const mediaFormats = ["mp4", "webm", "gif", "webp", "png", "jpg", "frames", "sheet"] as const;
export type MediaFormat = (typeof mediaFormats)[number];

const byExtension: Readonly<Record<string, MediaFormat>> = {
  ".mp4": "mp4",
  ".m4v": "mp4",
  ".webm": "webm",
  ".gif": "gif",
  ".webp": "webp",
  ".png": "png",
  ".jpg": "jpg",
  ".jpeg": "jpg",
  "": "frames",
};

/**
 * The format that a path's extension stands for, or the one asked for.
 *
 * @throws INVALID_ARGUMENT for an extension or format that is not known
 */
export function formatOf(op: string, path: string, format?: MediaFormat): MediaFormat {
  if (format !== undefined) {
    checkOneOf(op, "format", format, mediaFormats);
    return format;
  }
  const found = byExtension[extname(path).toLowerCase()];
  if (found !== undefined) return found;
  throw invalid(
    op,
    "path",
    path,
    "a name ending in .mp4, .webm, .gif, .webp, .png or .jpg, or a folder's; or set format",
  );
}

/** Still pictures' formats that sharp writes; `sheet` takes the one its path ends in. */
export type PictureFormat = "png" | "jpg" | "webp";

export function pictureFormatOf(op: string, path: string): PictureFormat {
  const found = byExtension[extname(path).toLowerCase()];
  if (found === "png" || found === "jpg" || found === "webp") return found;
  throw invalid(op, "path", path, "a name ending in .png, .jpg or .webp");
}

export type MediaKind = "mp4" | "webm" | "avi" | "gif" | "webp" | "png" | "jpg" | "picture";

const pictureBrands = /^(avif|avis|heic|heix|mif1|msf1)$/;
const mp4Boxes = /^(ftyp|moov|mdat|free|skip|wide)$/;

/** What bytes are by their first ones, whatever their name says; undefined when none of the kinds that are read. */
export function kindOf(head: Uint8Array): MediaKind | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 16));
  const at = (from: number, to: number) => bytes.toString("latin1", from, to);
  if (at(0, 4) === "GIF8") return "gif";
  if (at(0, 8) === "\x89PNG\r\n\x1a\n") return "png";
  if (at(0, 3) === "\xff\xd8\xff") return "jpg";
  if (at(0, 4) === "\x1a\x45\xdf\xa3") return "webm";
  if (at(0, 4) === "RIFF" && at(8, 12) === "WEBP") return "webp";
  if (at(0, 4) === "RIFF" && at(8, 12) === "AVI ") return "avi";
  if (at(4, 8) === "ftyp" && pictureBrands.test(at(8, 12))) return "picture";
  if (mp4Boxes.test(at(4, 8))) return "mp4";
  if (/^(II\*\0|MM\0\*)/.test(at(0, 4))) return "picture";
  return undefined;
}

/**
 * The kind of a file, or "folder".
 *
 * @throws FILE_ERROR, MEDIA_INVALID when it is none that is read
 */
export async function kindOfFile(op: string, path: string): Promise<MediaKind | "folder"> {
  const head = new Uint8Array(16);
  let length = 0;
  try {
    if ((await stat(path)).isDirectory()) return "folder";
    await using file = await open(path, "r");
    length = (await file.read(head, 0, head.length, 0)).bytesRead;
  } catch (cause) {
    throw fileError(op, path, cause);
  }
  const kind = kindOf(head.subarray(0, length));
  if (kind !== undefined) return kind;
  const expected = "expected mp4, mov, webm, mkv, avi, gif, webp, png, jpeg, avif or tiff";
  throw mediaInvalid(path, length === 0 ? "is empty" : `is no video or picture that is read here; ${expected}`);
}
