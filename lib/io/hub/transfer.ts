/** One file into the cache: goes on where an earlier try broke off, and is only accepted with the right size and sum. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { isHunyuanError } from "../../runtime/errors.js";
import { fileError } from "../failure.js";
import { sizeOf } from "./cache.js";
import { downloadFailed, networkFailure, noSpace, type Subject } from "./failure.js";
import { aborted, type HubSession, pause, request, silenceMs, throwIfAborted } from "./request.js";

export interface RemoteFile {
  readonly url: string;
  readonly size: number;
  /** Hex, where the hub knows it (files in LFS). */
  readonly sha256: string | undefined;
}

/** An unfinished file is named as Python's hub names it, which goes on with it too. */
export const partialOf = (blob: string) => `${blob}.incomplete`;

/**
 * Downloads to `blob` unless it is there.
 *
 * @param onBytes called with how many bytes of the file are on disk
 * @throws DOWNLOAD_FAILED, FILE_ERROR, ABORTED; what has arrived is kept
 */
export async function fetchFile(
  session: HubSession,
  subject: Subject,
  file: RemoteFile,
  blob: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  if ((await sizeOf(blob)) === file.size) return onBytes(file.size);
  await mkdir(dirname(blob), { recursive: true });
  const partial = partialOf(blob);
  // A sum that is wrong may come of a damaged beginning: once more from the start, then it is the hub's file that is wrong.
  for (const last of [false, true]) {
    const seen = await fetchWhole(session, subject, file, partial, onBytes);
    if (file.sha256 === undefined || seen === file.sha256) {
      await rename(partial, blob);
      return;
    }
    await rm(partial, { force: true });
    if (!last) continue;
    const message = `its sha256 is ${seen}, expected ${file.sha256}; it was downloaded twice and thrown away`;
    throw downloadFailed(subject, `${message}. A proxy or the mirror may have changed it`);
  }
}

/** Tries until all bytes are there; a try that brought some of them does not count. Answers the sha256. */
async function fetchWhole(
  session: HubSession,
  subject: Subject,
  file: RemoteFile,
  partial: string,
  onBytes: (bytes: number) => void,
): Promise<string> {
  let tried = 0;
  let have = (await sizeOf(partial)) ?? 0;
  if (have > file.size) {
    await rm(partial, { force: true });
    have = 0;
  }
  let hash = await hashOf(partial, have, session);
  while (have < file.size) {
    const before = have;
    try {
      const headers = have > 0 ? { range: `bytes=${have}-` } : {};
      const response = await request(session, subject, file.url, { headers, accepts: [416] });
      // No ranges here, or none that begins so late: all of it from the start.
      if (have > 0 && response.status !== 206) {
        have = 0;
        hash = createHash("sha256");
        await rm(partial, { force: true });
      } else checkRange(subject, response, have);
      if (response.status === 416) throw new Error("the range that was asked for is not there");
      have = await append(session, subject, { response, partial, have, hash, size: file.size, onBytes });
    } catch (error) {
      throwIfAborted(session);
      if (isHunyuanError(error)) throw error;
      have = (await sizeOf(partial)) ?? 0;
      hash = await hashOf(partial, have, session);
      tried = have > before ? 1 : tried + 1;
      if (tried >= session.tries) throw networkFailure(subject, error);
      await pause(session, tried);
    }
  }
  if (have === 0) await (await open(partial, "w")).close();
  return hash.digest("hex");
}

/** @throws DOWNLOAD_FAILED when a part of the file came that was not asked for */
function checkRange(subject: Subject, response: Response, have: number): void {
  const range = response.headers.get("content-range");
  if (response.status !== 206 || range === null) return;
  const start = /^bytes (\d+)-/.exec(range)?.[1];
  if (start !== undefined && Number(start) === have) return;
  throw downloadFailed(subject, `asked for bytes from ${have} on, "${range}" came`, { status: response.status });
}

interface Append {
  readonly response: Response;
  readonly partial: string;
  readonly have: number;
  readonly hash: Hash;
  readonly size: number;
  readonly onBytes: (bytes: number) => void;
}

/** Writes what comes behind what is there; answers how many bytes there are then. */
async function append(session: HubSession, subject: Subject, job: Append): Promise<number> {
  const { response, partial, hash, size, onBytes } = job;
  const output = await open(partial, job.have === 0 ? "w" : "a").catch((error: unknown) => {
    throw fileError("download", partial, error);
  });
  let have = job.have;
  try {
    const body = response.body as AsyncIterable<Uint8Array> | null;
    for await (const chunk of chunksOf(body, session)) {
      if (have + chunk.byteLength > size) throw downloadFailed(subject, `is longer than the ${size} bytes announced`);
      await writeAll(output.write.bind(output), chunk).catch((error: unknown) => {
        if (/ENOSPC|EDQUOT/.test(String(error))) throw noSpace(subject.repo, dirname(partial), size - have, undefined);
        throw fileError("download", partial, error);
      });
      hash.update(chunk);
      have += chunk.byteLength;
      onBytes(have);
    }
  } finally {
    await output.close();
  }
  if (have < size) throw new Error(`the connection ended after ${have} of ${size} bytes`);
  return have;
}

async function writeAll(
  write: (bytes: Uint8Array, offset: number) => Promise<{ bytesWritten: number }>,
  bytes: Uint8Array,
): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) done += (await write(bytes, done)).bytesWritten;
}

/** The chunks of a body; an error when none comes for too long, for a dead connection says nothing. */
async function* chunksOf(
  body: AsyncIterable<Uint8Array> | null,
  { signal }: HubSession,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await withinTime(chunks.next(), signal);
      if (done) return;
      yield value;
    }
  } finally {
    // Not awaited: a connection that has gone silent would keep us.
    chunks.return?.().catch(() => {});
  }
}

async function withinTime<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const cut = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${silenceMs / 1000} s`)), silenceMs);
    onAbort = () => reject(signal === undefined ? new Error("aborted") : aborted(signal));
  });
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, cut]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    work.catch(() => {});
  }
}

/** The hash of the first bytes of a file, open for more. */
async function hashOf(path: string, bytes: number, session: HubSession): Promise<Hash> {
  const hash = createHash("sha256");
  if (bytes === 0) return hash;
  for await (const chunk of createReadStream(path, { end: bytes - 1 })) {
    throwIfAborted(session);
    hash.update(chunk as Buffer);
  }
  return hash;
}
