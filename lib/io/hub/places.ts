/** Where things lie: the hub's address, the token, and the cache that Python's huggingface_hub shares with us. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

const flag = (name: string) => /^(1|on|yes|true)$/i.test(process.env[name] ?? "");
const given = (...names: readonly string[]) => names.map((name) => process.env[name]).find((value) => value);

function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

/** HF_HOME, else `huggingface` in the user's cache folder. */
function hubHome(): string {
  return expandHome(given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? "~/.cache", "huggingface"));
}

/**
 * The folder of `models--owner--name`: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub.
 *
 * @example hubCacheFolder() // "/home/me/.cache/huggingface/hub"
 */
export function hubCacheFolder(): string {
  return expandHome(given("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(hubHome(), "hub"));
}

/** HF_ENDPOINT without a slash at its end, else https://huggingface.co. */
export function hubEndpoint(): string {
  return (given("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
}

/** Whether HF_HUB_OFFLINE says that nothing may be asked of the network. */
export function hubIsOffline(): boolean {
  return flag("HF_HUB_OFFLINE") || flag("TRANSFORMERS_OFFLINE");
}

/** HF_TOKEN, else what `hf auth login` left in HF_HOME. */
export async function hubToken(): Promise<string | undefined> {
  const token = given("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN");
  if (token !== undefined) return token.trim();
  if (flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return undefined;
  const file = expandHome(given("HF_TOKEN_PATH") ?? join(hubHome(), "token"));
  const saved = await readFile(file, "utf8").catch(() => "");
  return saved.trim() || undefined;
}
