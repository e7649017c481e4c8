// Proves that no code compiled for AVX can stand in for baseline code. The kernels are compiled once per instruction
// set, each in its own namespace; but inline functions outside of it (std::vector, helpers in headers) come out of each
// object under the same name, and the linker keeps the first. So: every such name in an AVX object must also stand in
// a baseline object, and baseline objects must come first on the link line. Otherwise a CPU without AVX may crash.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** What stands before the AVX objects on the link line; the addon and hn_core stand behind them. */
const BASELINE = ["hn_cpu", "hn_kernels_portable"];
const ISAS = ["avx2", "avx512"];

function objectsOf(cmakeFolder, target) {
  const folder = join(cmakeFolder, "CMakeFiles", `${target}.dir`);
  if (!existsSync(folder)) return [];
  const found = readdirSync(folder, { recursive: true });
  return found.filter((name) => name.endsWith(".o")).map((name) => join(folder, name));
}

/** Names that several objects may define: weak functions (W), weak data (V), unique globals (u). */
function sharedNames(objects) {
  const names = new Map();
  if (objects.length === 0) return names;
  const nm = spawnSync("nm", ["--defined-only", "-A", ...objects], { encoding: "utf8", maxBuffer: 2 ** 30 });
  if (nm.status !== 0) throw new Error(`nm failed: ${nm.error?.message ?? nm.stderr}`);
  for (const match of nm.stdout.matchAll(/^(.*?):[0-9a-f]* ([WVu]) (\S+)$/gm)) names.set(match[3], match[1]);
  return names;
}

/** The objects of hunyuan.node in the order they are linked, from Ninja's or Make's files. */
function linkLine(cmakeFolder) {
  const make = join(cmakeFolder, "CMakeFiles", "hunyuan.dir", "link.txt");
  if (existsSync(make)) return readFileSync(make, "utf8");
  const ninja = readFileSync(join(cmakeFolder, "build.ninja"), "utf8");
  return ninja.split("\n").find((line) => /^build \S*hunyuan\.node\b.*:/.test(line)) ?? "";
}

const demangle = (name) => spawnSync("c++filt", [name], { encoding: "utf8" }).stdout?.trim() || name;

export function checkIsaSymbols(cmakeFolder = join(root, "build", "cmake")) {
  if (!existsSync(join(cmakeFolder, "CMakeCache.txt"))) return { problems: [], note: "nothing built yet, not checked" };
  const problems = [];
  const baseline = sharedNames(BASELINE.flatMap((target) => objectsOf(cmakeFolder, target)));
  let checked = 0;
  for (const isa of ISAS) {
    const names = sharedNames(objectsOf(cmakeFolder, `hn_kernels_${isa}`));
    for (const [name, object] of names) {
      checked += 1;
      const insideNamespace = name.includes(`${isa.length}${isa}`);
      if (insideNamespace || baseline.has(name)) continue;
      problems.push(`${object.split("/").slice(-2).join("/")} (${isa}): ${demangle(name)} has no baseline copy`);
    }
  }
  const line = linkLine(cmakeFolder);
  const firstAvx = line.search(/hn_kernels_avx/);
  const lastBaseline = Math.max(line.lastIndexOf("hn_cpu.dir"), line.lastIndexOf("hn_kernels_portable.dir"));
  if (firstAvx >= 0 && lastBaseline > firstAvx) problems.push("AVX objects are linked before baseline objects");
  return { problems, note: `${checked} shared names` };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { problems, note } = checkIsaSymbols();
  for (const problem of problems) console.error(problem);
  console.log(`isa symbols: ${problems.length === 0 ? `ok, ${note}` : `${problems.length} problems`}`);
  if (problems.length > 0) process.exitCode = 1;
}
