// The cold half of the binding: opening, describing and closing devices, and their memory counters.

#include <napi.h>

#include "addon/instance.h"
#include "core/registry.h"

namespace hn::addon {
namespace {

napi_value set_mailbox(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  return number(env, self->set_mailbox(args[0]) ? kOk : kBadArgument);
}

napi_value open_device(napi_env env, napi_callback_info info) {
  napi_value args[3];
  Instance* self = arguments(env, info, args);
  std::string backend, reason = "expected a backend's name, an index and a memory limit";
  uint64_t index = 0, limit = 0;
  Code code = Code::invalid_argument;
  int32_t id = -1;
  if (text(env, args[0], &backend) && whole_number(env, args[1], &index) && whole_number(env, args[2], &limit)) {
    const auto device = static_cast<int32_t>(std::min<uint64_t>(index, INT32_MAX));
    id = self->open(backend, device, limit, &reason, &code);
  }
  if (id >= 0) return number(env, id);
  Napi::Object failure = Napi::Object::New(env);
  failure.Set("error", reason);
  failure.Set("code", static_cast<double>(code));
  return failure;
}

napi_value close_device(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  return slot ? self->close(*slot) : number(env, kDeviceGone);
}

napi_value describe(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const DeviceInfo device = slot->device->describe();
  Napi::Object out = Napi::Object::New(env);
  out.Set("backend", slot->backend);
  out.Set("name", std::string(device.name));
  out.Set("detail", std::string(device.detail));
  out.Set("driver", std::string(device.driver));
  out.Set("computeCapability", device.compute_capability / 10.0);
  out.Set("memoryBytes", static_cast<double>(device.memory_bytes));
  out.Set("freeBytes", static_cast<double>(device.free_bytes));
  out.Set("defaultLimitBytes", static_cast<double>(device.default_limit_bytes));
  out.Set("limitReason", std::string(device.limit_reason));
  out.Set("limitBytes", static_cast<double>(slot->device->memory().counters().limit));
  return out;
}

napi_value supports(napi_env env, napi_callback_info info) {
  napi_value args[3];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  uint64_t op = 0, dtype = 0;
  const bool valid = slot && whole_number(env, args[1], &op) && whole_number(env, args[2], &dtype) &&
                     op <= UINT32_MAX && is_valid_dtype(static_cast<int64_t>(dtype));
  const bool answer = valid && slot->device->table().supports(static_cast<uint32_t>(op), static_cast<DType>(dtype));
  return Napi::Boolean::New(env, answer);
}

napi_value backends(napi_env env, napi_callback_info) {
  Napi::Array out = Napi::Array::New(env);
  for (const auto& [name, entry] : Registry::shared().list()) {
    Napi::Object backend = Napi::Object::New(env);
    backend.Set("name", name);
    backend.Set("devices", entry.devices);
    backend.Set("reason", entry.reason);
    out.Set(out.Length(), backend);
  }
  return out;
}

/// Into the mailbox: live, cached, peak, limit, handles, pending records, workspace and staging bytes, guard
/// violations.
napi_value memory(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const std::span<double> mailbox = self->mailbox();
  if (mailbox.empty()) return number(env, kBadArgument);
  const DeviceCounters now = slot->device->counters();
  const uint64_t values[] = {now.memory.live,      now.memory.cached, now.memory.peak,
                             now.memory.limit,     now.handles,       now.pending,
                             now.memory.workspace, now.staging,       now.memory.guard_violations};
  for (size_t i = 0; i < std::size(values); ++i) mailbox[i] = static_cast<double>(values[i]);
  return number(env, kOk);
}

napi_value trim(napi_env env, napi_callback_info info) {
  napi_value args[1];
  DeviceSlot* slot = arguments(env, info, args)->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  slot->device->memory().trim();
  return number(env, kOk);
}

napi_value reset_peak(napi_env env, napi_callback_info info) {
  napi_value args[1];
  DeviceSlot* slot = arguments(env, info, args)->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  slot->device->memory().reset_peak();
  return number(env, kOk);
}

napi_value set_limit(napi_env env, napi_callback_info info) {
  napi_value args[2];
  DeviceSlot* slot = arguments(env, info, args)->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  uint64_t bytes = 0;
  if (!whole_number(env, args[1], &bytes) || bytes == 0) return number(env, kBadArgument);
  slot->device->memory().set_limit(bytes);
  return number(env, kOk);
}

}  // namespace

void export_devices(napi_env env, napi_value exports, Instance* self) {
  export_function(env, exports, "setMailbox", set_mailbox, self);
  export_function(env, exports, "openDevice", open_device, self);
  export_function(env, exports, "closeDevice", close_device, self);
  export_function(env, exports, "describe", describe, self);
  export_function(env, exports, "supports", supports, self);
  export_function(env, exports, "backends", backends, self);
  export_function(env, exports, "memory", memory, self);
  export_function(env, exports, "trim", trim, self);
  export_function(env, exports, "resetPeak", reset_peak, self);
  export_function(env, exports, "setLimit", set_limit, self);
}

}  // namespace hn::addon
