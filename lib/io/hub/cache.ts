/**
 * The cache of huggingface_hub: `models--owner--name` with `blobs/<sum>`, `snapshots/<commit>/<path>` as links to blobs,
 * and `refs/<revision>`, which holds the commit. What Python has downloaded is found here, and the other way round.
 */
import { copyFile, lstat, mkdir, readFile, rename, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { downloadFailed } from "./failure.js";

const commitName = /^[0-9a-f]{40}$/;
const blobName = /^[\w.-]{1,128}$/;
const repoName = /^[\w.-]{1,96}\/[\w.-]{1,96}$/;

/** Whether this can be a model on the hub: "owner/name". */
export function isRepoName(id: string): boolean {
  return repoName.test(id) && !id.split("/").some((part) => /^\.+$/.test(part));
}

export class RepoCache {
  readonly repo: string;
  /** The folder `models--owner--name`. */
  readonly folder: string;

  constructor(cacheDir: string, repo: string) {
    this.repo = repo;
    this.folder = join(cacheDir, `models--${repo.replace("/", "--")}`);
  }

  /** The commit that a revision stood at when it was last asked for; a commit stands for itself. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (commitName.test(revision)) return revision;
    const text = await readFile(this.#ref(revision), "utf8").catch(() => undefined);
    return text !== undefined && blobName.test(text.trim()) ? text.trim() : undefined;
  }

  async saveRef(revision: string, commit: string): Promise<void> {
    // A cache that is complete may be read-only.
    if ((await this.commitOf(revision)) === commit) return;
    const file = this.#ref(revision);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(`${file}.new`, commit);
    await rename(`${file}.new`, file);
  }

  snapshot(commit: string): string {
    if (!blobName.test(commit)) throw this.#unsafe("commit", commit);
    return join(this.folder, "snapshots", commit);
  }

  /** Where a blob lies, by the sum that names it. */
  blob(sum: string): string {
    if (!blobName.test(sum) || /^\.+$/.test(sum)) throw this.#unsafe("file id", sum);
    return join(this.folder, "blobs", sum);
  }

  /** The path of a file within a snapshot. The name comes from outside, so it must stay inside. */
  pathIn(commit: string, path: string): string {
    const parts = path.split("/");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: such characters are what must not be there
    if (parts.some((part) => part === "" || part === "." || part === "..") || /[\\\x00-\x1f]/.test(path)) {
      throw this.#unsafe("file name", path);
    }
    return join(this.snapshot(commit), ...parts);
  }

  /** Makes the snapshot's file a link to its blob. */
  async link(commit: string, path: string, sum: string): Promise<void> {
    const [link, blob] = [this.pathIn(commit, path), this.blob(sum)];
    await mkdir(dirname(link), { recursive: true });
    await rm(link, { force: true });
    try {
      await symlink(relative(dirname(link), blob), link);
    } catch (error) {
      if (await exists(link)) return;
      // Some file systems have no links.
      if (!/EPERM|ENOTSUP|ENOSYS/.test(String(error))) throw error;
      await copyFile(blob, link);
    }
  }

  #ref(revision: string): string {
    const parts = revision.split("/");
    if (parts.some((part) => !blobName.test(part) || /^\.+$/.test(part))) throw this.#unsafe("revision", revision);
    return join(this.folder, "refs", ...parts);
  }

  #unsafe(what: string, value: string) {
    return downloadFailed({ repo: this.repo }, `the ${what} ${JSON.stringify(value)} cannot be the name of a file`);
  }
}

/** The size of what a path leads to; undefined where there is nothing, also at the end of a broken link. */
export async function sizeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    (found) => found.size,
    () => undefined,
  );
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}

/** Bytes that may still be written where that folder is, or will be. */
export async function freeBytes(folder: string): Promise<number | undefined> {
  for (let at = folder; ; at = dirname(at)) {
    const found = await statfs(at).catch(() => undefined);
    if (found !== undefined) return found.bavail * found.bsize;
    if (dirname(at) === at) return undefined;
  }
}
