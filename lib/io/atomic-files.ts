/** Files that appear whole or not at all: written under another name, then renamed. */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { fileError } from "./failure.js";

/** Several files that belong together. Nothing stands under its name before `commit`, nothing is left after `discard`. */
export class AtomicFiles {
  readonly #op: string;
  readonly #files: { readonly path: string; readonly temporary: string }[] = [];

  constructor(op: string) {
    this.#op = op;
  }

  /** Writes one more file: `write` gets a function that appends bytes. @throws FILE_ERROR (no such folder, disk full) */
  async add(path: string, write: (append: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
    const temporary = `${path}.${randomBytes(6).toString("hex")}.part`;
    const handle = await this.#try(path, () => open(temporary, "wx"));
    this.#files.push({ path, temporary });
    try {
      await write((bytes) => this.#try(path, () => appendAll(handle, bytes)));
      await this.#try(path, () => handle.sync());
    } finally {
      await handle.close();
    }
  }

  /** Gives the files their names, in the order in which they were added. */
  async commit(): Promise<void> {
    for (const { path, temporary } of this.#files) await this.#try(path, () => rename(temporary, path));
    this.#files.length = 0;
  }

  /** Removes what has not been committed. */
  async discard(): Promise<void> {
    await Promise.allSettled(this.#files.map(({ temporary }) => rm(temporary, { force: true })));
    this.#files.length = 0;
  }

  async #try<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileError(this.#op, path, error);
    }
  }
}

async function appendAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) done += (await handle.write(bytes, done)).bytesWritten;
}
