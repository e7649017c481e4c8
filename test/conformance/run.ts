/**
 * npm run conformance -- FOLDER [--device cpu|simt|cuda] [--dtype f32|bf16] [--case NAME …]
 *
 * Runs every case of the folder and prints one line of JSON a case:
 * {case, device, dtype, outputs: {name: {maxRelErr, tolerance, pass}}, pass}. Ends with 1 when one fails, 2 when the call
 * makes no sense.
 */
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { isHunyuanError, openDevice } from "../../lib/tensor.js";
import { ConformanceCase, listCases } from "./case-file.js";
import { runCase } from "./runner.js";

const usage = "usage: npm run conformance -- FOLDER [--device cpu|simt|cuda] [--dtype f32|bf16] [--case NAME …]";

class UsageError extends Error {}

function readArguments() {
  const options = {
    device: { type: "string", default: "cpu" },
    dtype: { type: "string", default: "f32" },
    case: { type: "string", multiple: true },
  } as const;
  let parsed: ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>;
  try {
    parsed = parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const [folder, ...more] = parsed.positionals;
  if (folder === undefined || more.length > 0) throw new UsageError("expected one folder of cases");
  if (!existsSync(folder)) throw new UsageError(`${folder} does not exist`);
  const { device, dtype } = parsed.values;
  if (dtype !== "f32" && dtype !== "bf16") throw new UsageError(`--dtype is ${dtype}, expected f32 or bf16`);
  const known = listCases(folder);
  const names = parsed.values.case ?? known;
  const missing = names.filter((name) => !known.includes(name));
  if (missing.length > 0)
    throw new UsageError(`no case ${missing.join(", ")} in ${folder}; there are ${known.join(", ")}`);
  if (names.length === 0) throw new UsageError(`${folder} holds no case (a .json with a .safetensors beside it)`);
  return { folder, names, device, dtype } as const;
}

async function main(): Promise<void> {
  const { folder, names, device: deviceName, dtype } = readArguments();
  const device = openDevice(deviceName);
  try {
    for (const name of names) {
      const one = new ConformanceCase(folder, name);
      if (one.expected.length === 0) {
        process.stderr.write(`${name}: holds nothing to compare\n`);
        continue;
      }
      const result = await runCase(one, { device, dtype });
      process.stdout.write(`${JSON.stringify(result)}\n`);
      if (!result.pass) process.exitCode = 1;
    }
  } finally {
    await device.dispose();
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UsageError) && !isHunyuanError(error)) throw error;
  process.stderr.write(`${error.message}\n${error instanceof UsageError ? `${usage}\n` : ""}`);
  process.exitCode = 2;
}
