/**
 * Runs the cases of every op family on one device: values against the f64 reference in each storage type, as dense and
 * as strided inputs, gradients, and no byte left behind.
 *
 *   HUNYUAN_CASES=norm              one family alone
 *   HUNYUAN_TEST_DEVICES=cpu,simt   these devices alone; default: all that are here
 */
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { opIds } from "../../lib/ops/generated/op-ids.js";
import { type Device, type DType, openDevice, scope, type Tensor, tensor } from "../../lib/tensor.js";
import type { AnyTensor, Host, OpCase } from "../ops/case.js";
import { checkGradients, checkGradientsAgainstCpu, runBackward } from "./case-gradients.js";
import { compare, listOf, makeInputs, type Named, rounding, strided, toHost } from "./case-inputs.js";
import { plainErrors, unfit } from "./each-device.js";
import { callsOf, missingKernel } from "./op-calls.js";

const floats: readonly DType[] = ["f32", "bf16", "f16", "f64"];
const opNames = Object.keys(opIds);

/** The cases of each family that are meant for a device; `name` is what openDevice takes. */
export async function loadCases(name: string): Promise<Map<string, readonly OpCase[]>> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "../ops");
  const families = new Map<string, readonly OpCase[]>();
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith(".cases.ts")) continue;
    const loaded: { cases: readonly OpCase[] } = await import(pathToFileURL(join(folder, file)).href);
    const chosen = loaded.cases.filter((c) => c.only === undefined || c.only.includes(name));
    families.set(file.replace(".cases.ts", ""), chosen);
  }
  return families;
}

/** Calls the op in a scope and reads what comes out. */
async function runCase(c: OpCase, inputs: Named<Tensor>): Promise<Host[]> {
  const outputs = scope(() => [...listOf(c.run(inputs as Named<AnyTensor>))]);
  try {
    const hosts: Host[] = [];
    for (const output of outputs) hosts.push(await toHost(output));
    return hosts;
  } finally {
    for (const output of outputs) output.dispose();
  }
}

/** Runs the case once with dense inputs (view ""), once with each strided view that it asks for. */
async function eachRun(
  c: OpCase,
  dtype: DType,
  device: Device,
  visit: (outputs: readonly Host[], view: string, hosts: Named<Host>) => void,
): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, dtype, device);
  const views: Tensor[] = [];
  try {
    visit(await runCase(c, tensors), "", hosts);
    for (const name of c.pitch ?? []) {
      const view = scope(() => strided(tensors[name] as Tensor, hosts[name] as Host, device));
      views.push(view);
      visit(await runCase(c, { ...tensors, [name]: view }), name, hosts);
    }
  } finally {
    for (const t of [...views, ...Object.values(tensors)]) t.dispose();
  }
}

async function checkValues(c: OpCase, dtype: DType, device: Device): Promise<void> {
  const tolerance = (c.slack ?? 4) * (rounding[dtype] ?? 0);
  let want: readonly Host[] | undefined;
  await eachRun(c, dtype, device, (outputs, view, hosts) => {
    want ??= listOf(c.reference(hosts));
    assert.is(outputs.length, want.length, `${c.name}: number of outputs`);
    const how = view === "" ? "" : ` with strided ${view}`;
    for (const [i, host] of outputs.entries()) {
      compare(host, want[i] as Host, tolerance, `${c.name} ${dtype}${how}, output ${i}`);
    }
  });
}

/** What of a case a device can run. */
interface Plan {
  readonly values: readonly DType[];
  /** Types in which gradients are checked: f64 by finite differences, others against the CPU. */
  readonly gradients: readonly DType[];
  /** What kept the rest from it, for the name of a skipped test. */
  readonly missing: string;
}

/** The CPU is complete: everything runs, and gradients are checked in f64. */
function fullPlan(c: OpCase): Plan {
  return { values: c.dtypes ?? floats, gradients: c.gradients === undefined ? [] : ["f64"], missing: "" };
}

