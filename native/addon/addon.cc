// The addon's entry: exports plain functions and numbers, no classes. lib/runtime/binding.ts gives them types.

#include <napi.h>

#include "addon/instance.h"
#include "core/generated/ops.h"
#include "core/registry.h"
#include "cpu/backend.h"

namespace hn::addon {

// The numbers of core's answers are those that TypeScript knows, with the sign turned.
static_assert(status_of(Answer::bad_argument) == kBadArgument && status_of(Answer::disposed) == kDisposed &&
              status_of(Answer::device_gone) == kDeviceGone && status_of(Answer::wrong_device) == kWrongDevice &&
              status_of(Answer::out_of_bounds) == kOutOfBounds && status_of(Answer::queue_full) == kQueueFull &&
              status_of(Answer::handles_exhausted) == kHandlesExhausted &&
              status_of(Answer::no_host_memory) == kNoHostMemory);

napi_value number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

Instance* arguments(napi_env env, napi_callback_info info, std::span<napi_value> args) {
  size_t count = args.size();
  void* self = nullptr;
  napi_get_cb_info(env, info, &count, args.data(), nullptr, &self);
  return static_cast<Instance*>(self);
}

bool whole_number(napi_env env, napi_value value, uint64_t* out) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number < 0x1p53)) return false;
  *out = static_cast<uint64_t>(number);
  return static_cast<double>(*out) == number;
}

bool text(napi_env env, napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  out->resize(length);
  return napi_get_value_string_utf8(env, value, out->data(), length + 1, &length) == napi_ok &&
         out->find('\0') == std::string::npos;
}

void export_function(napi_env env, napi_value exports, const char* name, napi_callback function, Instance* self) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, self, &value);
  napi_set_named_property(env, exports, name, value);
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Registry::shared().add_builtin(cpu_backend_table());
  Instance* self = Instance::create(env);
  if (!self) return exports;
  export_queue(env, exports, self);
  export_devices(env, exports, self);
  exports.Set("opsHash", std::to_string(kOpsHash));  // 64 bits do not fit a JavaScript number
  Napi::Object versions = Napi::Object::New(env);
  versions.Set("addon", "0.1.0");
  versions.Set("backendAbi", kBackendVersion);
  exports.Set("versions", versions);
  return exports;
}

NODE_API_MODULE(hunyuan, init)

}  // namespace
}  // namespace hn::addon
