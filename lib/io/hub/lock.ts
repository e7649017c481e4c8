/** One download of a file at a time, among the processes of a machine and those that share its cache. */
import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HubSession, throwIfAborted } from "./request.js";

const heartbeatMs = 5_000;
/** A lock whose owner has not touched it for so long belongs to nobody. */
const staleMs = 60_000;
const pollMs = 250;
/** Locks of this process: one that names its number and is not here was left by an earlier process of that number. */
const held = new Set<string>();

/** Runs `work` while no other process works on the same path. */
export async function exclusively<T>(path: string, session: HubSession, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`;
  await mkdir(dirname(lock), { recursive: true });
  while (!(await take(lock))) {
    throwIfAborted(session);
    if (await isStale(lock)) await rm(lock, { force: true });
    else await sleep(pollMs);
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => {});
  }, heartbeatMs);
  beat.unref();
  held.add(lock);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    held.delete(lock);
    await rm(lock, { force: true });
  }
}

async function take(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, `${hostname()} ${process.pid}`, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Whether its process has ended, or has not been heard of. */
async function isStale(lock: string): Promise<boolean> {
  const [owner, found] = await Promise.all([
    readFile(lock, "utf8").catch(() => undefined),
    stat(lock).catch(() => undefined),
  ]);
  // Gone in between: the next try takes it.
  if (owner === undefined || found === undefined) return false;
  const [host, pid] = owner.split(" ");
  if (held.has(lock)) return false;
  if (host === hostname() && (Number(pid) === process.pid || !isRunning(Number(pid)))) return true;
  return Date.now() - found.mtimeMs > staleMs;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