/** Asks the device for each op that the case calls; `spy` is a null device, on which the calls are made to be seen. */
async function planFor(c: OpCase, device: Device, spy: Device): Promise<Plan> {
  const values: DType[] = [];
  const gradients: DType[] = [];
  let missing = "";
  const supported = (calls: Awaited<ReturnType<typeof callsOf>>) => {
    const kernel = missingKernel(device, calls, opNames);
    missing ||= kernel;
    return kernel === "";
  };
  for (const dtype of c.dtypes ?? floats) {
    if (supported(await callsOf(spy, () => eachRun(c, dtype, spy, () => {})))) values.push(dtype);
  }
  const differentiable = c.gradients === undefined ? [] : ["f64" as const, ...values.filter((d) => d !== "f64")];
  for (const dtype of differentiable) {
    if (rounding[dtype] === undefined) continue;
    const calls = await callsOf(spy, async () => {
      const { tensors } = await makeInputs(c, dtype, spy);
      runBackward(c, tensors, spy);
      for (const t of Object.values(tensors)) t.dispose();
    });
    if (supported(calls)) gradients.push(dtype);
    if (gradients.includes("f64")) break;
  }
  return { values, gradients, missing };
}

async function checkCase(c: OpCase, plan: Plan, device: Device, cpu: Device): Promise<void> {
  await device.sync();
  const before = device.memory();
  for (const dtype of plan.values) await checkValues(c, dtype, device);
  for (const dtype of plan.gradients) {
    if (dtype === "f64") await checkGradients(c, device);
    else await checkGradientsAgainstCpu(c, dtype, device, cpu);
  }
  await device.sync();
  const after = device.memory();
  assert.is(after.live, before.live, `${c.name}: bytes left behind`);
  assert.is(after.tensors, before.tensors, `${c.name}: tensors left behind`);
  assert.is(after.guardViolations, before.guardViolations, `${c.name}: guard zones`);
}

/** A block of 256 bytes takes more than that where it has guard zones: else HUNYUAN_GUARD did not reach the allocator. */
async function checkGuarded(device: Device): Promise<void> {
  const before = device.memory().live;
  const small = tensor(new Float32Array(64), { device });
  await device.sync();
  assert.ok(device.memory().live - before > 256, "the device was opened without guard zones");
  small.dispose();
}

/** One skipped test that says why none runs. */
function skipAll(reason: string): void {
  const test = suite(reason);
  test.skip("every op case");
  test.run();
}

/** Declares one uvu suite a family for a device; `name` is what openDevice takes. */
export async function declareSuites(name: string): Promise<void> {
  const wanted = process.env.HUNYUAN_TEST_DEVICES?.split(",");
  if (wanted !== undefined && !wanted.includes(name)) return skipAll(`${name}: not in HUNYUAN_TEST_DEVICES`);
  const reason = await unfit(name);
  if (reason !== "") return skipAll(reason);
  const only = process.env.HUNYUAN_CASES;
  const planned: (readonly [family: string, plans: Map<OpCase, Plan>])[] = [];
  for (const [family, cases] of await loadCases(name)) {
    if (only === undefined || family === only) planned.push([family, await plansFor(name, cases)]);
  }
  // All at once: uvu begins when this lets go of the thread, and never comes to what is declared after it has ended.
  for (const [family, plans] of planned) declareFamily(name, family, plans);
}

function declareFamily(name: string, family: string, plans: ReadonlyMap<OpCase, Plan>): void {
  const test = suite(`${name} ${family}`);
  let device: Device;
  let cpu: Device;
  test.before(async () => {
    device = openDevice(name);
    cpu = openDevice("cpu");
    if (process.env.HUNYUAN_GUARD === "1") await checkGuarded(device);
  });
  test.after(async () => {
    await device.dispose();
    await cpu.dispose();
  });
  for (const [c, plan] of plans) {
    if (plan.values.length === 0) test.skip(`${c.name}: no kernel for ${plan.missing}`);
    else test(c.name, () => plainErrors(() => checkCase(c, plan, device, cpu)));
  }
  test.run();
}

async function plansFor(name: string, cases: readonly OpCase[]): Promise<Map<OpCase, Plan>> {
  if (name === "cpu") return new Map(cases.map((c) => [c, fullPlan(c)]));
  const [device, spy] = [openDevice(name), openDevice("null")];
  try {
    const plans = new Map<OpCase, Plan>();
    for (const c of cases) plans.set(c, await planFor(c, device, spy));
    return plans;
  } finally {
    await device.dispose();
    await spy.dispose();
  }
}
