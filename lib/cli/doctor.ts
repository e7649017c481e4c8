/** What `hunyuan doctor` prints: the machine, and each backend with the reason when it cannot be used. */
import { availableParallelism, totalmem } from "node:os";
import { describeBackends } from "../runtime/binding.js";
import { HunyuanError } from "../runtime/errors.js";

const MIN_GLIBC = [2, 34] as const;

/** The C library of this process, as Node reports it; undefined where it is not glibc (musl, macOS, Windows). */
function glibcVersion(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime;
}

function describeGlibc(): string {
  const version = glibcVersion();
  if (version === undefined) return "not glibc: only a build from source can work (npx hunyuan build)";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const tooOld = major < MIN_GLIBC[0] || (major === MIN_GLIBC[0] && minor < MIN_GLIBC[1]);
  return tooOld ? `${version}, older than ${MIN_GLIBC.join(".")}: build from source (npx hunyuan build)` : version;
}

/** The findings, one a line, and whether something can compute here. */
export function doctor(): { lines: string[]; healthy: boolean } {
  const lines = [
    `node      ${process.version}`,
    `platform  ${process.platform}-${process.arch}`,
    `glibc     ${describeGlibc()}`,
    `machine   ${availableParallelism()} threads, ${(totalmem() / 2 ** 30).toFixed(1)} GiB memory`,
  ];
  try {
    const backends = describeBackends();
    for (const { name, devices, reason } of backends) {
      const state = devices > 0 ? `${devices} device${devices === 1 ? "" : "s"}` : `not available: ${reason}`;
      lines.push(`${name.padEnd(9)} ${state}`);
    }
    return { lines, healthy: backends.some((backend) => backend.devices > 0) };
  } catch (error) {
    if (!(error instanceof HunyuanError)) throw error;
    lines.push(`binding   ${error.code}: ${error.message}`);
    return { lines, healthy: false };
  }
}
