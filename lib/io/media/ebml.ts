/** The tags of a webm or mkv file (RFC 8794, RFC 9559): names and texts. Clusters are stepped over, not read. */
import type { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { mediaInvalid } from "./abort.js";
import { FileWindow } from "./file-window.js";
import { maxReadBytes } from "./metadata.js";

const ids = { ebml: 0x1a45dfa3, segment: 0x18538067, cluster: 0x1f43b675, tags: 0x1254c367 } as const;
const tagIds = { tag: 0x7373, simpleTag: 0x67c8, tagName: 0x45a3, tagString: 0x4487 } as const;
const maxElements = 100_000;
const maxDepth = 4;

interface Element {
  readonly id: number;
  /** Header's bytes. */
  readonly header: number;
  /** Contents' bytes; undefined: unknown, up to the next element of the same level. */
  readonly length: number | undefined;
}

/**
 * Texts of the file's tags by name; the first of each name.
 *
 * @throws MEDIA_INVALID when an element reaches past the file's end, as in a file that was cut off
 */
export async function readWebmTags(path: string, file: FileHandle): Promise<Map<string, string>> {
  const window = await FileWindow.open(file);
  const { size } = window;
  const tags = new Map<string, string>();
  const head = await elementAt(path, window, 0, size);
  let at = head.header + (head.length ?? 0);
  const segment = await elementAt(path, window, at, size);
  if (head.id !== ids.ebml || segment.id !== ids.segment)
    throw mediaInvalid(path, "has no segment: it is no webm file");
  at += segment.header;
  const end = segment.length === undefined ? size : at + segment.length;
  for (let count = 0; at < end; count++) {
    if (count >= maxElements) throw mediaInvalid(path, `has more than ${maxElements} elements in its segment`);
    const element = await elementAt(path, window, at, end);
    // A live recording's cluster of unknown length: what follows can only be found by reading all of it.
    if (element.length === undefined) break;
    if (element.id === ids.tags && element.length <= maxReadBytes) {
      collectTags(path, await window.read(at + element.header, element.length), tags, 0);
    }
    at += element.header + element.length;
  }
  return tags;
}

async function elementAt(path: string, file: FileWindow, at: number, end: number): Promise<Element> {
  const head = await file.read(at, Math.min(12, Math.max(0, end - at)));
  return checkedElement(path, head, end - at, at);
}

function checkedElement(path: string, head: Buffer, left: number, at: number): Element {
  const element = parseElement(head);
  if (element !== undefined && element.header + (element.length ?? 0) <= left) return element;
  throw mediaInvalid(path, `an element at byte ${at} reaches past the end: the file was cut off`);
}

/** Id (with its marker bits) and length (without) as EBML writes numbers. */
function parseElement(bytes: Buffer): Element | undefined {
  const idBytes = Math.clz32(bytes[0] ?? 0) - 23;
  if (idBytes > 4 || bytes.length <= idBytes) return undefined;
  const lengthBytes = Math.clz32(bytes[idBytes] ?? 0) - 23;
  if (lengthBytes > 8 || bytes.length < idBytes + lengthBytes) return undefined;
  let length = (bytes[idBytes] ?? 0) & (0xff >> lengthBytes);
  let unknown = length === 0xff >> lengthBytes;
  for (let i = 1; i < lengthBytes; i++) {
    const byte = bytes[idBytes + i] ?? 0;
    unknown &&= byte === 0xff;
    length = length * 256 + byte;
  }
  return { id: bytes.readUIntBE(0, idBytes), header: idBytes + lengthBytes, length: unknown ? undefined : length };
}

function collectTags(path: string, bytes: Buffer, tags: Map<string, string>, depth: number): void {
  let name: string | undefined;
  let text: string | undefined;
  for (let at = 0; at < bytes.length; ) {
    const { id, header, length = 0 } = checkedElement(path, bytes.subarray(at, at + 12), bytes.length - at, at);
    const contents = bytes.subarray(at + header, at + header + length);
    if (id === tagIds.tagName) name = contents.toString("utf8");
    if (id === tagIds.tagString) text = contents.toString("utf8");
    if ((id === tagIds.tag || id === tagIds.simpleTag) && depth < maxDepth)
      collectTags(path, contents, tags, depth + 1);
    at += header + length;
  }
  if (name !== undefined && text !== undefined && !tags.has(name)) tags.set(name, text);
}
