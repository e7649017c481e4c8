/** The report of what CUDA kernels take, from canned compiler output; and the launcher that keeps that output. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkKernels } from "../../scripts/ptxas/check.js";
import { namedKernels, shortName } from "../../scripts/ptxas/names.js";
import { parsePtxas } from "../../scripts/ptxas/parse.js";
import { ptxasTable } from "../../scripts/ptxas/table.js";

const entry = (symbol: string, arch: string, frame: readonly number[], used: string) =>
  `ptxas info    : Compiling entry function '${symbol}' for '${arch}'
ptxas info    : Function properties for ${symbol}
    ${frame[0]} bytes stack frame, ${frame[1]} bytes spill stores, ${frame[2]} bytes spill loads
ptxas info    : Used ${used}
ptxas info    : Compile time = 29.990 ms
`;
const add = "_ZN2hn4cuda12_GLOBAL__N_110add_kernelIfLi4EEEvPfi";
const clean = `ptxas info    : 0 bytes gmem
${entry(add, "sm_80", [0, 0, 0], "40 registers, used 1 barriers, 2048 bytes smem, 400 bytes cmem[0]")}ptxas info    : 0 bytes gmem
${entry(add, "sm_90", [0, 0, 0], "38 registers, used 1 barriers")}`;
const helper = `ptxas info    : Function properties for _Z6helperPfi
    24 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
`;

test("figures of each kernel and architecture", () => {
  const [first, second] = parsePtxas(clean);
  const none = { symbol: add, stack: 0, spillStores: 0, spillLoads: 0, seconds: 0.02999 };
  assert.equal(first, { ...none, arch: "sm_80", registers: 40, shared: 2048 });
  assert.equal(second, { ...none, arch: "sm_90", registers: 38, shared: 0 });
});

test("a stack below, and functions that were not inlined, count for their kernel", () => {
  const used = "16 registers, used 1 barriers, 32 bytes cumulative stack size, 256 bytes smem";
  const [kernel, more] = parsePtxas(entry("k", "sm_90", [8, 4, 12], used) + helper);
  assert.is(more, undefined);
  assert.is(kernel?.stack, 32);
  assert.is(kernel?.spillStores, 12);
  assert.is(kernel?.spillLoads, 16);
});

test("output that ends early, or has figures of nothing, is no clean bill", () => {
  assert.throws(() => parsePtxas("ptxas info    : Compiling entry function 'k' for 'sm_80'\n"), /no registers told/);
  assert.throws(() => parsePtxas(helper), /figures of no kernel/);
});

test("names are short and keep what tells instances apart", () => {
  const [kernel] = namedKernels([["add.cu", clean]]);
  assert.is(kernel?.name, "add_kernel<f32, 4>");
  assert.is(kernel?.template, "add_kernel");
  const long =
    "void hn::cuda::_GLOBAL__N__256798c7_11_rms_norm_cu_7a865edb::fwd<hn::cuda::bf16, (bool)1, (int)8, 4l, " +
    "hn::cuda::(anonymous namespace)::Config<32, 1> >(hn::cuda::Rows<hn::cuda::bf16>, void (*)(float))";
  assert.is(shortName(long), "fwd<bf16, true, 8, 4, Config<32, 1>>");
});

test("spills and stacks are errors unless the list allows them", () => {
  const bad = entry(add, "sm_80", [16, 8, 4], "255 registers, used 1 barriers");
  const kernels = namedKernels([["add.cu", bad]]);
  const line = { file: "add.cu", kernel: "add_kernel", bytes: 16, reason: "a test" };
  const said = "add.cu: add_kernel<f32, 4> for sm_80: 16 bytes of stack, 8 of spill stores, 4 of spill loads";
  assert.equal(checkKernels(kernels, []), [said]);
  assert.equal(checkKernels(kernels, [line]), []);
  assert.equal(checkKernels(kernels, [{ ...line, kernel: "add_kernel<f32" }]), []);
  for (const kernel of ["add", "add_kernel<f3", "add_kernel<bf16"]) {
    assert.is(checkKernels(kernels, [{ ...line, kernel }])[0], said, kernel);
  }
  assert.equal(checkKernels(kernels, [{ ...line, bytes: 15 }]), [`${said}, more than the 15 allowed`]);
  assert.match(checkKernels(kernels, [{ ...line, reason: "" }]).join(), /reason is missing/);
  assert.match(checkKernels(namedKernels([["add.cu", clean]]), [line]).join(), /remove the line/);
});

test("many instances share a line a kernel and architecture", () => {
  const some = (count: number) =>
    Array.from({ length: count }, (_, i) =>
      entry(`_Z10add_kernelILi${i}EEvPfi`, "sm_80", [0, 0, 0], `${20 + i} registers, used 1 barriers`),
    ).join("");
  const few = ptxasTable(namedKernels([["a.cu", some(2)]]), "nvcc 13.0");
  assert.match(few, /\| `add_kernel<0>` \| sm_80 \| 20 \| 0 \| 0 \| 0 \|\n\| `add_kernel<1>` \| sm_80 \| 21 \|/);
  const many = ptxasTable(namedKernels([["a.cu", some(30)]]), "nvcc 13.0");
  assert.match(many, /\| `add_kernel<…> × 30` \| sm_80 \| 20–49 \| 0 \| 0 \| 0 \|/);
  assert.is(many.match(/add_kernel/g)?.length, 1);
});

/** Runs native/cuda/nvcc.sh on a compiler that prints `said` and makes its object. */
function launch(said: string, status = 0) {
  const folder = mkdtempSync(join(tmpdir(), "hn-ptxas-"));
  try {
    const compiler = join(folder, "nvcc");
    const object = join(folder, "a.cu.o");
    writeFileSync(compiler, `#!/bin/sh\ncat >&2 <<'END'\n${said}END\n: >"${object}"\nexit ${status}\n`);
    chmodSync(compiler, 0o755);
    const run = spawnSync("sh", [resolve("native/cuda/nvcc.sh"), compiler, "-c", "a.cu", "-o", object], {
      encoding: "utf8",
    });
    const log = `${object}.ptxas`;
    const kept = existsSync(log) ? readFileSync(log, "utf8") : undefined;
    return { status: run.status, stderr: run.stderr, object: existsSync(object), kept };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the launcher keeps ptxas' figures, and shows the warnings alone", () => {
  const said = `${clean}a.cu(3): warning #177-D: variable "x" was declared but never referenced\n`;
  const { status, stderr, object, kept } = launch(said);
  assert.is(status, 0);
  assert.ok(object);
  assert.is(kept, said);
  assert.is(stderr.trim(), 'a.cu(3): warning #177-D: variable "x" was declared but never referenced');
});

test("the launcher makes errors of C7510 to C7519", () => {
  const remark =
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized in function 'k'\n";
  const { status, stderr, object, kept } = launch(clean + remark);
  assert.is(status, 1);
  assert.ok(stderr.includes("(C7510)") && stderr.includes("nvcc.sh"), stderr);
  assert.not.ok(object, "the next build would take the object for good");
  assert.is(kept, undefined);
  const failed = launch("a.cu(1): error: expected a ;\n", 2);
  assert.is(failed.status, 2);
  assert.match(failed.stderr, /error: expected a ;/);
  assert.not.ok(failed.object);
});

test.run();
