/** A file open for reading pieces of it. Nothing is read that was not asked for. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { HunyuanError } from "../runtime/errors.js";
import { fileError, invalidCheckpoint } from "./failure.js";

export class FileReader {
  /** Absolute. */
  readonly path: string;
  /** In bytes, when it was opened. */
  readonly size: number;
  readonly #handle: FileHandle;

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
  }

  /** @throws FILE_ERROR for what is missing, forbidden, or no regular file (opening a pipe would wait for its writer) */
  static async open(file: string): Promise<FileReader> {
    const path = resolve(file);
    let handle: FileHandle | undefined;
    try {
      if (!(await stat(path)).isFile()) {
        throw new HunyuanError("FILE_ERROR", `open: ${path} is not a regular file`, { op: "open", file: path });
      }
      handle = await open(path, "r");
      return new FileReader(path, (await handle.stat()).size, handle);
    } catch (error) {
      await handle?.close();
      throw fileError("open", path, error);
    }
  }

  /**
   * @param what said of bytes that are not there
   * @throws CHECKPOINT_INVALID when the file ends before; FILE_ERROR
   */
  async read(offset: number, bytes: number, what: string): Promise<Buffer> {
    const into = Buffer.allocUnsafe(bytes);
    let done = 0;
    while (done < bytes) {
      const got = await this.#read(into, done, bytes - done, offset + done);
      if (got === 0) {
        throw invalidCheckpoint(
          this.path,
          `the file ends at byte ${offset + done}, but ${what} reaches to byte ${offset + bytes}; it is cut off, copy or download it again`,
        );
      }
      done += got;
    }
    return into;
  }

  async #read(into: Buffer, at: number, bytes: number, offset: number): Promise<number> {
    try {
      return (await this.#handle.read(into, at, bytes, offset)).bytesRead;
    } catch (error) {
      throw fileError("read", this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Opens a file for as long as `fn` runs. */
export async function withFile<T>(file: string, fn: (reader: FileReader) => Promise<T>): Promise<T> {
  const reader = await FileReader.open(file);
  try {
    return await fn(reader);
  } finally {
    await reader.close();
  }
}
