// clang-format over native/: a check for lint, or with --write the formatting itself (`npm run format`).
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isGenerated, isNative, root, sources } from "./sources.mjs";

export function clangFormat({ write = false } = {}) {
  const files = sources((file) => isNative(file) && !isGenerated(file));
  if (files.length === 0) return { problems: [], note: "no files" };
  const tool = join(root, "node_modules", ".bin", "clang-format");
  const args = write ? ["-i"] : ["--dry-run", "-Werror"];
  const { status, stderr, error } = spawnSync(tool, [...args, ...files], { cwd: root, encoding: "utf8" });
  if (error) return { problems: [`clang-format could not be started: ${error.message}`] };
  if (status === 0) return { problems: [], note: `${files.length} files` };
  const badFiles = new Set([...stderr.matchAll(/^([^\s:]+):\d+:\d+: error/gm)].map((match) => match[1]));
  const problems = [...badFiles].map((file) => `${file}: not formatted; npm run format`);
  return { problems: problems.length > 0 ? problems : [stderr.trim() || `clang-format ended with ${status}`] };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { problems, note } = clangFormat({ write: process.argv.includes("--write") });
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else console.log(`clang-format: ${note}`);
}
