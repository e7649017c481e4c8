// The hot half of the binding: queueing work and waiting for it. All answer a status, a handle or a promise; none
// throws. Plain C Node-API: a call costs a few hundred nanoseconds, of which C++ wrappers would be a third.

#include "addon/instance.h"

namespace hn::addon {
namespace {

napi_value submit(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const std::span<double> mailbox = self->mailbox();
  if (mailbox.empty()) return number(env, kBadArgument);
  return number(env, status_of(slot->device->submit(self->handles(), mailbox)));
}

napi_value alias(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  double handle = 0;
  if (napi_get_value_double(env, args[0], &handle) != napi_ok) return number(env, kBadArgument);
  Storage* storage = self->handles().find(handle);
  if (!storage) return number(env, kDisposed);
  if (!self->handles().has_room(1)) return number(env, kHandlesExhausted);
  retain(storage);
  return number(env, self->handles().add(storage));
}

napi_value release_handle(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  double handle = 0;
  if (napi_get_value_double(env, args[0], &handle) != napi_ok) return number(env, kBadArgument);
  return number(env, self->handles().release(handle) ? kOk : kDisposed);
}

napi_value is_alive(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  double handle = 0;
  const bool is_number = napi_get_value_double(env, args[0], &handle) == napi_ok;
  napi_value result = nullptr;
  napi_get_boolean(env, is_number && self->handles().find(handle), &result);
  return result;
}

size_t element_bytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array:
      return 8;
    default:
      return 1;
  }
}

bool view_bytes(napi_env env, napi_value view, const void** data, size_t* bytes) {
  bool is_array = false, is_data_view = false;
  void* start = nullptr;
  if (napi_is_typedarray(env, view, &is_array) == napi_ok && is_array) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, view, &type, bytes, &start, nullptr, nullptr) != napi_ok) return false;
    *bytes *= element_bytes(type);
  } else if (napi_is_dataview(env, view, &is_data_view) == napi_ok && is_data_view) {
    if (napi_get_dataview_info(env, view, bytes, &start, nullptr, nullptr) != napi_ok) return false;
  } else {
    return false;
  }
  *data = start;
  return start || *bytes == 0;
}

napi_value upload(napi_env env, napi_callback_info info) {
  napi_value args[2];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const void* data = nullptr;
  size_t bytes = 0;
  if (!view_bytes(env, args[1], &data, &bytes)) return number(env, kBadArgument);
  double handle = 0;
  const Answer answer = slot->device->upload(self->handles(), data, bytes, &handle);
  return number(env, answer == Answer::ok ? handle : status_of(answer));
}

napi_value read_file(napi_env env, napi_callback_info info) {
  napi_value args[8];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  FileRange range;
  uint64_t total = 0;
  double handle = 0;
  if (!text(env, args[1], &range.path) || !text(env, args[2], &range.label) ||
      !whole_number(env, args[3], &range.offset) || !whole_number(env, args[4], &range.bytes) ||
      napi_get_value_double(env, args[5], &handle) != napi_ok || !whole_number(env, args[6], &range.storage_offset) ||
      !whole_number(env, args[7], &total)) {
    return number(env, kBadArgument);
  }
  const Answer answer = slot->device->read_file(self->handles(), std::move(range), total, &handle);
  return number(env, answer == Answer::ok ? handle : status_of(answer));
}

napi_value download(napi_env env, napi_callback_info info) {
  napi_value args[4];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const std::span<double> mailbox = self->mailbox();
  double handle = 0;
  uint64_t offset = 0, ticket = 0;
  bool is_buffer = false;
  if (mailbox.empty() || napi_get_value_double(env, args[1], &handle) != napi_ok ||
      !whole_number(env, args[2], &offset) || napi_is_arraybuffer(env, args[3], &is_buffer) != napi_ok || !is_buffer) {
    return number(env, kBadArgument);
  }
  void* into = nullptr;
  size_t bytes = 0;
  if (napi_get_arraybuffer_info(env, args[3], &into, &bytes) != napi_ok) return number(env, kBadArgument);
  napi_ref buffer = nullptr;
  if (napi_create_reference(env, args[3], 1, &buffer) != napi_ok) return number(env, kBadArgument);
  const Answer answer = slot->device->download(self->handles(), handle, offset, into, bytes, &ticket);
  if (answer != Answer::ok) {
    napi_delete_reference(env, buffer);
    return number(env, status_of(answer));
  }
  mailbox[0] = static_cast<double>(ticket);
  return self->promise(*slot, ticket, buffer);
}

napi_value sync(napi_env env, napi_callback_info info) {
  napi_value args[1];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  const std::span<double> mailbox = self->mailbox();
  if (mailbox.empty()) return number(env, kBadArgument);
  uint64_t ticket = 0;
  const Answer answer = slot->device->sync(&ticket);
  if (answer != Answer::ok) return number(env, status_of(answer));
  mailbox[0] = static_cast<double>(ticket);
  return self->promise(*slot, ticket, nullptr);
}

/// Late and unknown tickets are no error: the promise may have been settled a moment ago.
napi_value abort(napi_env env, napi_callback_info info) {
  napi_value args[2];
  Instance* self = arguments(env, info, args);
  DeviceSlot* slot = self->device(args[0]);
  if (!slot) return number(env, kDeviceGone);
  uint64_t ticket = 0;
  if (!whole_number(env, args[1], &ticket)) return number(env, kBadArgument);
  self->abort(*slot, ticket);
  return number(env, kOk);
}

}  // namespace

void export_queue(napi_env env, napi_value exports, Instance* self) {
  export_function(env, exports, "submit", submit, self);
  export_function(env, exports, "alias", alias, self);
  export_function(env, exports, "release", release_handle, self);
  export_function(env, exports, "isAlive", is_alive, self);
  export_function(env, exports, "upload", upload, self);
  export_function(env, exports, "readFile", read_file, self);
  export_function(env, exports, "download", download, self);
  export_function(env, exports, "sync", sync, self);
  export_function(env, exports, "abort", abort, self);
}

}  // namespace hn::addon
