// Everything that can be proven about the sources without running them. One line a check; fails if any fails.
import { spawnSync } from "node:child_process";
import { join, relative } from "node:path";
import { checkIsaSymbols } from "./check-isa-symbols.mjs";
import { clangFormat } from "./lint/clang-format.mjs";
import { checkLayering } from "./lint/layering.mjs";
import { checkPlaces } from "./lint/places.mjs";
import { root } from "./lint/sources.mjs";

const MAX_SHOWN = 40;

/** Runs a program of node_modules/.bin; what it printed is the list of problems when it fails, and `said` when not. */
function tool(name, ...args) {
  const program = join(root, "node_modules", ".bin", name);
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, { cwd: root, encoding: "utf8" });
  if (error) return { problems: [`${name} could not be started: ${error.message}`] };
  if (status === 0) return { problems: [], said: stdout.trim() };
  const lines = `${stdout}${stderr}`.split("\n").filter((line) => line.trim() !== "");
  return { problems: lines.length > 0 ? lines : [`${name} ended with ${signal ?? status}`] };
}

/** biome's reporter for GitHub has one line a finding; ours says file:line like the others. */
function biome() {
  const { problems } = tool("biome", "check", "--colors=off", "--reporter=github", "--max-diagnostics=none", ".");
  const finding = /^::\w+ title=([^,]*),file=([^,]*),line=(\d+),[^:]*::(.*)$/;
  const found = problems.map((line) => finding.exec(line)).filter((match) => match !== null);
  if (found.length === 0) return { problems };
  return {
    problems: found.map(([, rule, file, line, message]) => {
      const where = relative(root, file);
      return rule === "format" ? `${where}: not formatted; npm run format` : `${where}:${line}: ${message} (${rule})`;
    }),
  };
}

/** gen says on stdout what it could not look at. */
function generated() {
  const { problems, said } = tool("tsx", "scripts/gen.ts", "--check");
  return { problems, note: said };
}

const checks = {
  layering: checkLayering,
  places: checkPlaces,
  biome,
  "clang-format": clangFormat,
  types: () => tool("tsc", "-p", "tsconfig.check.json", "--pretty", "false"),
  generated,
  "isa symbols": checkIsaSymbols,
};

const only = process.argv.slice(2);
const unknown = only.filter((name) => !(name in checks));
if (unknown.length > 0) {
  console.error(`no check named ${unknown.join(", ")}; there are: ${Object.keys(checks).join(", ")}`);
  process.exit(2);
}

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  if (only.length > 0 && !only.includes(name)) continue;
  const { problems, note } = check();
  if (problems.length === 0) {
    console.log(`ok    ${name}${note ? ` (${note})` : ""}`);
    continue;
  }
  failed += 1;
  console.log(`FAIL  ${name}`);
  for (const problem of problems.slice(0, MAX_SHOWN)) console.log(`      ${problem}`);
  if (problems.length > MAX_SHOWN) console.log(`      and ${problems.length - MAX_SHOWN} more lines`);
}
if (failed > 0) process.exitCode = 1;
