/**
 * hunyuan-native: HunyuanVideo inside Node.js. This entry holds what concerns the whole library; tensors, ops and
 * gradients are under `hunyuan-native/tensor`.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { packageRoot } from "./runtime/binding.js";

export { type BackendDescription, type DeviceDescription, describeBackends } from "./runtime/binding.js";
export { Device, type MemoryInfo, type OpenDeviceOptions, openDevice, type WaitOptions } from "./runtime/device.js";
export { type ErrorCode, type ErrorDetails, HunyuanError, isHunyuanError } from "./runtime/errors.js";

const manifest: { version: string } = createRequire(import.meta.url)(join(packageRoot, "package.json"));

/** Version of this package. */
export const version: string = manifest.version;
