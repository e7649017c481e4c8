/** What lies in a folder, or stands in a JSONL file: media files and the words for them. Nothing is opened but captions. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { HunyuanError } from "../../runtime/errors.js";
import { captionsBeside, captionsIn, textsOf } from "./captions.js";
import { reasonOf } from "./skipped.js";

/** One video or picture with its words. */
export interface Sample {
  /** Its path below the data set, with "/": the same wherever the data set lies. */
  readonly id: string;
  readonly path: string;
  /** Different words for the same; one is drawn each time. Empty: there are none. */
  readonly captions: readonly string[];
}

/** What is no sample, and why. */
export interface Skipped {
  readonly id: string;
  readonly reason: string;
}

export interface FoundSamples {
  /** Absolute. */
  readonly root: string;
  /** By id. */
  readonly samples: readonly Sample[];
  readonly skipped: readonly Skipped[];
}

const mediaName = /\.(mp4|m4v|mov|webm|mkv|avi|gif|webp|png|jpe?g|avif|tiff?)$/i;
const frameName = /^frame-\d{5,}\.(png|jpe?g|webp)$/i;
const listName = "metadata.jsonl";
const filesAtOnce = 16;

/**
 * The samples of a data set:
 * - a folder, looked through with all folders in it: each video and picture, with its caption in a file of the same name
 *   ending in .txt (one caption) or .json (`caption` or `captions`, text or a list); a folder of frame-00000.png … is a clip;
 * - a folder that holds a metadata.jsonl: what is listed there;
 * - a JSONL file: a line each, `file` (or file_name, video, image, path; relative to the list) and `caption` (or captions,
 *   text, prompt).
 *
 * @throws FILE_ERROR when there is no such folder or file; what is wrong inside is skipped and listed
 */
export async function findSamples(source: string): Promise<FoundSamples> {
  const path = resolve(source);
  try {
    if (!(await stat(path)).isDirectory()) return await readList(path);
    const list = join(path, listName);
    if ((await stat(list).catch(() => undefined))?.isFile()) return await readList(list);
    return await readTree(path);
  } catch (error) {
    throw new HunyuanError("FILE_ERROR", `openDataset: ${path}: ${reasonOf(error)}`, { op: "openDataset", file: path });
  }
}

const byId = (a: { readonly id: string }, b: { readonly id: string }) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

async function readTree(root: string): Promise<FoundSamples> {
  const files = await mediaBelow(root);
  const samples: Sample[] = [];
  const skipped: Skipped[] = [];
  for (let i = 0; i < files.length; i += filesAtOnce) {
    const some = files.slice(i, i + filesAtOnce).map(async (path) => {
      const id = relative(root, path).split(sep).join("/");
      try {
        samples.push({ id, path, captions: await captionsBeside(path) });
      } catch (error) {
        skipped.push({ id, reason: reasonOf(error) });
      }
    });
    await Promise.all(some);
  }
  return { root, samples: samples.sort(byId), skipped: skipped.sort(byId) };
}

/** Files, and folders that are clips. */
async function mediaBelow(root: string): Promise<string[]> {
  const found: string[] = [];
  const waiting = [root];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    const entries = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !name.startsWith("."));
    const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    if (folder !== root && files.length > 0 && files.every((name) => frameName.test(name))) {
      found.push(folder);
      continue;
    }
    for (const name of files) if (mediaName.test(name)) found.push(join(folder, name));
    for (const entry of entries) if (entry.isDirectory()) waiting.push(join(folder, entry.name));
  }
  return found;
}

const fileKeys = ["file", "file_name", "video", "image", "path", "media"] as const;

async function readList(file: string): Promise<FoundSamples> {
  const root = dirname(file);
  const lines = (await readFile(file, "utf8")).split("\n");
  const samples = new Map<string, Sample>();
  const skipped: Skipped[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    try {
      const sample = await sampleOfLine(root, line);
      if (samples.has(sample.id)) throw new Error(`${sample.id} stands on another line too`);
      samples.set(sample.id, sample);
    } catch (error) {
      skipped.push({ id: `${basename(file)}:${i + 1}`, reason: reasonOf(error) });
    }
  }
  return { root, samples: [...samples.values()].sort(byId), skipped };
}

async function sampleOfLine(root: string, line: string): Promise<Sample> {
  const value: unknown = JSON.parse(line);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("is not a JSON object");
  const record = value as Readonly<Record<string, unknown>>;
  const key = fileKeys.find((name) => typeof record[name] === "string" && record[name] !== "");
  if (key === undefined) throw new Error(`names no file: expected one of ${fileKeys.join(", ")}`);
  const name = String(record[key]);
  const path = isAbsolute(name) ? name : join(root, name);
  const inside = relative(root, path).split(sep).join("/");
  const captions = textsOf(captionsIn(record));
  const beside = captions.length > 0 || extname(path) === "" ? captions : await captionsBeside(path);
  return { id: inside.startsWith("../") ? path : inside, path, captions: beside };
}
