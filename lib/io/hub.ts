/**
 * Models from the Hugging Face hub, through @huggingface/hub where it does the job (what a revision is, which files it
 * has) and by our own hand where it does not: broken downloads go on where they stopped, sums are checked, failures that
 * may pass are tried again, and the cache is used without a network.
 */
import { resolve } from "node:path";
import { invalid } from "../runtime/check.js";
import { isHunyuanError } from "../runtime/errors.js";
import { fileError } from "./failure.js";
import { freeBytes, isRepoName, RepoCache, sizeOf } from "./hub/cache.js";
import { downloadFailed, noSpace, type Subject } from "./hub/failure.js";
import { exclusively } from "./hub/lock.js";
import { hubCacheFolder, hubEndpoint, hubIsOffline, hubToken } from "./hub/places.js";
import { type HubSession, request, throwIfAborted } from "./hub/request.js";
import { neededFiles } from "./hub/selection.js";
import { fetchFile, partialOf } from "./hub/transfer.js";

export { isRepoName } from "./hub/cache.js";
export { hubCacheFolder } from "./hub/places.js";

export interface DownloadProgress {
  readonly repo: string;
  /** The commit that the revision stands at. */
  readonly commit: string;
  /** Of all files; those that were there already count as done. */
  readonly totalBytes: number;
  readonly doneBytes: number;
  readonly totalFiles: number;
  readonly doneFiles: number;
  /** The file that moved on. Not there in the first call, which comes before anything is downloaded. */
  readonly file?: { readonly path: string; readonly bytes: number; readonly doneBytes: number };
}

export interface DownloadOptions {
  /** Branch, tag or commit. Default "main". */
  readonly revision?: string | undefined;
  /** Default: HF_TOKEN, else what `hf auth login` left. */
  readonly token?: string | undefined;
  /** The folder of `models--owner--name`. Default: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub. */
  readonly cacheDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Which files to download, by their paths. Default: weights once, tokenizers and configurations. */
  readonly include?: ((path: string) => boolean) | undefined;
  /** Tries in a row that bring nothing (default 5), and milliseconds before the second (default 500; doubled each time). */
  readonly retry?: { readonly tries?: number; readonly firstDelayMs?: number } | undefined;
}

interface Listed {
  readonly path: string;
  readonly size: number;
  /** Names the blob: the sha256 of files in LFS, else git's. */
  readonly sum: string;
  readonly sha256: string | undefined;
}

/** Files on their way at the same time: one connection seldom fills a line. */
const filesAtOnce = 4;
/** Between two calls of `onProgress` for bytes that came. */
const progressEveryMs = 100;

/**
 * Downloads a model, or what of it is not in the cache yet, and answers the local folder with its files. The cache is the
 * one of huggingface_hub, so that what Python has downloaded is used. Honours HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT
 * and HF_HUB_OFFLINE; where the hub cannot be reached, what the cache holds of the revision is used.
 *
 * @throws DOWNLOAD_FAILED with the status and what to do: no such model, a licence to accept, no room, wrong sums
 * @throws FILE_ERROR, ABORTED; what has arrived is kept, and the next call goes on from there
 * @example await downloadModel("hunyuanvideo-community/HunyuanVideo", { onProgress: ({ doneBytes, totalBytes }) => {} })
 */
export async function downloadModel(id: string, options: DownloadOptions = {}): Promise<string> {
  const { repo, revision } = parseHubId(id, options.revision);
  const cache = new RepoCache(resolve(options.cacheDir ?? hubCacheFolder()), repo);
  if (hubIsOffline()) return await fromCache(cache, revision, "HF_HUB_OFFLINE is set");
  const { tries = 5, firstDelayMs = 500 } = options.retry ?? {};
  const token = options.token ?? (await hubToken());
  const session: HubSession = { endpoint: hubEndpoint(), token, signal: options.signal, tries, firstDelayMs };
  const subject: Subject = { repo, revision, endpoint: session.endpoint };
  let commit: string;
  try {
    commit = await understood(subject, commitOf(session, subject));
  } catch (error) {
    // Without an answer, or with none but "later": what is there is better than nothing.
    const status = isHunyuanError(error, "DOWNLOAD_FAILED") ? error.details.status : 0;
    if (status !== undefined && status < 500) throw error;
    const cached = await cachedSnapshot(cache, revision);
    if (cached === undefined) throw error;
    return cached;
  }
  const files = chosen(subject, await understood(subject, listed(session, subject, commit)), options.include);
  try {
    await fetchAll(session, { subject, cache, commit, files, onProgress: options.onProgress });
    await cache.saveRef(revision, commit);
  } catch (error) {
    throw fileError("download", cache.folder, error);
  }
  return cache.snapshot(commit);
}

