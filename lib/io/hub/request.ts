/** HTTP with the patience that large downloads need: a token for the hub alone, and another try after what may pass. */
import { setTimeout as sleep } from "node:timers/promises";
import { HunyuanError, isHunyuanError } from "../../runtime/errors.js";
import { networkFailure, refusedAnswer, type Subject } from "./failure.js";

export interface HubSession {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** Tries in a row that bring nothing before it is given up. */
  readonly tries: number;
  /** Milliseconds before the second try; doubled for each after it. */
  readonly firstDelayMs: number;
}

type HeaderValues = NonNullable<RequestInit["headers"]>;

const longestDelayMs = 30_000;
/** A connection over which nothing comes for so long is taken for broken. */
export const silenceMs = 60_000;

const mayPass = (status: number) => status === 408 || status === 425 || status === 429 || status >= 500;

export function aborted(signal: AbortSignal): HunyuanError<"ABORTED"> {
  return new HunyuanError("ABORTED", "download: aborted by its signal", { op: "download" }, { cause: signal.reason });
}

export function throwIfAborted({ signal }: Pick<HubSession, "signal">): void {
  if (signal?.aborted) throw aborted(signal);
}

/** Waits before try number `tried` + 1, or for as long as the answer asks for. */
export async function pause(session: HubSession, tried: number, response?: Response): Promise<void> {
  const asked = Number(response?.headers.get("retry-after") ?? Number.NaN) * 1000;
  const own = session.firstDelayMs * 2 ** (tried - 1) * (0.75 + Math.random() / 2);
  const delay = Math.min(longestDelayMs, Number.isFinite(asked) ? asked : own);
  const { signal } = session;
  await sleep(delay, undefined, signal === undefined ? {} : { signal }).catch(() => {});
  throwIfAborted(session);
}

/**
 * One request, tried again while the network or the server fails in ways that may pass.
 *
 * @throws DOWNLOAD_FAILED for any answer but 2xx and those that `accepts` names; ABORTED
 */
export async function request(
  session: HubSession,
  subject: Subject,
  url: string,
  { headers = {}, accepts = [] }: { readonly headers?: HeaderValues; readonly accepts?: readonly number[] } = {},
): Promise<Response> {
  for (let tried = 1; ; tried++) {
    throwIfAborted(session);
    let response: Response | undefined;
    try {
      response = await once(session, url, headers);
      if (response.ok || accepts.includes(response.status)) return response;
    } catch (error) {
      throwIfAborted(session);
      if (isHunyuanError(error)) throw error;
      if (tried >= session.tries) throw networkFailure(subject, error);
    }
    if (response !== undefined) {
      await response.body?.cancel().catch(() => {});
      if (!mayPass(response.status) || tried >= session.tries) throw refusedAnswer(subject, response);
    }
    await pause(session, tried, response);
  }
}

async function once({ endpoint, token, signal }: HubSession, url: string, given: HeaderValues): Promise<Response> {
  const headers = new Headers(given);
  // Sizes and ranges speak of the bytes of the file.
  headers.set("accept-encoding", "identity");
  headers.set("user-agent", "hunyuan-native");
  // The token is for the hub; fetch takes it off again where a redirect leads elsewhere.
  if (token !== undefined && new URL(url).origin === new URL(endpoint).origin) {
    headers.set("authorization", `Bearer ${token}`);
  }
  return await fetch(url, { headers, ...(signal === undefined ? {} : { signal }) });
}
