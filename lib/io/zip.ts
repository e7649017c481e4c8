/**
 * The directory of a zip archive (PKWARE APPNOTE 6.3), for archives whose files are stored as they are. Compressed files
 * are refused, so nothing can be larger than the archive itself.
 */
import { invalidCheckpoint } from "./failure.js";
import type { FileReader } from "./file-reader.js";

export interface ZipEntry {
  readonly name: string;
  /** Of the entry's own header, which stands before its data. */
  readonly header: number;
  readonly bytes: number;
}

export interface ZipDirectory {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** Where the directory begins: all data lies before. */
  readonly end: number;
}

/** A model has a few thousand tensors, each a file of the archive. */
const maxEntries = 8192;
const maxDirectoryBytes = 4 * 2 ** 20;

const endSignature = 0x06054b50;
const endBytes = 22;
const locatorSignature = 0x07064b50;
const locatorBytes = 20;
const end64Signature = 0x06064b50;
const end64Bytes = 56;
const centralSignature = 0x02014b50;
const centralBytes = 46;
const localSignature = 0x04034b50;
const localBytes = 30;
const zip64Extra = 0x0001;
const full16 = 0xffff;
const full32 = 0xffffffff;

interface DirectoryPlace {
  readonly offset: number;
  readonly bytes: number;
  readonly count: number;
}

/** @throws CHECKPOINT_INVALID naming the file, and the entry where it is about one */
export async function readZipDirectory(reader: FileReader): Promise<ZipDirectory> {
  const { offset, bytes, count } = await findDirectory(reader);
  if (count > maxEntries || bytes > maxDirectoryBytes) {
    throw invalidCheckpoint(
      reader.path,
      `a zip directory of ${count} files in ${bytes} bytes, at most ${maxEntries} are read`,
    );
  }
  const directory = await reader.read(offset, bytes, "the zip directory");
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { entry, next } = readCentral(reader, directory, at, offset);
    if (entries.has(entry.name)) throw invalidCheckpoint(reader.path, "stands in the zip directory twice", entry.name);
    entries.set(entry.name, entry);
    at = next;
  }
  checkOverlaps(reader, entries);
  return { entries, end: offset };
}

async function findDirectory(reader: FileReader): Promise<DirectoryPlace> {
  const { size, path } = reader;
  if (size < endBytes) throw invalidCheckpoint(path, "too short for a zip archive");
  const start = Math.max(0, size - endBytes - full16);
  const tail = await reader.read(start, size - start, "the end of the zip directory");
  let at = tail.length - endBytes;
  // The record ends with a comment of its own length, up to the file's end.
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === endSignature && at + endBytes + tail.readUInt16LE(at + 20) === tail.length)
  )
    at--;
  if (at < 0) throw invalidCheckpoint(path, "no zip directory at its end; it is cut off, copy or download it again");
  let place: DirectoryPlace = {
    count: tail.readUInt16LE(at + 10),
    bytes: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  let end = start + at;
  const disks = tail.readUInt16LE(at + 4) | tail.readUInt16LE(at + 6);
  if (place.count === full16 || place.bytes === full32 || place.offset === full32) {
    const found = await findDirectory64(reader, end);
    place = found.place;
    end = found.end;
  } else if (disks !== 0) throw invalidCheckpoint(path, "a zip archive in several parts is not read");
  if (place.offset + place.bytes > end) {
    throw invalidCheckpoint(
      path,
      `the zip directory reaches to byte ${place.offset + place.bytes}, past its end at ${end}`,
    );
  }
  return place;
}

async function findDirectory64(reader: FileReader, end: number): Promise<{ place: DirectoryPlace; end: number }> {
  const { path } = reader;
  const refuse = () => invalidCheckpoint(path, "the zip64 directory's end is malformed");
  if (end < locatorBytes) throw refuse();
  const locator = await reader.read(end - locatorBytes, locatorBytes, "the zip64 locator");
  const at = wide(locator, 8);
  if (locator.readUInt32LE(0) !== locatorSignature || !(at + end64Bytes <= end - locatorBytes)) throw refuse();
  const record = await reader.read(at, end64Bytes, "the zip64 directory's end");
  if (record.readUInt32LE(0) !== end64Signature) throw refuse();
  return { place: { count: wide(record, 32), bytes: wide(record, 40), offset: wide(record, 48) }, end: at };
}

