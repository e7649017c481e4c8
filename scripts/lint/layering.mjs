// Which layer may see which (ARCHITECTURE.md): an import or include against the arrows is refused.
import { dirname, join, normalize } from "node:path";
import { isNative, isTypeScript, matches, read, sources, withoutComments } from "./sources.mjs";

/** From the ground up; a layer sees those on the lines below its own. Layers that share a line do not see each other. */
const LIB_FLOORS = [
  ["runtime"],
  ["tensor"],
  ["ops"],
  ["autograd"],
  ["nn"],
  ["models"],
  ["diffusion", "train"],
  ["pipelines"],
  ["cli", "server"],
];
/** lib/io stands beside the tower: it sees tensor only, and nn and above see it. */
const IO = "io";
/** Public entries, with the highest floor that each may show; nothing in lib/ imports them. */
const ENTRIES = new Map([
  ["lib/index.ts", "pipelines"],
  ["lib/tensor.ts", "autograd"],
  ["lib/train.ts", "pipelines"],
]);

const floorOf = (layer) => LIB_FLOORS.findIndex((floor) => floor.includes(layer));

function mayImport(from, to) {
  if (from === to) return true;
  if (from === IO) return to === "tensor" || to === "runtime";
  if (to === IO) return floorOf(from) >= floorOf("nn");
  return floorOf(to) < floorOf(from);
}

function checkLibFile(file, dependencies) {
  const problems = [];
  const text = withoutComments(read(file));
  const isEntry = ENTRIES.has(file);
  const layer = file.split("/")[1];
  if (!isEntry && layer !== IO && floorOf(layer) < 0) {
    return [`${file}: belongs to no layer; known are ${[...LIB_FLOORS.flat(), IO].join(", ")}`];
  }
  const specifiers = /(?:\bfrom\s*|\bimport\s*\(?\s*)"([^"\n]+)"/g;
  for (const [whole, specifier] of text.matchAll(specifiers)) {
    const at = `${file}:${text.slice(0, text.indexOf(whole)).split("\n").length}`;
    if (!specifier.startsWith(".")) {
      const name = specifier.startsWith("@") ? specifier.split("/").slice(0, 2).join("/") : specifier.split("/")[0];
      if (!specifier.startsWith("node:") && !dependencies.has(name)) {
        problems.push(`${at}: ${name} is not in the dependencies of package.json`);
      }
      continue;
    }
    const target = normalize(join(dirname(file), specifier)).replace(/\.js$/, ".ts");
    const seen = target.split("/")[1];
    if (!target.startsWith("lib/")) problems.push(`${at}: imports ${target}, outside lib/`);
    else if (ENTRIES.has(target)) problems.push(`${at}: imports the public entry ${target}`);
    else if (isEntry ? floorOf(seen) > floorOf(ENTRIES.get(file)) : !mayImport(layer, seen)) {
      problems.push(`${at}: ${isEntry ? file : `lib/${layer}`} may not import lib/${seen} (${target})`);
    }
  }
  return problems;
}

const NATIVE_SEES = {
  core: ["core"],
  cpu: ["core", "cpu"],
  null: ["core", "null"],
  cuda: ["core", "cuda"],
  simt: ["core", "cuda", "simt"],
  addon: ["core", "cpu", "addon"],
  test: ["core", "cpu", "null", "simt", "test"],
  // The CUDA backend on a runtime made for tests: a folder of its own with CUDA's words.
  "test/cuda": ["core", "cuda", "test"],
};
const nativeLayerOf = (file) => (file.startsWith("native/test/cuda/") ? "test/cuda" : file.split("/")[1]);
const OWNED_HEADERS = [
  { header: /^(napi.*|node_api.*|js_native_api.*|node|uv|v8.*)\.h$/, layers: ["addon"], what: "Node's headers" },
  {
    header:
      /^(cuda.*|cublas.*|cudnn.*|nccl|nvml)\.h(pp)?$|^(cuda|cute|cutlass|cooperative_groups)(\/|\.h$)|_(fp16|bf16|fp8)\.h$/,
    layers: ["cuda", "simt", "test/cuda"],
    what: "CUDA's headers",
  },
];
const PLATFORM_ONLY = [
  /#\s*include\s*<(dlfcn\.h|sys\/mman\.h|pthread\.h|sched\.h|thread)>/g,
  /\bstd::j?thread\b/g,
  /\b(dlopen|dlsym|dlclose|mmap|munmap|pthread_\w+)\b/g,
];

/** An instruction's wrapper has its emulation beside its PTX (HN_SIMT), through this one header of the emulator. */
const isEmulation = (file, target) =>
  /^native\/cuda\/device\/(ptx_\w+\.cuh|tensor_map\.h)$/.test(file) && target === "native/simt/kernel_api_sm90.h";

function checkNativeFile(file, known) {
  const problems = [];
  const layer = nativeLayerOf(file);
  const sees = NATIVE_SEES[layer];
  if (!sees) return [`${file}: belongs to no layer; known are ${Object.keys(NATIVE_SEES).join(", ")}`];
  const text = withoutComments(read(file));
  for (const match of text.matchAll(/^[ \t]*#\s*include\s*([<"])([^>"\n]+)[>"]/gm)) {
    const at = `${file}:${text.slice(0, match.index).split("\n").length}`;
    const header = match[2];
    for (const owned of OWNED_HEADERS) {
      if (owned.header.test(header) && !owned.layers.includes(layer)) {
        problems.push(`${at}: ${owned.what} (${header}) belong in native/${owned.layers[0]} only`);
      }
    }
    if (match[1] === "<") continue;
    const near = normalize(join(dirname(file), header));
    const target = known.has(near) ? near : normalize(join("native", header));
    const seen = target.split("/")[1];
    if (isEmulation(file, target)) continue;
    if (known.has(target) && !sees.includes(seen)) problems.push(`${at}: native/${layer} may not include ${target}`);
  }
  if (!file.startsWith("native/core/platform/") && layer !== "test") {
    const code = withoutComments(read(file), { strings: true });
    for (const pattern of PLATFORM_ONLY) {
      problems.push(...matches(file, code, pattern, "belongs in native/core/platform"));
    }
  }
  return problems;
}

export function checkLayering() {
  const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = JSON.parse(read("package.json"));
  const names = new Set(Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }));
  const lib = sources((file) => file.startsWith("lib/") && isTypeScript(file));
  const native = sources((file) => file.startsWith("native/") && isNative(file));
  const known = new Set(native);
  const problems = [
    ...lib.flatMap((file) => checkLibFile(file, names)),
    ...native.flatMap((file) => checkNativeFile(file, known)),
  ];
  return { problems, note: `${lib.length} files of lib, ${native.length} of native` };
}
