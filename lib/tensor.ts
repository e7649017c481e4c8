/** `hunyuan-native/tensor`: devices, typed tensors, ops and gradients. */
export * from "./autograd/index.js";
export * from "./ops/index.js";
export { type BackendDescription, type DeviceDescription, describeBackends } from "./runtime/binding.js";
export {
  Device,
  defaultDevice,
  type MemoryInfo,
  type OpenDeviceOptions,
  openDevice,
  type WaitOptions,
} from "./runtime/device.js";
export { type ErrorCode, type ErrorDetails, HunyuanError, isHunyuanError } from "./runtime/errors.js";
export {
  bytesOf,
  type DType,
  dtypes,
  type FloatDType,
  type HostArray,
  type HostArrays,
  type IndexDType,
  type IntDType,
  type NumericDType,
} from "./tensor/dtype.js";
export { fromBytes, type NestedArray, type TensorData, type TensorOptions, tensor } from "./tensor/host.js";
export { readNd } from "./tensor/nd.js";
export { Scope, scope } from "./tensor/scope.js";
export type { Shape } from "./tensor/shape.js";
export { Tensor } from "./tensor/tensor.js";
