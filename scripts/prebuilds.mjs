// Makes prebuilds/<platform>-<arch>/ for publishing, from the libraries of a Release build: hunyuan-native.node, and
// hunyuan_cuda.so when it was built. hunyuan_null.so and hunyuan_simt.so are for tests and are not shipped.
//
// prebuildify strips, names and moves what it finds; it works on copies in build/prebuilds, so build/Release stays.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import prebuildify from "prebuildify";
import { buildNative, root } from "./build-native.mjs";

const SHIPPED = ["hunyuan.node", "hunyuan_cuda.so"];
const MAX_GLIBC = [2, 34];
const NAME = "hunyuan-native";

/** Throws when a library asks for a newer glibc than promised, or for a C++ library it should carry itself. */
function checkSymbols(file) {
  const { status, stdout, error } = spawnSync("objdump", ["-T", file], { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`objdump -T ${file} failed: ${error?.message ?? `exit code ${status}`}`);
  let highest = [0, 0];
  for (const [line, major, minor] of stdout.matchAll(/^.*\(GLIBC_(\d+)\.(\d+)[.\d]*\).*$/gm)) {
    const seen = [Number(major), Number(minor)];
    if (newer(seen, MAX_GLIBC)) throw new Error(`${file} needs glibc ${seen.join(".")}: ${line.trim()}`);
    if (newer(seen, highest)) highest = seen;
  }
  const foreign = /^.*\((GLIBCXX|CXXABI)_.*$/m.exec(stdout);
  if (foreign) throw new Error(`${file} needs a shared libstdc++: ${foreign[0].trim()}`);
  return highest.join(".");
}

const newer = (a, b) => a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);

const { output } = buildNative();
const stage = join(root, "build", "prebuilds");
rmSync(stage, { recursive: true, force: true });
mkdirSync(join(stage, "build", "Release"), { recursive: true });
for (const file of SHIPPED) {
  if (existsSync(join(output, file))) copyFileSync(join(output, file), join(stage, "build", "Release", file));
}

const target = join(root, "prebuilds", `${process.platform}-${process.arch}`);
rmSync(target, { recursive: true, force: true });
// The build is done already: `true` stands in for node-gyp.
await promisify(prebuildify)({ cwd: stage, out: root, name: NAME, napi: true, strip: true, nodeGyp: "true" });

for (const file of readdirSync(target)) {
  const path = join(target, file);
  const glibc = checkSymbols(path);
  console.log(`${relative(root, path)}  ${(statSync(path).size / 2 ** 20).toFixed(1)} MiB, glibc ${glibc} or newer`);
}
