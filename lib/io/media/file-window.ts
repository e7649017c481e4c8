/** Small reads from a file at rising places, without a call of the system for each. */
import type { FileHandle } from "node:fs/promises";

const windowBytes = 64 * 1024;

export class FileWindow {
  readonly #file: FileHandle;
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;
  readonly size: number;

  private constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  static async open(file: FileHandle): Promise<FileWindow> {
    return new FileWindow(file, (await file.stat()).size);
  }

  /** Fewer bytes at the file's end. They are only lent: the next call may move the window. */
  async read(start: number, length: number): Promise<Buffer> {
    const inside = start >= this.#start && start + length <= this.#start + this.#bytes.length;
    if (!inside) {
      const bytes = Buffer.alloc(Math.max(length, Math.min(windowBytes, Math.max(0, this.size - start))));
      const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, start);
      this.#bytes = bytes.subarray(0, bytesRead);
      this.#start = start;
    }
    return this.#bytes.subarray(start - this.#start, start - this.#start + length);
  }
}
