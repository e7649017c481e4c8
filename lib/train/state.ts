/**
 * Saved states of a run: everything that later steps depend on, in a folder. A state is a safetensors file and a manifest
 * that is written after it; each appears whole or not at all, so a process may die at any moment. A state that has been
 * damaged since is found by its checksums, and the one before takes its place.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { AtomicFiles } from "../io/atomic-files.js";
import { openCheckpoint } from "../io/checkpoint.js";
import { fileError, invalidCheckpoint } from "../io/failure.js";
import { withFile } from "../io/file-reader.js";
import { chunkBytes, type TensorData, tensorChunks, writeSafetensors } from "../io/safetensors-write.js";
import type { Checkpoint, TensorEntry } from "../io/tensor-file.js";
import { checkNumber } from "../runtime/check.js";
import { HunyuanError, isHunyuanError } from "../runtime/errors.js";
import { fileTensor } from "../tensor/file.js";
import { sameShape, showShape } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { type Manifest, manifestBytes, readManifest } from "./state-manifest.js";
import type { JsonValue, StateParts } from "./stateful.js";

const op = "StateFolder";
const nameOf = (step: number): string => `step-${String(step).padStart(9, "0")}`;
const tensorFile = /^step-\d{9,}\.safetensors$/;
const manifestFile = /^step-\d{9,}\.json$/;
/** What a killed process may leave behind: files that had not got their names yet. */
const unfinished = /^step-\d{9,}\.(safetensors|json)\.[0-9a-f]{12}\.part$/;

export interface StateFolderOptions {
  /** How many of the newest states stay, besides the best. Default 3. */
  readonly keepLast?: number | undefined;
}

export interface SaveStateOptions {
  /** Steps that have been made. */
  readonly step: number;
  /** Validation loss at this very step: the state with the least is kept however old it is. */
  readonly validation?: number | undefined;
}

/** What was resumed from. */
export interface RestoredState {
  readonly step: number;
  /** The manifest. */
  readonly path: string;
  /** Newer states that were passed over, and why. */
  readonly damaged: readonly string[];
}

/**
 * @example
 * const states = new StateFolder("runs/demo/states");
 * const restored = await states.restore(parts); // undefined: nothing saved yet
 * await states.save(parts, { step: 1000 });
 */
export class StateFolder {
  readonly folder: string;
  readonly #keepLast: number;

  /** @throws INVALID_ARGUMENT */
  constructor(folder: string, { keepLast = 3 }: StateFolderOptions = {}) {
    checkNumber(op, "keepLast", keepLast, { whole: true, min: 1 });
    this.folder = resolve(folder);
    this.#keepLast = keepLast;
  }

  /**
   * Saves the parts, then removes states that are neither among the last nor the best.
   *
   * @returns the manifest's path
   * @throws FILE_ERROR; then the states saved before are all there
   */
  async save(parts: StateParts, { step, validation }: SaveStateOptions): Promise<string> {
    checkNumber(op, "step", step, { whole: true, min: 0 });
    await mkdir(this.folder, { recursive: true }).catch((error) => Promise.reject(fileError(op, this.folder, error)));
    const path = join(this.folder, nameOf(step));
    const data: Record<string, JsonValue> = {};
    for (const [name, part] of Object.entries(parts)) data[name] = part.data();
    const tensors: Record<string, string> = {};
    const contents = [...tensorsOf(parts)].map(([name, tensor]) => hashed(name, tensor, tensors));
    // A manifest of the same step would vouch for tensors that are about to be replaced.
    await rm(`${path}.json`, { force: true });
    await writeSafetensors(`${path}.safetensors`, contents, { shardBytes: Number.POSITIVE_INFINITY });
    const manifest: Manifest = { step, ...(validation === undefined ? {} : { validation }), tensors, data };
    await writeManifest(`${path}.json`, manifest);
    await syncFolder(this.folder);
    await this.#prune(step);
    return `${path}.json`;
  }

