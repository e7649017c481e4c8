/**
 * A hub in miniature: revisions, file listings in pages, files with ETag and ranges, those of LFS behind a redirect to
 * another origin. It can be told to misbehave.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubFile {
  readonly content: Buffer;
  readonly lfs: boolean;
  /** In place of the right one. */
  readonly sha256?: string;
}

export interface Misbehaviour {
  /** Cuts the connection after so many bytes of the path's body, `times` times. */
  breakOff?: { readonly path: string; readonly afterBytes: number; times: number };
  /** Every file whole, whatever range was asked for. */
  noRanges?: boolean;
  /** Answers to the next requests of all kinds. */
  statuses?: number[];
  /** Answer for the model, with the hub's own error code. */
  refusal?: { readonly status: number; readonly code?: string };
  /** Bytes of bodies come so slowly: one chunk each time. */
  chunkDelayMs?: number;
}

export interface SeenRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly host: "hub" | "cdn";
}

export const commit = "0123456789abcdef0123456789abcdef01234567";

const sum = (name: "sha256" | "sha1", ...parts: readonly (Buffer | string)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash(name)).digest("hex");
const gitSum = (content: Buffer) => sum("sha1", `blob ${content.length}\0`, content);
const lfsSum = ({ content, sha256 }: HubFile) => sha256 ?? sum("sha256", content);

export class HubServer {
  readonly files: ReadonlyMap<string, HubFile>;
  readonly seen: SeenRequest[] = [];
  readonly misbehaviour: Misbehaviour = {};
  readonly #repo: string;
  readonly #hub: Server;
  readonly #cdn: Server;

  constructor(repo: string, files: ReadonlyMap<string, HubFile>) {
    this.#repo = repo;
    this.files = files;
    this.#hub = createServer((request, response) => void this.#answer("hub", request, response));
    this.#cdn = createServer((request, response) => void this.#answer("cdn", request, response));
  }

  async start(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    }
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get cdn(): string {
    return `http://127.0.0.1:${(this.#cdn.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    }
  }

  async #answer(host: "hub" | "cdn", request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.endpoint);
    const { range, authorization } = request.headers;
    this.seen.push({ path: url.pathname, range, authorization, host });
    const status = this.misbehaviour.statuses?.shift();
    if (status !== undefined) return void response.writeHead(status, { "retry-after": "0" }).end();
    if (host === "cdn") return await this.#body(decodeURIComponent(url.pathname.slice(1)), request, response);
    if (url.pathname.startsWith(`/api/models/${this.#repo}/`)) return this.#api(url, response);
    const resolve = `/${this.#repo}/resolve/${commit}/`;
    const path = decodeURIComponent(url.pathname.slice(resolve.length));
    const file = url.pathname.startsWith(resolve) ? this.files.get(path) : undefined;
    if (file === undefined) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
    if (!file.lfs) return await this.#body(path, request, response);
    response.writeHead(302, {
      location: `${this.cdn}/${encodeURIComponent(path)}`,
      "x-linked-etag": `"${lfsSum(file)}"`,
      "x-linked-size": file.content.length,
      "x-repo-commit": commit,
    });
    response.end();
  }

  #api(url: URL, response: ServerResponse): void {
    const { refusal } = this.misbehaviour;
    const json = (body: unknown, headers = {}) =>
      void response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    if (refusal !== undefined) {
      const headers = refusal.code === undefined ? {} : { "x-error-code": refusal.code };
      return void response.writeHead(refusal.status, headers).end("{}");
    }
    const rest = url.pathname.slice(`/api/models/${this.#repo}/`.length);
    const [kind, revision] = rest.split("/").map(decodeURIComponent);
    if (revision !== "main" && revision !== "v1.0" && revision !== commit) {
      return void response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end("{}");
    }
    if (kind === "revision") {
      json({ _id: "1", id: this.#repo, sha: commit, lastModified: "2025-01-01T00:00:00Z" });
      return;
    }
    // Two entries a page, as if there were thousands.
    const all = [{ type: "directory", path: "vae", oid: "d".repeat(40), size: 0 }, ...this.#listing()];
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const next = new URL(url);
    next.searchParams.set("cursor", String(from + 2));
    const link = from + 2 < all.length ? { link: `<${next.href}>; rel="next"` } : {};
    json(all.slice(from, from + 2), link);
  }

  #listing() {
    return [...this.files].map(([path, file]) => {
      const { content, lfs } = file;
      const oid = gitSum(content);
      const about = { type: "file", path, size: content.length, oid };
      return lfs ? { ...about, lfs: { oid: lfsSum(file), size: content.length, pointerSize: 130 } } : about;
    });
  }

  async #body(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { breakOff, noRanges, chunkDelayMs = 0 } = this.misbehaviour;
    const file = this.files.get(path);
    if (file === undefined) return void response.writeHead(404).end();
    const { content } = file;
    const asked = noRanges ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
    const start = Number(asked ?? 0);
    if (start >= content.length && content.length > 0) return void response.writeHead(416).end();
    const range =
      asked === undefined ? {} : { "content-range": `bytes ${start}-${content.length - 1}/${content.length}` };
    response.writeHead(asked === undefined ? 200 : 206, {
      "content-length": content.length - start,
      etag: `"${file.lfs ? lfsSum(file) : gitSum(content)}"`,
      "accept-ranges": "bytes",
      ...range,
    });
    const breaks = breakOff?.path === path && breakOff.times > 0;
    if (breaks) breakOff.times--;
    const end = breaks ? Math.min(content.length, start + breakOff.afterBytes) : content.length;
    for (let at = start; at < end; at += 65536) {
      await new Promise((written) => response.write(content.subarray(at, Math.min(end, at + 65536)), written));
      if (chunkDelayMs > 0) await new Promise((later) => setTimeout(later, chunkDelayMs));
      if (response.destroyed) return;
    }
    if (breaks) response.destroy();
    else response.end();
  }
}
