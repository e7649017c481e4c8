/** What can go wrong with a download, and what to do about it. */
import { HunyuanError } from "../../runtime/errors.js";

/** What a request was for. */
export interface Subject {
  readonly repo: string;
  readonly revision: string;
  readonly endpoint: string;
  readonly file?: string | undefined;
}

type DownloadError = HunyuanError<"DOWNLOAD_FAILED">;

export function downloadFailed(
  { repo, file }: Pick<Subject, "repo" | "file">,
  message: string,
  { status, cause }: { readonly status?: number; readonly cause?: unknown } = {},
): DownloadError {
  const about = file === undefined ? repo : `${repo}/${file}`;
  return new HunyuanError(
    "DOWNLOAD_FAILED",
    `${about}: ${message}`,
    { repo, ...(file === undefined ? {} : { file }), ...(status === undefined ? {} : { status }) },
    cause === undefined ? {} : { cause },
  );
}

/** An answer that is no success, with the advice that its status and the hub's own error code call for. */
export function refusedAnswer(subject: Subject, response: Response): DownloadError {
  const { status } = response;
  const code = response.headers.get("x-error-code");
  return downloadFailed(subject, `${subject.endpoint} answers ${status}: ${advice(subject, status, code)}`, { status });
}

function advice({ repo, revision, endpoint }: Subject, status: number, code: string | null): string {
  const tokens = `set HF_TOKEN to a token of ${endpoint}/settings/tokens that may read it`;
  if (status === 403 || code === "GatedRepo") {
    return `the model is gated, or the token may not read it; accept its licence at ${endpoint}/${repo}, then ${tokens}`;
  }
  if (status === 401) {
    return `there is no such model, or it is private or gated; check its name, or ${tokens}`;
  }
  if (code === "RevisionNotFound") return `there is no revision "${revision}" of it`;
  if (status === 404) return "there is no such model, revision or file; check the name and the revision";
  if (status === 429) return "too many requests; wait a while, or set HF_TOKEN, which allows more of them";
  if (status >= 500) return "the hub is not well; try again later, what has arrived is kept";
  return "the request was refused";
}

/** A network that is not there, or broke. */
export function networkFailure(subject: Subject, cause: unknown): DownloadError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const why = inner instanceof Error ? inner.message : String(inner);
  const message =
    `${subject.endpoint} could not be reached, or the connection broke (${why}). What has arrived is kept: ` +
    "call again to go on from there; HF_ENDPOINT names another hub";
  return downloadFailed(subject, message, { cause });
}

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

export function noSpace(repo: string, folder: string, needed: number, free: number | undefined): DownloadError {
  const room = free === undefined ? "the disk is full" : `${gib(free)} are free`;
  const message = `${gib(needed)} are still to come and ${room} at ${folder}; make room, or set HF_HOME to a larger disk`;
  return downloadFailed({ repo }, message);
}
