/**
 * hunyuan-native: HunyuanVideo inside Node.js. This entry holds the model as a whole, videos in and out, devices and errors;
 * tensors, ops and gradients are under `hunyuan-native/tensor`.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { packageRoot } from "./runtime/binding.js";

export * from "./io/media/index.js";
export type { ModelDefaults } from "./models/defaults.js";
export type { DitConfig, ImageCondition } from "./models/dit/config.js";
export {
  loadEmbeddings,
  PromptEmbeddings,
  type PromptNotes,
  saveEmbeddings,
} from "./models/text/embeddings.js";
export type { EncodePromptOptions, ImageTokens } from "./models/text/encode.js";
export { defaultNegativePrompt, defaultNegativePromptI2v, type PromptKind } from "./models/text/templates.js";
export type { AxisTiles, Tiling, TilingOption } from "./models/vae/tiling.js";
export type { DecodeLatentsOptions } from "./pipelines/decode-latents.js";
export type { Estimate, EstimateRequest, StageEstimate } from "./pipelines/estimate.js";
export type { GenerateRequest } from "./pipelines/generate-request.js";
export { type EncodeVideoOptions, type GenerateOptions, HunyuanVideo } from "./pipelines/hunyuan-video.js";
export type { ComputeDType, LoadEvent, LoadOptions } from "./pipelines/load-options.js";
export type { LoadedLora, LoraOptions } from "./pipelines/loras.js";
export type { ImageInput, VideoInput } from "./pipelines/pixels.js";
export {
  type DecodeEvent,
  type DoneEvent,
  type EncodeEvent,
  type GenerateEvent,
  Generation,
  type OnProgress,
  type Preview,
  type QueuedEvent,
  type SampleEvent,
} from "./pipelines/progress.js";
export { Video } from "./pipelines/video.js";
export { type BackendDescription, type DeviceDescription, describeBackends } from "./runtime/binding.js";
export { Device, type MemoryInfo, type OpenDeviceOptions, openDevice, type WaitOptions } from "./runtime/device.js";
export { type ErrorCode, type ErrorDetails, HunyuanError, isHunyuanError } from "./runtime/errors.js";

const manifest: { version: string } = createRequire(import.meta.url)(join(packageRoot, "package.json"));

/** Version of this package. */
export const version: string = manifest.version;