/** 64 bits as a number; what a number cannot hold exactly is larger than any file, and fails the checks that follow. */
function wide(from: Buffer, at: number): number {
  return Number(from.readBigUInt64LE(at));
}

function readCentral(
  reader: FileReader,
  directory: Buffer,
  at: number,
  end: number,
): { readonly entry: ZipEntry; readonly next: number } {
  const { path } = reader;
  const cut = () => invalidCheckpoint(path, "the zip directory is malformed or cut off");
  if (at + centralBytes > directory.length || directory.readUInt32LE(at) !== centralSignature) throw cut();
  const nameEnd = at + centralBytes + directory.readUInt16LE(at + 28);
  const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
  const next = extraEnd + directory.readUInt16LE(at + 32);
  if (next > directory.length) throw cut();
  const name = directory.toString("utf8", at + centralBytes, nameEnd);
  if ((directory.readUInt16LE(at + 8) & 1) !== 0) throw invalidCheckpoint(path, "is encrypted", name);
  const sizes = readSizes(directory, at, nameEnd, extraEnd);
  if (sizes === undefined) throw invalidCheckpoint(path, "its zip64 sizes are missing", name);
  const { packed, bytes, header } = sizes;
  if (directory.readUInt16LE(at + 10) !== 0 || packed !== bytes) {
    throw invalidCheckpoint(
      path,
      "is compressed in the archive, which torch.save never does; it is not unpacked",
      name,
    );
  }
  if (!(header + localBytes + bytes <= end)) {
    throw invalidCheckpoint(path, `its ${bytes} bytes from byte ${header} on reach into the zip directory`, name);
  }
  return { entry: { name, header, bytes }, next };
}

/** Sizes and place, from the zip64 field where the 32-bit ones are full. */
function readSizes(directory: Buffer, at: number, nameEnd: number, extraEnd: number) {
  const sizes = {
    bytes: directory.readUInt32LE(at + 24),
    packed: directory.readUInt32LE(at + 20),
    header: directory.readUInt32LE(at + 42),
  };
  const missing = (["bytes", "packed", "header"] as const).filter((name) => sizes[name] === full32);
  if (missing.length === 0) return sizes;
  for (let field = nameEnd; field + 4 <= extraEnd; ) {
    const end = field + 4 + directory.readUInt16LE(field + 2);
    if (directory.readUInt16LE(field) === zip64Extra) {
      if (end > extraEnd || field + 4 + 8 * missing.length > end) return undefined;
      missing.forEach((name, i) => {
        sizes[name] = wide(directory, field + 4 + 8 * i);
      });
      return sizes;
    }
    field = end;
  }
  return undefined;
}

function checkOverlaps(reader: FileReader, entries: ReadonlyMap<string, ZipEntry>): void {
  let end = 0;
  for (const { name, header, bytes } of [...entries.values()].sort((a, b) => a.header - b.header)) {
    if (header < end) throw invalidCheckpoint(reader.path, "overlaps the file before it in the archive", name);
    end = header + localBytes + bytes;
  }
}

/**
 * The first byte of an entry's data, which only its own header tells.
 *
 * @throws CHECKPOINT_INVALID
 */
export async function locateZipEntry(reader: FileReader, entry: ZipEntry, end: number): Promise<number> {
  const { name, header, bytes } = entry;
  const local = await reader.read(header, localBytes, "a file's zip header");
  const nameBytes = local.readUInt16LE(26);
  const data = header + localBytes + nameBytes + local.readUInt16LE(28);
  if (local.readUInt32LE(0) !== localSignature || local.readUInt16LE(8) !== 0 || data + bytes > end) {
    throw invalidCheckpoint(reader.path, "its zip header does not fit the directory", name);
  }
  return data;
}
