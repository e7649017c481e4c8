/** `hunyuan doctor`: the machine, each backend, what reads and writes videos, and what to do about what is missing. */
import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { dirname } from "node:path";
import type { Command } from "commander";
import { hubCacheFolder } from "../io/hub.js";
import { findVideoBackend } from "../io/media/backend.js";
import { findDemoModel } from "../pipelines/demo-model.js";
import { defaultLatentsFolder } from "../pipelines/latents-file.js";
import { type BackendDescription, type DeviceDescription, describeBackends } from "../runtime/binding.js";
import { openDevice } from "../runtime/device.js";
import { isHunyuanError } from "../runtime/errors.js";
import { onCall, type Session } from "./command.js";
import { exitCodes } from "./errors.js";
import { showBytes, table } from "./format.js";

const minGlibc = [2, 34] as const;

interface Finding {
  readonly name: string;
  readonly value: string;
}

export function addDoctor(command: Command): void {
  onCall(command, undefined, doctor);
}

async function doctor({ out }: Session): Promise<void> {
  const { findings, backends, healthy } = await examine();
  const record = Object.fromEntries(findings.map(({ name, value }) => [name, value]));
  out.result(
    { healthy, ...record, backends },
    table(
      findings.map(({ name, value }) => [name, value]),
      false,
    ),
  );
  if (!healthy) process.exitCode = exitCodes.failed;
}

/** A backend for programs: its devices, each opened once and described, or why it could not be. */
interface ExaminedBackend extends BackendDescription {
  readonly opened: readonly (DeviceDescription | { readonly reason: string })[];
}

interface Examination {
  readonly findings: readonly Finding[];
  readonly backends: readonly ExaminedBackend[];
  /** Whether something can compute here. */
  readonly healthy: boolean;
}

async function examine(): Promise<Examination> {
  const memory = `${availableParallelism()} threads, ${showBytes(totalmem())} memory`;
  const findings: Finding[] = [
    { name: "node", value: process.version },
    { name: "platform", value: `${process.platform}-${process.arch}` },
    { name: "glibc", value: describeGlibc() },
    { name: "machine", value: memory },
  ];
  const backends: ExaminedBackend[] = [];
  try {
    // What only tests use is no news.
    for (const backend of describeBackends().filter(({ name }) => name !== "null" && name !== "simt")) {
      const examined = { ...backend, opened: await openAll(backend) };
      backends.push(examined);
      findings.push(...describe(examined));
    }
  } catch (error) {
    if (!isHunyuanError(error)) throw error;
    findings.push({ name: "binding", value: `${error.code}: ${error.message}` });
  }
  findings.push({ name: "video", value: await describeVideo() });
  findings.push({ name: "demo model", value: await describeDemo() });
  findings.push({ name: "models", value: await describeFolder(hubCacheFolder()) });
  findings.push({ name: "latents", value: await describeFolder(defaultLatentsFolder()) });
  return { findings, backends, healthy: backends.some(({ opened }) => opened.some((device) => "detail" in device)) };
}

async function openAll({ name, devices }: BackendDescription): Promise<ExaminedBackend["opened"]> {
  const opened: (DeviceDescription | { reason: string })[] = [];
  for (let index = 0; index < devices; index++) {
    try {
      await using device = openDevice(`${name}:${index}`);
      opened.push(device.describe());
    } catch (error) {
      if (!isHunyuanError(error, "DEVICE_UNAVAILABLE")) throw error;
      opened.push({ reason: error.details.reason });
    }
  }
  return opened;
}

/** The backend's devices, the driver below them, what they will use and why no more; or why there are none. */
function describe({ name, devices, reason, opened }: ExaminedBackend): Finding[] {
  if (devices === 0) return [{ name, value: `not available: ${reason}` }];
  const findings = opened.map((device, index): Finding => {
    const label = devices === 1 ? name : `${name}:${index}`;
    const value = "detail" in device ? describeDevice(device) : `not available: ${device.reason}`;
    return { name: label, value: devices === 1 ? `1 device: ${value}` : value };
  });
  const driver = opened.find((device): device is DeviceDescription => "detail" in device && device.driver !== "");
  return driver === undefined ? findings : [...findings, { name: `${name} driver`, value: driver.driver }];
}

function describeDevice({ name, detail, memoryBytes, limitBytes, limitReason }: DeviceDescription): string {
  const why = limitReason === "" ? "" : `${limitReason}; `;
  return `${name}, ${detail}, uses at most ${showBytes(limitBytes)} of ${showBytes(memoryBytes)} (${why}--memory-limit)`;
}

/** The C library of this process, as Node reports it; undefined where it is not glibc (musl, macOS, Windows). */
function glibcVersion(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime;
}

function describeGlibc(): string {
  const version = glibcVersion();
  if (version === undefined) return "not glibc: only a build from source can work (npx hunyuan build)";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const tooOld = major < minGlibc[0] || (major === minGlibc[0] && minor < minGlibc[1]);
  return tooOld ? `${version}, older than ${minGlibc.join(".")}: build from source (npx hunyuan build)` : version;
}

async function describeVideo(): Promise<string> {
  const found = await findVideoBackend();
  if ("backend" in found) return `mp4 and webm through ${found.backend.description}; gif, webp and png always`;
  return `gif, webp and png; for mp4 and webm: npm install node-av, or install ffmpeg (${found.missing})`;
}

async function describeDemo(): Promise<string> {
  try {
    return await findDemoModel();
  } catch (error) {
    if (!isHunyuanError(error)) throw error;
    return "not in this copy of the package: give --model";
  }
}

async function describeFolder(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    const found = await statfs(at).catch(() => undefined);
    if (found !== undefined) return `${folder}, ${showBytes(found.bavail * found.bsize)} free`;
    if (dirname(at) === at) return folder;
  }
}
