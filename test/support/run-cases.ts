/**
 * Runs the cases of every op family on one device: values against the f64 reference in each storage type, as dense and
 * as strided inputs, gradients against finite differences of the reference, and no byte left behind.
 */
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  backward,
  type Device,
  type DType,
  isHunyuanError,
  openDevice,
  requiresGrad,
  scope,
  slice,
  type Tensor,
  tensor,
} from "../../lib/tensor.js";
import type { AnyTensor, Host, InputRecipe, OpCase } from "../ops/case.js";

/** Half a unit in the last place at 1: what one rounding may cost. */
const rounding: { readonly [D in DType]?: number } = { f64: 1.2e-16, f32: 6e-8, f16: 4.9e-4, bf16: 3.9e-3 };
const floats: readonly DType[] = ["f32", "bf16", "f16", "f64"];

/** Mulberry32: a small seeded generator, so that a failing case fails again. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export async function loadCases(): Promise<Map<string, readonly OpCase[]>> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "../ops");
  const families = new Map<string, readonly OpCase[]>();
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith(".cases.ts")) continue;
    const loaded: { cases: readonly OpCase[] } = await import(pathToFileURL(join(folder, file)).href);
    families.set(file.replace(".cases.ts", ""), loaded.cases);
  }
  return families;
}

const isWhole = (dtype: DType) => rounding[dtype] === undefined && dtype !== "f8e4m3";

function hostInput(recipe: InputRecipe, dtype: DType, random: () => number): Host {
  const data = new Float64Array(recipe.shape.reduce((a, b) => a * b, 1));
  const usual = isWhole(dtype) ? () => Math.floor(8 * random()) : () => 4 * random() - 2;
  for (let i = 0; i < data.length; i++) data[i] = recipe.value?.(i, random) ?? usual();
  return { shape: recipe.shape, data };
}

async function toHost(t: Tensor): Promise<Host> {
  return { shape: t.shape, data: Float64Array.from(await t.read(), Number) };
}

/** A view with the same values: rows in a wider tensor, starting at an odd offset. */
export function strided(t: Tensor, host: Host, device: Device): Tensor {
  const width = host.shape.at(-1) ?? 1;
  const rows = host.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  // What lies between the rows must not be read: NaN shows it where the type has one.
  const wide = new Float64Array(rows * (width + 3)).fill(isWhole(t.dtype) ? 99 : Number.NaN);
  for (let r = 0; r < rows; r++) wide.set(host.data.subarray(r * width, (r + 1) * width), r * (width + 3) + 1);
  const full = tensor(wide, { dtype: t.dtype, device, shape: [...host.shape.slice(0, -1), width + 3] });
  return slice(full, -1, 1, 1 + width);
}

type Named<T> = { [name: string]: T };

export async function makeInputs(
  c: OpCase,
  dtype: DType,
  device: Device,
): Promise<{ tensors: Named<Tensor>; hosts: Named<Host> }> {
  const random = generator(c.name.length * 7919 + c.name.charCodeAt(0));
  const tensors: Named<Tensor> = {};
  const hosts: Named<Host> = {};
  for (const [name, recipe] of Object.entries(c.inputs)) {
    const as = recipe.dtype ?? dtype;
    const exact = hostInput(recipe, as, random);
    const made = tensor(exact.data, { dtype: as, device, shape: exact.shape });
    tensors[name] = made;
    // Rounded by the device, so that the reference starts from what the op sees.
    hosts[name] = await toHost(made);
  }
  return { tensors, hosts };
}

const list = <T>(value: T | readonly T[]): readonly T[] => (Array.isArray(value) ? value : [value as T]);

export function compare(got: Host, want: Host, tolerance: number, what: string): void {
  assert.equal([...got.shape], [...want.shape], `${what}: shape`);
  let largest = 0;
  for (const v of want.data) if (Number.isFinite(v)) largest = Math.max(largest, Math.abs(v));
  for (let i = 0; i < want.data.length; i++) {
    const [g, w] = [got.data[i] as number, want.data[i] as number];
    if (Object.is(g, w) || g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const error = Math.abs(g - w);
    if (!(error <= tolerance * Math.max(largest, 1e-30))) {
      assert.unreachable(`${what}: element ${i} is ${g}, expected ${w} (largest ${largest}, tolerance ${tolerance})`);
    }
  }
}

/** Calls the op in a scope and reads what comes out. */
async function runCase(c: OpCase, inputs: Named<Tensor>): Promise<Host[]> {
  const outputs = scope(() => [...list(c.run(inputs as Named<AnyTensor>))]);
  try {
    const hosts: Host[] = [];
    for (const output of outputs) hosts.push(await toHost(output));
    return hosts;
  } finally {
    for (const output of outputs) output.dispose();
  }
}

async function checkValues(c: OpCase, dtype: DType, device: Device): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, dtype, device);
  const views: Tensor[] = [];
  try {
    const want = list(c.reference(hosts));
    const tolerance = (c.slack ?? 4) * (rounding[dtype] ?? 0);
    const got = await runCase(c, tensors);
    assert.is(got.length, want.length, `${c.name}: number of outputs`);
    got.forEach((host, i) => compare(host, want[i] as Host, tolerance, `${c.name} ${dtype} output ${i}`));
    for (const name of c.pitch ?? []) {
      const view = scope(() => strided(tensors[name] as Tensor, hosts[name] as Host, device));
      views.push(view);
      const again = await runCase(c, { ...tensors, [name]: view });
      again.forEach((host, i) => {
        compare(host, want[i] as Host, tolerance, `${c.name} ${dtype} with strided ${name}, output ${i}`);
      });
    }
  } finally {
    for (const t of [...views, ...Object.values(tensors)]) t.dispose();
  }
}

