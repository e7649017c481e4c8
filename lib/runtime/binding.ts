/** Finds and loads the native addon, and gives its functions types. Nothing else in lib/ touches the addon's object. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { HunyuanError } from "./errors.js";
import { opsHash } from "./generated/ops-hash.js";

/** What a promise of the addon resolves with when the work failed; turned into a HunyuanError by `throwFailure`. */
export interface NativeFailure {
  readonly code: number;
  readonly message: string;
  readonly op: string;
}

export interface BackendDescription {
  readonly name: string;
  /** How many devices it can open; 0 with a reason when none. */
  readonly devices: number;
  readonly reason: string;
}

export interface DeviceDescription {
  readonly backend: string;
  readonly name: string;
  readonly detail: string;
  /** Version of the GPU's driver and the least that this build works with; "" where there is none. */
  readonly driver: string;
  /** 9 for 9.0; 0 where there is none. */
  readonly computeCapability: number;
  readonly memoryBytes: number;
  /** What nobody else had taken when the device was opened; 0 where it is not known. */
  readonly freeBytes: number;
  readonly defaultLimitBytes: number;
  /** Why the default limit is not all memory; "" where it is. */
  readonly limitReason: string;
  readonly limitBytes: number;
}

/** The addon (native/addon). Numbers below zero are the statuses of native/addon/status_codes.h. */
export interface Binding {
  readonly opsHash: string;
  readonly versions: { readonly addon: string; readonly backendAbi: number };
  setMailbox(mailbox: Float64Array): number;
  submit(device: number): number;
  alias(handle: number): number;
  release(handle: number): number;
  isAlive(handle: number): boolean;
  upload(device: number, bytes: ArrayBufferView): number;
  /** `into` 0 makes a fresh storage of `total` bytes; the bytes go to `at` within it. */
  readFile(
    device: number,
    path: string,
    label: string,
    offset: number,
    bytes: number,
    into: number,
    at: number,
    total: number,
  ): number;
  download(device: number, handle: number, offset: number, into: ArrayBuffer): Promise<NativeFailure | undefined>;
  sync(device: number): Promise<NativeFailure | undefined>;
  abort(device: number, ticket: number): number;
  memory(device: number): number;
  trim(device: number): number;
  resetPeak(device: number): number;
  setLimit(device: number, bytes: number): number;
  openDevice(backend: string, index: number, limitBytes: number): number | { error: string; code: number };
  closeDevice(device: number): Promise<void>;
  describe(device: number): DeviceDescription;
  supports(device: number, op: number, dtype: number): boolean;
  backends(): BackendDescription[];
}

/** The folder of package.json, whether this file runs from lib/ or from dist/. */
export const packageRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
})();

function load(): Binding {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new HunyuanError(
      "PLATFORM_UNSUPPORTED",
      `hunyuan-native runs on linux-x64 with glibc ≥ 2.34; this is ${process.platform}-${process.arch}. ` +
        "Run it in a Linux container or virtual machine, or on WSL 2 under Windows.",
      { platform: process.platform, arch: process.arch },
    );
  }
  const require = createRequire(import.meta.url);
  let binding: Binding;
  try {
    binding = (require("node-gyp-build") as (root: string) => Binding)(packageRoot);
  } catch (cause) {
    throw new HunyuanError(
      "BINDING_NOT_FOUND",
      `no native binary could be loaded for ${process.platform}-${process.arch} under ${packageRoot}. ` +
        `Build one from the shipped sources with: npx hunyuan build (needs g++ and CMake). ${String(cause)}`,
      { searched: packageRoot, cause: String(cause) },
      { cause },
    );
  }
  if (binding.opsHash !== opsHash) {
    throw new HunyuanError(
      "BINDING_MISMATCH",
      `the native binary was built from other op declarations (${binding.opsHash}) than this JavaScript (${opsHash}). ` +
        "Build it again with: npx hunyuan build",
      { expected: opsHash, seen: binding.opsHash },
    );
  }
  return binding;
}

let loaded: Binding | undefined;

/** The addon, loaded at first use. Throws BINDING_NOT_FOUND, BINDING_MISMATCH or PLATFORM_UNSUPPORTED. */
export function binding(): Binding {
  loaded ??= load();
  return loaded;
}

/** What each backend offers on this machine; never throws for a missing GPU. */
export function describeBackends(): BackendDescription[] {
  return binding().backends();
}