  /**
   * Puts back the newest state that is whole. Parts must be built as they were when it was saved.
   *
   * @returns what was restored, with the reason for each newer state that was passed over; undefined when none was saved
   * @throws CHECKPOINT_INVALID when every saved state is damaged, or was saved for other parts (another configuration)
   */
  async restore(parts: StateParts): Promise<RestoredState | undefined> {
    const names = (await this.#list(manifestFile)).reverse();
    const damaged: string[] = [];
    for (const name of names) {
      const path = join(this.folder, name);
      try {
        const manifest = await readManifest(path);
        const checkpoint = await openCheckpoint(path.replace(/json$/, "safetensors"));
        await checkSums(checkpoint, manifest);
        await restoreParts(parts, manifest, checkpoint, path);
        return { step: manifest.step, path, damaged };
      } catch (error) {
        if (!isHunyuanError(error) || isMismatch(error)) throw error;
        damaged.push(error.message);
      }
    }
    if (damaged.length === 0) return undefined;
    const message = `${this.folder}: all ${damaged.length} saved states are damaged; the newest: ${damaged[0]}. Move the folder away to start anew`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: this.folder });
  }

  async #list(pattern: RegExp): Promise<string[]> {
    const names = await readdir(this.folder).catch((error) =>
      error.code === "ENOENT" ? [] : Promise.reject(fileError(op, this.folder, error)),
    );
    return names.filter((name) => pattern.test(name)).sort(byStep);
  }

  /** @param newest what has just been saved: of later steps there are only states that were passed over as damaged */
  async #prune(newest: number): Promise<void> {
    const all = await this.#list(manifestFile);
    const names = all.filter((name) => stepOf(name) <= newest);
    const keep = new Set(names.slice(-this.#keepLast));
    let least = Number.POSITIVE_INFINITY;
    let best: string | undefined;
    for (const name of names) {
      // A damaged one is nobody's best; it goes when its turn comes.
      const { validation = least } = await readManifest(join(this.folder, name)).catch(() => ({ validation: least }));
      if (validation < least) [least, best] = [validation, name];
    }
    if (best !== undefined) keep.add(best);
    const gone = all.filter((name) => !keep.has(name));
    const whole = new Set([...keep].map((name) => name.replace(/json$/, "safetensors")));
    const orphans = (await this.#list(tensorFile)).filter((name) => !whole.has(name));
    for (const name of [...gone, ...orphans, ...(await this.#list(unfinished))]) {
      await rm(join(this.folder, name), { force: true });
    }
  }
}

const stepOf = (name: string): number => Number.parseInt(name.slice(5), 10);
const byStep = (a: string, b: string): number => stepOf(a) - stepOf(b);

function* tensorsOf(parts: StateParts): Generator<readonly [string, Tensor]> {
  for (const [part, stateful] of Object.entries(parts)) {
    for (const [name, tensor] of stateful.tensors()) yield [`${part}/${name}`, tensor];
  }
}

/** A tensor to write, whose checksum is known when its last byte has been read. */
function hashed(name: string, tensor: Tensor, sums: Record<string, string>): TensorData {
  const { dtype, shape } = tensor;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const hash = createHash("sha256");
    for await (const chunk of tensorChunks(tensor, undefined)) {
      hash.update(chunk);
      yield chunk;
    }
    sums[name] = hash.digest("hex");
  }
  return { name, dtype, shape, chunks };
}

async function writeManifest(path: string, manifest: Manifest): Promise<void> {
  const files = new AtomicFiles(op);
  try {
    await files.add(path, (append) => append(manifestBytes(manifest)));
    await files.commit();
  } finally {
    await files.discard();
  }
}

/** So that the new names outlive a power cut. Some systems cannot; there the files' own bytes are all that is sure. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

async function checkSums({ entries, source }: Checkpoint, { tensors }: Manifest): Promise<void> {
  await withFile(source, async (reader) => {
    for (const [name, { offset, bytes }] of entries) {
      const hash = createHash("sha256");
      for (let at = 0; at < bytes; at += chunkBytes) {
        hash.update(await reader.read(offset + at, Math.min(chunkBytes, bytes - at), name));
      }
      if (hash.digest("hex") !== tensors[name]) throw invalidCheckpoint(source, "its bytes have changed since", name);
    }
  });
}

async function restoreParts(
  parts: StateParts,
  { data }: Manifest,
  { entries, source }: Checkpoint,
  path: string,
): Promise<void> {
  const wanted = new Map(tensorsOf(parts));
  const extra = [...entries.keys()].find((name) => !wanted.has(name));
  if (extra !== undefined) throw mismatch(source, `holds ${extra}, which this run does not have`, extra);
  for (const [name, tensor] of wanted) checkFits(source, name, tensor, entries.get(name));
  for (const name of Object.keys(parts)) {
    if (!Object.hasOwn(data, name)) throw mismatch(path, `holds no ${name}`, name);
  }
  for (const [name, tensor] of wanted) {
    const { offset, bytes } = entries.get(name) as TensorEntry;
    fileTensor(tensor.device, tensor.dtype, tensor.shape, [{ file: source, offset, bytes }], {
      label: name,
      into: tensor,
    });
  }
  for (const device of new Set([...wanted.values()].map((tensor) => tensor.device))) await device.sync();
  for (const [name, part] of Object.entries(parts)) part.restore(data[name] as JsonValue);
}

function checkFits(source: string, name: string, tensor: Tensor, entry: TensorEntry | undefined): void {
  if (entry === undefined) throw mismatch(source, `holds no ${name}`, name);
  if (entry.dtype === tensor.dtype && sameShape(entry.shape, tensor.shape)) return;
  const seen = `${entry.dtype} ${showShape(entry.shape)}`;
  throw mismatch(source, `${name} is ${seen}, expected ${tensor.dtype} ${showShape(tensor.shape)}`, name);
}

/** Errors that an older state would give too. */
const mismatches = new WeakSet<HunyuanError>();
const isMismatch = (error: HunyuanError): boolean => mismatches.has(error);

function mismatch(file: string, what: string, key: string): HunyuanError<"CHECKPOINT_INVALID"> {
  const message = `${file}: ${what}: it was saved with another configuration; resume with that one, or use another folder`;
  const error = new HunyuanError("CHECKPOINT_INVALID", message, { file, key });
  mismatches.add(error);
  return error;
}
