/**
 * Writes what follows from the op declarations in lib/ops: ids and hash for TypeScript, argument structs, decoders and
 * the list of kernels for C++, the index of public functions, and docs/ops.md. With --check it writes nothing and fails
 * when a file on disk is stale. The table of types by backend in docs/ops.md comes from the built backends: where one is
 * not built, or built from other declarations, the table on disk stays, and a line on stdout says so.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { AttrSpec, InputSpec, Op } from "../lib/tensor/op.js";
import { supportHeading, supportRows, supportSection } from "./gen/support.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const header = "Written by `npm run gen`; do not edit.";

const families = readdirSync(join(root, "lib/ops"))
  .filter((file) => file.endsWith(".ts") && file !== "define.ts" && file !== "index.ts")
  .sort();
const familyOf = new Map<string, string>();
const { declaredOps } = await import(pathToFileURL(join(root, "lib/ops/define.ts")).href);
for (const file of families) {
  const before = new Set((declaredOps() as Op[]).map((op) => op.name));
  await import(pathToFileURL(join(root, "lib/ops", file)).href);
  for (const op of declaredOps() as Op[]) if (!before.has(op.name)) familyOf.set(op.name, file.replace(".ts", ""));
}
const ops = declaredOps() as Op[];
// A family may be loaded by another's import; its source then says whose op it is.
for (const file of families) {
  const text = readFileSync(join(root, "lib/ops", file), "utf8");
  for (const op of ops) if (text.includes(`name: "${op.name}"`)) familyOf.set(op.name, file.replace(".ts", ""));
}

const pascal = (name: string) => name.replace(/(^|_)(\w)/g, (_, __, letter: string) => letter.toUpperCase());
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const isEnum = (spec: AttrSpec): spec is readonly string[] => typeof spec !== "string";
/** C++ keywords that make sense as names of enum values get an underscore. */
const cppName = (name: string) =>
  /^(and|or|not|default|bool|float|int|double|union)$/.test(name) ? `${name}_` : snake(name);

function structOf(op: Op): string {
  const lines = [`/// ${op.doc}`, `struct ${pascal(op.name)}Args {`];
  for (const name of op.attrNames) {
    const spec = op.attrs[name] as AttrSpec;
    if (isEnum(spec)) lines.push(`  enum class ${pascal(snake(name))} : int32_t { ${spec.map(cppName).join(", ")} };`);
  }
  for (const name of op.inputNames) {
    const { kind } = op.inputs[name] as InputSpec;
    lines.push(`  ${kind === "list" ? "TensorList" : "TensorView"} ${snake(name)};`);
  }
  for (const name of op.outputs) lines.push(`  TensorView ${snake(name)};`);
  for (const name of op.attrNames) {
    const spec = op.attrs[name] as AttrSpec;
    const type = isEnum(spec)
      ? pascal(snake(name))
      : { f64: "double", i64: "int64_t", bool: "bool", "i64[]": "IntList" }[spec];
    lines.push(`  ${type} ${snake(name)};`);
  }
  lines.push("};");
  return lines.join("\n");
}

function decoderOf(op: Op): string {
  const type = `${pascal(op.name)}Args`;
  const lines = [`inline ${type} decode_${op.name}(const OpCall& call) {`, "  CallReader in(call);", `  ${type} a{};`];
  for (const name of op.inputNames) {
    const { kind } = op.inputs[name] as InputSpec;
    lines.push(`  a.${snake(name)} = in.${kind === "list" ? "list" : "tensor"}();`);
  }
  for (const name of op.outputs) lines.push(`  a.${snake(name)} = in.tensor();`);
  for (const name of op.attrNames) {
    const spec = op.attrs[name] as AttrSpec;
    const read = isEnum(spec)
      ? `static_cast<${type}::${pascal(snake(name))}>(in.integer())`
      : { f64: "in.number()", i64: "in.integer()", bool: "in.integer() != 0", "i64[]": "in.integers()" }[spec];
    lines.push(`  a.${snake(name)} = ${read};`);
  }
  lines.push("  return a;", "}");
  return lines.join("\n");
}

const schema = ops.map((op) => ({ name: op.name, inputs: op.inputs, attrs: op.attrs, outputs: op.outputs }));
const hash = BigInt(`0x${createHash("sha256").update(JSON.stringify(schema)).digest("hex").slice(0, 16)}`);

/** One header a family, so that a change of one op compiles only the kernels of its family again. */
const familyHeader = (family: string) => {
  const members = ops.filter((op) => familyOf.get(op.name) === family);
  return `// ${header}
#pragma once

#include "core/op_call.h"

namespace hn {

${members.map(structOf).join("\n\n")}

${members.map(decoderOf).join("\n\n")}

}  // namespace hn
`;
};

const familiesWithOps = [...new Set(familyOf.values())].sort();
const headerPath = (family: string) => `generated/${family.replaceAll("-", "_")}.h`;

