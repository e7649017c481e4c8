/** A device: a queue of its own, memory of its own, and threads that do the work while the event loop goes on. */
import { binding, type DeviceDescription, type NativeFailure } from "./binding.js";
import { checkOptions, invalid } from "./check.js";
import { HunyuanError } from "./errors.js";
import { failureToError, statusToError } from "./failures.js";
import { mailboxNumber, mailboxOf } from "./mailbox.js";

export interface OpenDeviceOptions {
  /** Bytes the device may hold (live, cached and workspace). Default: 80 % of the smaller of RAM and cgroup on the CPU. */
  readonly memoryLimit?: number;
}

export interface WaitOptions {
  /** Aborting cancels the queued work that this call waits for and rejects with ABORTED; the device works on. */
  readonly signal?: AbortSignal;
}

export interface MemoryInfo {
  /** Bytes in tensors and running kernels. */
  readonly live: number;
  /** Bytes kept for reuse; `trim()` gives them back to the system. */
  readonly cached: number;
  /** The largest `live` since the device was opened or `resetPeak()`. */
  readonly peak: number;
  readonly limit: number;
  /** Tensors not yet disposed of. */
  readonly tensors: number;
  /** Op calls waiting in the queue. */
  readonly pending: number;
  /** Tensors that were forgotten and that the garbage collector returned. Zero in a program that disposes of what it makes. */
  readonly forgotten: number;
  /** Blocks beside which something was written; looked for only where HUNYUAN_GUARD=1 (a test mode of the CPU backend). */
  readonly guardViolations: number;
}

export class Device implements AsyncDisposable {
  /** "cpu", "cuda:0", … */
  readonly name: string;
  /** Number by which the addon knows it. */
  readonly id: number;
  /** Copies that were inserted because an op could not read a strided view. */
  insertedCopies = 0;
  forgotten = 0;
  /** Waits that failed or were aborted: what had been queued before may not have run, so what it would have left is not known. */
  failures = 0;
  #closing: Promise<void> | undefined;

  constructor(name: string, id: number) {
    this.name = name;
    this.id = id;
  }

  get disposed(): boolean {
    return this.#closing !== undefined;
  }

  /** What the machine says about it. */
  describe(): DeviceDescription {
    this.#check("describe");
    return binding().describe(this.id);
  }

  /** Counters as they stand now; work still queued has not allocated its outputs yet. */
  memory(): MemoryInfo {
    this.#check("memory");
    mailboxOf(16);
    binding().memory(this.id);
    return {
      live: mailboxNumber(0),
      cached: mailboxNumber(1),
      peak: mailboxNumber(2),
      limit: mailboxNumber(3),
      tensors: mailboxNumber(4),
      pending: mailboxNumber(5),
      forgotten: this.forgotten,
      guardViolations: mailboxNumber(8),
    };
  }

  /** Returns cached memory to the system. */
  trim(): void {
    this.#check("trim");
    binding().trim(this.id);
  }

  /** Starts a new measurement of `memory().peak`. */
  resetPeak(): void {
    this.#check("resetPeak");
    binding().resetPeak(this.id);
  }

  /** Changes the memory limit (bytes). What is live stays, even above a new, smaller limit. */
  setMemoryLimit(bytes: number): void {
    this.#check("setMemoryLimit");
    checkLimit("setMemoryLimit", bytes);
    binding().setLimit(this.id, bytes);
  }

  /**
   * Waits until everything queued so far has run.
   *
   * @throws the first error since the last sync that no `read()` has told yet.
   * @throws ABORTED when the signal fires: all work queued before this call that has not started is dropped.
   */
  async sync(options: WaitOptions = {}): Promise<void> {
    this.#check("sync");
    checkOptions("sync", options);
    await waitFor(this, "sync", () => binding().sync(this.id), options);
  }

  /**
   * Closes the device. The running op ends, queued ops are dropped, pending reads reject with DISPOSED, all memory
   * returns to the system. Disposing twice is allowed.
   */
  dispose(): Promise<void> {
    this.#closing ??= binding().closeDevice(this.id);
    openDevices.delete(this.name);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #check(op: string): void {
    if (this.disposed) throw new HunyuanError("DISPOSED", `${op}: device ${this.name} has been disposed of`, { op });
  }
}

/** Awaits a native promise, turning its failure into an exception and the signal into a native abort. */
export async function waitFor(
  device: Device,
  op: string,
  start: () => Promise<NativeFailure | undefined>,
  { signal }: WaitOptions,
): Promise<void> {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid(op, "signal", signal, "an AbortSignal");
  if (signal?.aborted) throw abortedError(op, signal);
  mailboxOf(16);
  const pending = start();
  if (!(pending instanceof Promise)) throw statusToError(Number(pending), op, device.name);
  const ticket = mailboxNumber(0);
  const onAbort = () => {
    device.failures++;
    binding().abort(device.id, ticket);
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const failure = await pending;
    if (failure === undefined) return;
    device.failures++;
    const error = failureToError(failure, device.name);
    throw error.code === "ABORTED" && signal?.aborted ? abortedError(op, signal) : error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

function abortedError(op: string, signal: AbortSignal): HunyuanError<"ABORTED"> {
  return new HunyuanError("ABORTED", `${op}: aborted by its signal`, { op }, { cause: signal.reason });
}

const openDevices = new Map<string, Device>();

function checkLimit(op: string, bytes: number): void {
  if (!(Number.isSafeInteger(bytes) && bytes > 0)) {
    throw invalid(op, "memoryLimit", bytes, "a whole number of bytes > 0");
  }
}

/**
 * Opens a device: "cpu", or "cuda" / "cuda:1" where there is a GPU. Each call gives a device with a queue and memory of
 * its own.
 *
 * @throws DEVICE_UNAVAILABLE with the reason (no driver, no such device, an instruction set this processor lacks).
 */
export function openDevice(name = "cpu", options: OpenDeviceOptions = {}): Device {
  checkOptions("openDevice", options);
  const { memoryLimit } = options;
  const [, backend, index = "0"] = (typeof name === "string" && /^([a-z]{1,16})(?::(\d{1,4}))?$/.exec(name)) || [];
  if (backend === undefined) throw invalid("openDevice", "name", name, 'one like "cpu" or "cuda:0"');
  if (memoryLimit !== undefined) checkLimit("openDevice", memoryLimit);
  const opened = binding().openDevice(backend, Number(index), memoryLimit ?? 0);
  if (typeof opened !== "number") {
    throw new HunyuanError("DEVICE_UNAVAILABLE", `${name}: ${opened.error}`, { device: name, reason: opened.error });
  }
  return new Device(name, opened);
}

/** The CPU device that tensors are put on when no device is named; opened at first use, again after a dispose. */
export function defaultDevice(): Device {
  let device = openDevices.get("cpu");
  if (device === undefined) {
    device = openDevice("cpu");
    openDevices.set("cpu", device);
  }
  return device;
}
