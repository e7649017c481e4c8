/** What is known of a media file: size, length, rate and a hash of its content. Remembered on disk, by size and date. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { appendFile, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readVideo } from "../../io/media/read.js";
import { HunyuanError } from "../../runtime/errors.js";

/** Size and length of a video or picture. */
export interface MediaFacts {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** 1 for pictures. */
  readonly numFrames: number;
  readonly fps: number;
  /** Of the file, or of all files of a folder of frames. */
  readonly bytes: number;
}

interface Remembered {
  readonly path: string;
  /** Bytes and date of change: a file that has other ones is looked at anew. */
  readonly stamp: string;
  readonly facts?: MediaFacts;
  readonly hash?: string;
}

/** Frames that a clip has at a rate, as `readVideo` gives them. */
export function framesAt({ numFrames, fps }: MediaFacts, rate: number): number {
  if (numFrames === 1) return 1;
  return Math.max(1, Math.ceil((numFrames / fps - Math.min(6e-4, 1 / fps / 4)) * rate - 1e-9));
}

/** Facts of files, each found out once. */
export class FactsStore {
  readonly #file: string | undefined;
  readonly #known: Map<string, Remembered>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: string | undefined, known: Map<string, Remembered>) {
    this.#file = file;
    this.#known = known;
  }

  /** @param folder where to remember; undefined: only while this lives */
  static async open(folder: string | undefined): Promise<FactsStore> {
    const known = new Map<string, Remembered>();
    if (folder === undefined) return new FactsStore(undefined, known);
    const file = join(folder, "files.jsonl");
    const text = await readFile(file, "utf8").catch(() => "");
    for (const line of text.split("\n")) {
      const one = parseLine(line);
      if (one !== undefined) known.set(one.path, one);
    }
    return new FactsStore(file, known);
  }

  /** @throws MEDIA_INVALID, FILE_ERROR, DECODER_MISSING, ABORTED */
  async facts(path: string, signal?: AbortSignal): Promise<MediaFacts> {
    const { stamp, bytes } = await stampOf(path);
    const known = this.#known.get(path);
    if (known?.stamp === stamp && known.facts !== undefined) return known.facts;
    const { width, height, numFrames, fps } = await readVideo(path, { signal });
    const facts = { width, height, numFrames, fps, bytes };
    await this.#remember({ ...(known?.stamp === stamp ? known : {}), path, stamp, facts });
    return facts;
  }

  /** SHA-256 of the file's bytes, or of the names and bytes of a folder's files. @throws FILE_ERROR */
  async hash(path: string): Promise<string> {
    const { stamp } = await stampOf(path);
    const known = this.#known.get(path);
    if (known?.stamp === stamp && known.hash !== undefined) return known.hash;
    const hash = await hashOf(path);
    await this.#remember({ ...(known?.stamp === stamp ? known : {}), path, stamp, hash });
    return hash;
  }

  #remember(one: Remembered): Promise<void> {
    this.#known.set(one.path, one);
    const file = this.#file;
    if (file === undefined) return Promise.resolve();
    // One after the other; a folder that cannot be written to costs time at the next start, nothing else.
    this.#writing = this.#writing.then(async () => {
      await mkdir(dirname(file), { recursive: true });
      await appendFile(file, `\n${JSON.stringify(one)}`);
    });
    this.#writing = this.#writing.catch(() => undefined);
    return this.#writing;
  }
}

/** A line that a process was killed in is none. */
function parseLine(line: string): Remembered | undefined {
  if (line === "") return undefined;
  try {
    const one = JSON.parse(line) as Partial<Remembered>;
    return typeof one.path === "string" && typeof one.stamp === "string" ? (one as Remembered) : undefined;
  } catch {
    return undefined;
  }
}

async function stampOf(path: string): Promise<{ readonly stamp: string; readonly bytes: number }> {
  try {
    const found = await stat(path, { bigint: true });
    if (!found.isDirectory()) return { stamp: `${found.size} ${found.mtimeNs}`, bytes: Number(found.size) };
    const parts = await Promise.all(
      (await filesOf(path)).map(async (name) => stat(join(path, name), { bigint: true })),
    );
    const bytes = parts.reduce((sum, { size }) => sum + Number(size), 0);
    const text = parts.map(({ size, mtimeNs }) => `${size} ${mtimeNs}`).join();
    return { stamp: createHash("sha256").update(text).digest("hex"), bytes };
  } catch (cause) {
    throw fileError(path, cause);
  }
}

async function filesOf(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => !name.startsWith(".")).sort();
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    const isFolder = (await stat(path)).isDirectory();
    for (const name of isFolder ? await filesOf(path) : [""]) {
      hash.update(name);
      for await (const part of createReadStream(join(path, name))) hash.update(part as Buffer);
    }
  } catch (cause) {
    throw fileError(path, cause);
  }
  return hash.digest("hex");
}

function fileError(file: string, cause: unknown): HunyuanError<"FILE_ERROR"> {
  const message = `openDataset: ${file}: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new HunyuanError("FILE_ERROR", message, { op: "openDataset", file }, { cause });
}