/**
 * "owner/name" or "owner/name@revision".
 *
 * @throws INVALID_ARGUMENT
 */
export function parseHubId(id: string, revision?: string): { readonly repo: string; readonly revision: string } {
  const [repo = "", behind, ...more] = String(id).split("@");
  if (!isRepoName(repo) || more.length > 0 || behind === "") {
    throw invalid("downloadModel", "id", id, 'a model on the hub: "owner/name" or "owner/name@revision"');
  }
  return { repo, revision: revision ?? behind ?? "main" };
}

async function cachedSnapshot(cache: RepoCache, revision: string): Promise<string | undefined> {
  const commit = await cache.commitOf(revision);
  if (commit === undefined) return undefined;
  const folder = cache.snapshot(commit);
  return (await sizeOf(folder)) === undefined ? undefined : folder;
}

async function fromCache(cache: RepoCache, revision: string, why: string): Promise<string> {
  const found = await cachedSnapshot(cache, revision);
  if (found !== undefined) return found;
  const message = `${why}, and revision "${revision}" is not in the cache (${cache.folder}); download it once with a network`;
  throw downloadFailed({ repo: cache.repo }, message);
}

/** Answers that the library could not read are the hub's fault, not a bug here. */
async function understood<T>(subject: Subject, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    if (isHunyuanError(cause)) throw cause;
    const message = `${subject.endpoint} does not answer as a hub does (${cause instanceof Error ? cause.message : cause})`;
    throw downloadFailed(subject, `${message}; check HF_ENDPOINT`, { cause });
  }
}

/** The library's own requests, made with our patience and our token. */
function fetchFor(session: HubSession, subject: Subject): typeof fetch {
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    return await request(session, subject, url, init?.headers === undefined ? {} : { headers: init.headers });
  };
}

async function commitOf(session: HubSession, subject: Subject): Promise<string> {
  const { modelInfo } = await import("@huggingface/hub");
  const { sha } = await modelInfo({
    name: subject.repo,
    revision: subject.revision,
    additionalFields: ["sha"],
    hubUrl: session.endpoint,
    fetch: fetchFor(session, subject),
  });
  if (typeof sha === "string" && sha !== "") return sha;
  throw downloadFailed(subject, `${session.endpoint} did not say which commit revision "${subject.revision}" is`);
}

async function listed(session: HubSession, subject: Subject, commit: string): Promise<Listed[]> {
  const { listFiles } = await import("@huggingface/hub");
  const found: Listed[] = [];
  const listing = listFiles({
    repo: { type: "model", name: subject.repo },
    revision: commit,
    recursive: true,
    hubUrl: session.endpoint,
    fetch: fetchFor(session, subject),
  });
  for await (const { type, path, size, oid, lfs } of listing) {
    if (type !== "file") continue;
    const sum = lfs?.oid ?? oid;
    if (sum === undefined) throw downloadFailed({ ...subject, file: path }, "the hub's listing gives it no id");
    found.push({ path, size: lfs?.size ?? size, sum, sha256: lfs?.oid });
  }
  return found;
}

function chosen(subject: Subject, files: readonly Listed[], include: DownloadOptions["include"]): Listed[] {
  const wanted = new Set(
    include === undefined
      ? neededFiles(files.map(({ path }) => path))
      : files.map(({ path }) => path).filter((path) => include(path)),
  );
  const found = files.filter(({ path }) => wanted.has(path));
  if (found.length > 0) return found;
  throw downloadFailed(subject, `none of its ${files.length} files are of a model that is read here`);
}

interface Fetching {
  readonly subject: Subject;
  readonly cache: RepoCache;
  readonly commit: string;
  readonly files: readonly Listed[];
  readonly onProgress: DownloadOptions["onProgress"];
}

