/** Files that are there whole or not at all: written under another name beside the target, then renamed. */
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { HunyuanError } from "../../runtime/errors.js";
import { fileError } from "./abort.js";

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
}

/**
 * Calls `write` with the name of a file to make, and gives that file the name `path` when all went well. Otherwise
 * nothing is left behind, and what was at `path` stays.
 *
 * @throws FILE_ERROR, and whatever `write` rejects with
 */
export async function writeAtomically(
  op: string,
  path: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await write(temporary);
    await flush(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true, recursive: true }).catch(() => undefined);
    throw fileError(op, path, error);
  }
}

async function flush(path: string): Promise<void> {
  await using file = await open(path, "r+");
  await file.sync();
}

/** What `write` puts into the file that it is given the name of. The file is in the system's temporary folder. */
export async function writeToBuffer(op: string, write: (temporary: string) => Promise<void>): Promise<Buffer> {
  let folder: string | undefined;
  try {
    folder = await mkdtemp(join(tmpdir(), "hunyuan-media-"));
    const path = join(folder, "clip");
    await write(path);
    return await readFile(path);
  } catch (error) {
    throw fileError(op, folder ?? tmpdir(), error);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * The same for a folder of files. A folder that is there already is replaced if it is empty or `ours` is true for
 * every name in it.
 *
 * @throws FILE_ERROR when the folder holds anything else
 */
export async function writeFolderAtomically(
  op: string,
  path: string,
  ours: (name: string) => boolean,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  const before = temporaryName(path);
  try {
    const there = await namesIn(path);
    const foreign = there?.find((name) => !ours(name));
    if (foreign !== undefined) {
      const message = `${op}: ${path} holds ${foreign}, which is no frame; give a folder that is new, empty or holds frames only`;
      throw new HunyuanError("FILE_ERROR", message, { op, file: path });
    }
    await mkdir(temporary, { recursive: true });
    await write(temporary);
    if (there !== undefined) await rename(path, before);
    try {
      await rename(temporary, path);
    } catch (error) {
      if (there !== undefined) await rename(before, path);
      throw error;
    }
    await rm(before, { force: true, recursive: true });
  } catch (error) {
    await rm(temporary, { force: true, recursive: true }).catch(() => undefined);
    throw fileError(op, path, error);
  }
}

/** Undefined when there is no such folder. */
async function namesIn(path: string): Promise<string[] | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? undefined : readdir(path);
}
