// The folders of node_modules that tests and benchmarks need on a machine without npm, with all that they depend on;
// one a line. Left out: what draws pictures and films, and what tools alone need.
import { existsSync, readFileSync } from "node:fs";

const wanted = ["tsx", "uvu", "node-gyp-build", "node-addon-api", "node-api-headers", "zod", "ndarray", "benny"];
wanted.push("@huggingface/tokenizers", "commander", "cli-progress");

const found = new Set();
for (const name of wanted) {
  const folder = `node_modules/${name}`;
  if (found.has(folder)) continue;
  if (!existsSync(folder)) {
    console.error(`pack: ${folder} is not there: npm ci first`);
    process.exit(1);
  }
  found.add(folder);
  const about = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  wanted.push(...Object.keys(about.dependencies ?? {}));
  // Binaries for other platforms are not installed.
  const optional = Object.keys(about.optionalDependencies ?? {});
  wanted.push(...optional.filter((other) => existsSync(`node_modules/${other}`)));
}
console.log([...found].sort().join("\n"));