async function fetchAll(session: HubSession, job: Fetching): Promise<void> {
  const { subject, cache, commit, files } = job;
  const progress = new ProgressCount(job);
  await progress.start();
  await checkRoom(cache, files, progress.missingBytes);
  // When one file fails the others stop: what they have is kept.
  const stop = new AbortController();
  const onAbort = () => stop.abort(session.signal?.reason);
  session.signal?.addEventListener("abort", onAbort, { once: true });
  const own = { ...session, signal: stop.signal };
  const waiting = [...files];
  const failures: unknown[] = [];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined && !stop.signal.aborted; file = waiting.shift()) {
      try {
        await fetchOne(own, { ...subject, file: file.path }, cache, commit, file, progress);
      } catch (error) {
        failures.push(error);
        stop.abort(error);
      }
    }
  };
  try {
    throwIfAborted(session);
    await Promise.all(Array.from({ length: filesAtOnce }, worker));
    throwIfAborted(session);
  } finally {
    session.signal?.removeEventListener("abort", onAbort);
  }
  if (failures.length > 0) throw failures[0];
}

async function fetchOne(
  session: HubSession,
  subject: Subject,
  cache: RepoCache,
  commit: string,
  { path, size, sum, sha256 }: Listed,
  progress: ProgressCount,
): Promise<void> {
  const link = cache.pathIn(commit, path);
  if ((await sizeOf(link)) !== size) {
    const blob = cache.blob(sum);
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const url = `${session.endpoint}/${subject.repo}/resolve/${encodeURIComponent(commit)}/${encoded}`;
    await exclusively(blob, session, () =>
      fetchFile(session, subject, { url, size, sha256 }, blob, (bytes) => progress.moved(path, bytes)),
    );
    await cache.link(commit, path, sum);
  }
  progress.finished(path, size);
}

/** @throws DOWNLOAD_FAILED when less is free than is still to come */
async function checkRoom(cache: RepoCache, files: readonly Listed[], missing: number): Promise<void> {
  const free = await freeBytes(cache.folder);
  if (files.length === 0 || free === undefined || missing <= free) return;
  throw noSpace(cache.repo, cache.folder, missing, free);
}

/** What is done of each file, told on at a bearable pace. */
class ProgressCount {
  readonly #job: Fetching;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #done = new Map<string, number>();
  #doneFiles = 0;
  #told = 0;

  constructor(job: Fetching) {
    this.#job = job;
    this.#sizes = new Map(job.files.map(({ path, size }) => [path, size]));
  }

  /** Counts what is there, and tells the sizes before anything is downloaded. */
  async start(): Promise<void> {
    const { cache, commit, files } = this.#job;
    for (const { path, size, sum } of files) {
      const blob = cache.blob(sum);
      const there = [await sizeOf(cache.pathIn(commit, path)), await sizeOf(blob)].includes(size);
      this.#done.set(path, there ? size : Math.min(size, (await sizeOf(partialOf(blob))) ?? 0));
    }
    this.#tell();
  }

  get missingBytes(): number {
    return this.#total() - this.#sum();
  }

  moved(path: string, bytes: number): void {
    this.#done.set(path, bytes);
    if (performance.now() - this.#told >= progressEveryMs) this.#tell(path);
  }

  finished(path: string, size: number): void {
    this.#done.set(path, size);
    this.#doneFiles++;
    this.#tell(path);
  }

  #total(): number {
    return this.#job.files.reduce((sum, { size }) => sum + size, 0);
  }

  #sum(): number {
    return [...this.#done.values()].reduce((a, b) => a + b, 0);
  }

  #tell(path?: string): void {
    this.#told = performance.now();
    const { subject, commit, files, onProgress } = this.#job;
    const file =
      path === undefined
        ? {}
        : { file: { path, bytes: this.#sizes.get(path) ?? 0, doneBytes: this.#done.get(path) ?? 0 } };
    onProgress?.({
      repo: subject.repo,
      commit,
      totalBytes: this.#total(),
      doneBytes: this.#sum(),
      totalFiles: files.length,
      doneFiles: this.#doneFiles,
      ...file,
    });
  }
}