/** A fixed weighting of all outputs, so that one scalar stands for them. */
const weightAt = (output: number, i: number) => Math.sin(1 + 3 * output + 0.7 * i);

function weighted(outputs: readonly Host[]): number {
  let sum = 0;
  outputs.forEach((host, k) => {
    host.data.forEach((v, i) => {
      sum += v * weightAt(k, i);
    });
  });
  return sum;
}

/** Central differences with one Richardson step: error of order h⁴. */
function differences(c: OpCase, hosts: Named<Host>, name: string): Float64Array {
  const { data } = hosts[name] as Host;
  const largest = data.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
  const at = (i: number, x: number) => {
    const kept = data[i] as number;
    data[i] = x;
    const value = weighted(list(c.reference(hosts)));
    data[i] = kept;
    return value;
  };
  return Float64Array.from(data, (x, i) => {
    const h = 1e-3 * Math.max(Math.min(largest, 1), Math.abs(x));
    const slope = (step: number) => (at(i, x + step) - at(i, x - step)) / (2 * step);
    return (4 * slope(h / 2) - slope(h)) / 3;
  });
}

async function checkGradients(c: OpCase, device: Device): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, "f64", device);
  try {
    for (const name of c.gradients ?? []) requiresGrad(tensors[name] as Tensor);
    scope(() => {
      list(c.run(tensors as Named<AnyTensor>)).forEach((output, k) => {
        if (!output.requiresGrad) return;
        const weights = Float64Array.from({ length: output.size }, (_, i) => weightAt(k, i));
        backward(output, { gradient: tensor(weights, { dtype: output.dtype, device, shape: output.shape }) });
      });
    });
    for (const name of c.gradients ?? []) {
      const input = tensors[name] as Tensor;
      if (input.size === 0) continue;
      if (input.grad === undefined) assert.unreachable(`${c.name}: no gradient reached ${name}`);
      else {
        const want = { shape: input.shape, data: differences(c, hosts, name) };
        compare(await toHost(input.grad), want, 2e-7, `${c.name} gradient of ${name}`);
      }
    }
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
}

async function checkCase(c: OpCase, device: Device): Promise<void> {
  await device.sync();
  const before = device.memory();
  for (const dtype of c.dtypes ?? floats) await checkValues(c, dtype, device);
  if (c.gradients !== undefined) await checkGradients(c, device);
  await device.sync();
  const after = device.memory();
  assert.is(after.live, before.live, `${c.name}: bytes left behind`);
  assert.is(after.tensors, before.tensors, `${c.name}: tensors left behind`);
  assert.is(after.guardViolations, before.guardViolations, `${c.name}: guard zones`);
}

/** uvu takes `details` of an error for a difference that it can print, and stops without a word when it is not one. */
async function plainErrors(fn: () => Promise<void>): Promise<void> {
  try {
    await fn();
  } catch (error) {
    throw isHunyuanError(error) ? new Error(`${error.code}: ${error.message}`, { cause: error }) : error;
  }
}

/** A block of 256 bytes takes more than that where it has guard zones: else HUNYUAN_GUARD did not reach the allocator. */
async function checkGuarded(device: Device): Promise<void> {
  const before = device.memory().live;
  const small = tensor(new Float32Array(64), { device });
  await device.sync();
  assert.ok(device.memory().live - before > 256, "the device was opened without guard zones");
  small.dispose();
}

/** Whether this processor has the instruction set that HUNYUAN_CPU_ISA asks for; any other trouble is thrown. */
async function runsHere(name: string): Promise<boolean> {
  try {
    await openDevice(name).dispose();
    return true;
  } catch (error) {
    if (isHunyuanError(error, "DEVICE_UNAVAILABLE") && error.message.includes("processor lacks")) return false;
    throw error;
  }
}

/** One skipped test that says why none runs. */
function skipAll(reason: string): void {
  const test = suite(reason);
  test.skip("every op case");
  test.run();
}

/** Declares one uvu suite a family for a device; `name` is what openDevice takes. HUNYUAN_CASES names one family alone. */
export async function declareSuites(name: string): Promise<void> {
  const isa = process.env.HUNYUAN_CPU_ISA;
  if (isa !== undefined && !(await runsHere(name))) return skipAll(`${name}: this processor has no ${isa}`);
  const only = process.env.HUNYUAN_CASES;
  for (const [family, cases] of await loadCases()) {
    if (only !== undefined && family !== only) continue;
    const test = suite(`${name} ${family}`);
    let device: Device;
    test.before(async () => {
      device = openDevice(name);
      if (process.env.HUNYUAN_GUARD === "1") await checkGuarded(device);
    });
    test.after(() => device.dispose());
    for (const c of cases) {
      if (c.only !== undefined && !c.only.includes(name)) continue;
      test(c.name, () => plainErrors(() => checkCase(c, device)));
    }
    test.run();
  }
}
