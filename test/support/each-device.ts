/**
 * Declares the tests of a file once for each device, with guard zones, and looks after each test that nothing is left.
 *
 *   HUNYUAN_TEST_DEVICES=cpu,simt   these devices alone; default: all that are here
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { opIds } from "../../lib/ops/generated/op-ids.js";
import { binding } from "../../lib/runtime/binding.js";
import { dtypeNames } from "../../lib/tensor/dtype.js";
import { type Device, type DType, isHunyuanError, openDevice } from "../../lib/tensor.js";

const known = ["cpu", "simt", "cuda"];

/** Why the device cannot run on this processor, or "" when it can; any other trouble is thrown. */
export async function unfit(name: string): Promise<string> {
  try {
    await openDevice(name).dispose();
    return "";
  } catch (error) {
    if (isHunyuanError(error, "DEVICE_UNAVAILABLE") && error.message.includes("processor")) return error.message;
    throw error;
  }
}

/** uvu takes `details` of an error for a difference that it can print, and stops without a word when it is not one. */
export async function plainErrors(fn: () => void | Promise<void>): Promise<void> {
  try {
    await fn();
  } catch (error) {
    throw isHunyuanError(error) ? new Error(`${error.code}: ${error.message}`, { cause: error }) : error;
  }
}

/** The devices that were asked for, where any were. */
const asked = (): readonly string[] | undefined => process.env.HUNYUAN_TEST_DEVICES?.split(",");

/** The devices that tests are to run on: those that were asked for, or all that this machine has. */
export async function devicesHere(): Promise<readonly string[]> {
  const wanted = asked();
  const here: string[] = [];
  for (const name of known) {
    if (wanted !== undefined && !wanted.includes(name)) continue;
    try {
      if ((await unfit(name)) === "") here.push(name);
    } catch (error) {
      // A machine without a GPU is no failure, unless it was asked to have one.
      if (name !== "cuda" || wanted !== undefined) throw error;
    }
  }
  return here;
}

/** An op and the type of its first tensor. */
type Need = readonly [op: keyof typeof opIds, dtype: DType];

type Run = (device: Device) => void | Promise<void>;

/** One uvu suite for each device; a test is declared on all of them. */
class EachDevice {
  readonly #suites: readonly { readonly device: Device; readonly own: ReturnType<typeof suite> }[];

  constructor(title: string, names: readonly string[]) {
    this.#suites = names.map((name) => ({ device: openDevice(name), own: suite(`${name} ${title}`) }));
    for (const { device, own } of this.#suites) own.after(() => device.dispose());
  }

  /** A test after which no tensor and no byte may be left. Skipped where the device lacks a kernel that it needs. */
  test(name: string, run: Run, ...needs: readonly Need[]): void {
    for (const { device, own } of this.#suites) {
      const lacking = needs.find(([op, dtype]) => !binding().supports(device.id, opIds[op], dtypeNames.indexOf(dtype)));
      if (lacking !== undefined) own.skip(`${name}: no kernel for ${lacking.join(" at ")}`);
      else own(name, () => plainErrors(() => leavesNothing(device, run)));
    }
  }

  /** The same, in the long runs alone (HUNYUAN_TEST_FULL=1), and not on the emulator, which would take hours. */
  heavy(name: string, run: Run): void {
    for (const { device, own } of this.#suites) {
      if (process.env.HUNYUAN_TEST_FULL !== "1" || device.name === "simt") own.skip(name);
      else own(name, () => plainErrors(() => leavesNothing(device, run)));
    }
  }

  /** The same for what takes that long on the emulator: there where HUNYUAN_TEST_DEVICES names it, and in the long runs. */
  slow(name: string, seconds: number, run: Run): void {
    const wanted = asked()?.includes("simt") || process.env.HUNYUAN_TEST_FULL === "1";
    for (const { device, own } of this.#suites) {
      if (device.name !== "simt" || wanted) own(name, () => plainErrors(() => leavesNothing(device, run)));
      else own.skip(`${name}: ${seconds} s of a processor on simt; HUNYUAN_TEST_DEVICES=simt runs it`);
    }
  }

  run(): void {
    for (const { own } of this.#suites) own.run();
  }
}

/** Opens the devices. Declare the tests, then `run()`. */
export async function onEachDevice(title: string): Promise<EachDevice> {
  process.env.HUNYUAN_GUARD = "1";
  return new EachDevice(title, await devicesHere());
}

async function leavesNothing(device: Device, run: Run): Promise<void> {
  await device.sync();
  const before = device.memory();
  await run(device);
  await device.sync();
  const after = device.memory();
  assert.is(after.live, before.live, "bytes left behind");
  assert.is(after.tensors, before.tensors, "tensors left behind");
  assert.is(after.guardViolations, before.guardViolations, "guard zones");
}
