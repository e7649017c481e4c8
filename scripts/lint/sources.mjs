// The source files of this repository, and their text without comments.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const FOLDERS = ["bench", "bin", "docs", "lib", "native", "scripts", "test"];

export const isNative = (file) => /\.(cc|h|cu|cuh)$/.test(file);
export const isTypeScript = (file) => /\.ts$/.test(file);
export const isScript = (file) => /\.(ts|mjs|js)$/.test(file);
export const isCode = (file) => isNative(file) || isScript(file) || /\.(py|sh)$/.test(file);
/** Written by a tool: never checked for size or format. */
export const isGenerated = (file) => file.includes("/generated/") || file === "lib/ops/index.ts";

export const read = (file) => readFileSync(join(root, file), "utf8");

/** Paths from the root of the repository, sorted, of the files that `keep` answers true for. */
export function sources(keep) {
  const found = [];
  for (const folder of FOLDERS) {
    let entries = [];
    try {
      entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    for (const entry of entries) {
      const file = relative(root, join(entry.parentPath ?? entry.path, entry.name));
      if (entry.isFile() && !file.includes("node_modules") && keep(file)) found.push(file);
    }
  }
  return found.sort();
}

/** Blanks out comments, and the insides of strings where `strings` says so; line numbers stay. */
export function withoutComments(text, { strings = false } = {}) {
  // An alternation that meets strings first, so that "//" inside one is left alone. A quote after a letter or digit is
  // a C++ digit separator (1'000), not the start of a character.
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;
  return text.replace(token, (found) => {
    if (found.startsWith("/") || strings) return found.replace(/[^\n]/g, " ");
    return found;
  });
}

/** `file:line: message` for each match of `pattern` (global) in `text`. */
export function matches(file, text, pattern, message) {
  return [...text.matchAll(pattern)].map((match) => {
    const line = text.slice(0, match.index).split("\n").length;
    return `${file}:${line}: ${message} (${match[0].trim()})`;
  });
}