/** One letter an argument (t given, ? may be missing, l list), then | and one an attribute (n number, N list). */
function signatureOf(op: Op): string {
  const inputs = op.inputNames.map(
    (name) => ({ one: "t", optional: "?", list: "l" })[(op.inputs[name] as InputSpec).kind],
  );
  const attrs = op.attrNames.map((name) => (op.attrs[name] === "i64[]" ? "N" : "n"));
  return `${inputs.join("")}${"?".repeat(op.outputs.length)}|${attrs.join("")}`;
}

const cpp = `// ${header}
#pragma once

#include "core/op_call.h"
${familiesWithOps.map((family) => `#include "core/${headerPath(family)}"`).join("\n")}

namespace hn {

constexpr uint32_t kOpCount = ${ops.length};
constexpr uint64_t kOpsHash = ${hash}ull;
constexpr const char* kOpNames[] = {
${ops.map((op) => `    "${op.name}",`).join("\n")}
};
/// What a record of each op must hold: t a tensor, ? one or none, l a list; after the bar n a number, N a list of them.
constexpr const char* kOpSignatures[] = {
${ops.map((op) => `    "${signatureOf(op)}",  // ${op.name}`).join("\n")}
};

}  // namespace hn

/// X(op name, argument struct), in the order of the ids.
#define HN_FOR_EACH_OP(X) \\
${ops.map((op) => `  X(${op.name}, ${pascal(op.name)}Args)`).join(" \\\n")}
`;

const ids = `/** ${header} */
export const opIds = {
${ops.map((op, i) => `  ${op.name}: ${i},`).join("\n")}
} as const;
`;

/** What a family exports, by name, but for what its comment marks as internal. */
function publicNames(file: string): string[] {
  const text = readFileSync(join(root, "lib/ops", file), "utf8");
  const declared = /(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?export (function|const|class|interface|type) (\w+)/g;
  const names = new Set<string>();
  for (const [, comment = "", kind, name] of text.matchAll(declared)) {
    if (!comment.includes("@internal")) names.add(kind === "interface" || kind === "type" ? `type ${name}` : `${name}`);
  }
  return [...names];
}

const index = `/** ${header} */
${families
  .map((file) => ({ file, names: publicNames(file) }))
  .filter(({ names }) => names.length > 0)
  .map(({ file, names }) => `export { ${names.join(", ")} } from "./${file.replace(".ts", ".js")}";`)
  .join("\n")}
`;

const docs = `<!-- ${header} -->
# Ops

One row for each native op: what it computes, the types each input may have, whether strided rows are read in place, and
whether it has a gradient. The public functions in lib/ops are composed of these.

${families
  .map((file) => file.replace(".ts", ""))
  .filter((family) => [...familyOf.values()].includes(family))
  .map((family) => {
    const rows = ops.filter((op) => familyOf.get(op.name) === family).map(docRow);
    return `## ${family}\n\n| op | what | inputs | outputs | gradient |\n| --- | --- | --- | --- | --- |\n${rows.join("\n")}`;
  })
  .join("\n\n")}

${await support()}`;

/** The table of types by backend, or the one on disk where the backends cannot be asked. */
async function support(): Promise<string> {
  const answer = await supportRows(ops, `${hash}`);
  if ("rows" in answer) return supportSection(answer.rows);
  console.log(`types by backend not looked at, build and try again: ${answer.reason.split("\n")[0]}`);
  const old = readFileSync(join(root, "docs/ops.md"), "utf8");
  const at = old.indexOf(supportHeading);
  return at < 0 ? supportSection([]) : old.slice(at);
}

function docRow(op: Op): string {
  const inputs = op.inputNames.map((name) => {
    const { kind, dtypes, layout, written } = op.inputs[name] as InputSpec;
    const marks = [
      kind === "optional" ? "?" : kind === "list" ? "[]" : "",
      layout === "rows" ? " rows" : "",
      written ? " written" : "",
    ];
    return `\`${name}\`${marks.join("")} ${dtypes.join("/")}`;
  });
  return `| \`${op.name}\` | ${op.doc} | ${inputs.join("; ") || "—"} | ${op.outputs.map((o) => `\`${o}\``).join(", ") || "—"} | ${op.vjp ? "yes" : "—"} |`;
}

const files: [string, string][] = [
  ["native/core/generated/ops.h", cpp],
  ...familiesWithOps.map((family): [string, string] => [`native/core/${headerPath(family)}`, familyHeader(family)]),
  ["lib/ops/generated/op-ids.ts", ids],
  ["lib/runtime/generated/ops-hash.ts", `/** ${header} */\nexport const opsHash = "${hash}";\n`],
  ["lib/ops/index.ts", index],
  ["docs/ops.md", docs],
];
let stale = 0;
for (const [path, text] of files) {
  const full = join(root, path);
  let old = "";
  try {
    old = readFileSync(full, "utf8");
  } catch {
    // A file that is not there yet is stale.
  }
  if (old === text) continue;
  stale++;
  if (process.argv.includes("--check")) {
    console.error(`${path} is stale: npm run gen`);
  } else {
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    console.log(`wrote ${path}`);
  }
}
if (process.argv.includes("--check") && stale > 0) process.exit(1);
