#include "addon/instance.h"

#include "core/registry.h"

namespace hn::addon {
namespace {

void set(napi_env env, napi_value object, const char* name, const std::string& value) {
  napi_value string = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &string);
  napi_set_named_property(env, object, name, string);
}

}  // namespace

Instance* Instance::create(napi_env env) {
  auto* self = new Instance(env);
  napi_value name = nullptr;
  napi_create_string_utf8(env, "hunyuan-native", NAPI_AUTO_LENGTH, &name);
  auto settle = [](napi_env call_env, napi_value, void* context, void*) {
    if (call_env) static_cast<Instance*>(context)->settle_all();
  };
  // Made before the hook below is added: hooks run in reverse order, so our threads end before this function does.
  napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, self, settle, &self->wake_);
  if (status == napi_ok) status = napi_unref_threadsafe_function(env, self->wake_);
  if (status == napi_ok) {
    status = napi_set_instance_data(
        env, self, [](napi_env, void* data, void*) { delete static_cast<Instance*>(data); }, nullptr);
  }
  if (status == napi_ok) {
    status = napi_add_env_cleanup_hook(
        env, [](void* data) { static_cast<Instance*>(data)->shutdown(); }, self);
  }
  if (status == napi_ok) return self;
  napi_throw_error(env, nullptr, "hunyuan-native: Node could not set up the addon");
  return nullptr;
}

DeviceSlot* Instance::device(napi_value id) {
  uint32_t index = 0;
  double value = 0;
  if (napi_get_value_double(env_, id, &value) != napi_ok || !(value >= 0 && value < 1e9)) return nullptr;
  index = static_cast<uint32_t>(value);
  if (index >= slots_.size() || index != value) return nullptr;
  DeviceSlot& slot = *slots_[index];
  return slot.device && !slot.closing ? &slot : nullptr;
}

std::span<double> Instance::mailbox() {
  napi_value array = nullptr;
  if (!mailbox_ || napi_get_reference_value(env_, mailbox_, &array) != napi_ok || !array) return {};
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env_, array, &type, &length, &data, nullptr, nullptr) != napi_ok) return {};
  if (!data || length < kMailboxLeast) return {};  // detached: length 0
  return {static_cast<double*>(data), length};
}

bool Instance::set_mailbox(napi_value array) {
  bool is_array = false;
  if (napi_is_typedarray(env_, array, &is_array) != napi_ok || !is_array) return false;
  napi_typedarray_type type;
  size_t length = 0;
  if (napi_get_typedarray_info(env_, array, &type, &length, nullptr, nullptr, nullptr) != napi_ok) return false;
  if (type != napi_float64_array || length < kMailboxLeast) return false;
  napi_ref reference = nullptr;
  if (napi_create_reference(env_, array, 1, &reference) != napi_ok) return false;
  if (mailbox_) napi_delete_reference(env_, mailbox_);
  mailbox_ = reference;
  return true;
}

int32_t Instance::open(const std::string& backend, int32_t index, uint64_t limit, std::string* reason, Code* code) {
  const Registry::Entry entry = Registry::shared().find(backend);
  if (!entry.table || entry.devices == 0) {
    *code = Code::invalid_argument;
    *reason = entry.reason;
    return -1;
  }
  auto slot = std::make_unique<DeviceSlot>();
  slot->owner = this;
  slot->backend = backend;
  const Status status = Device::open(*entry.table, index, limit, {slot.get(), &Instance::deliver}, &slot->device);
  if (!status.ok()) {
    *code = status.code;
    *reason = status.message;
    return -1;
  }
  slots_.push_back(std::move(slot));
  return static_cast<int32_t>(slots_.size()) - 1;
}

napi_value Instance::close(DeviceSlot& slot) {
  slot.closing = true;
  slot.device->stop();
  handles_.release_all(slot.device.get());
  napi_value result = promise(slot, 0, nullptr);
  auto wait = [](void* arg) {
    platform::set_thread_name("hn-closer");
    auto* closing = static_cast<DeviceSlot*>(arg);
    closing->device->close();
    deliver(closing, {});
  };
  if (!slot.closer.start(wait, &slot)) wait(&slot);
  return result;
}

napi_value Instance::promise(DeviceSlot& slot, uint64_t ticket, napi_ref buffer) {
  Promised promised{nullptr, buffer};
  napi_value result = nullptr;
  if (napi_create_promise(env_, &promised.deferred, &result) != napi_ok) promised.deferred = nullptr;
  slot.promises.emplace(ticket, promised);
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
  return result;
}

void Instance::abort(DeviceSlot& slot, uint64_t ticket) {
  settle_all();  // what has completed is no longer to be aborted
  const auto found = slot.promises.find(ticket);
  if (found == slot.promises.end()) return;
  Promised& promised = found->second;
  const bool is_read = promised.buffer != nullptr;
  const bool queued = slot.device->abort(ticket);
  // A queued sync ends by itself, right after the running op: then all it waited for is settled too.
  if (queued && !is_read) return;
  const ErrorInfo aborted{Code::aborted, is_read ? "read: aborted" : "sync: aborted", is_read ? "read" : "sync"};
  settle(promised, ticket, &aborted);
}

void Instance::deliver(void* arg, Completion&& completion) {
  auto* slot = static_cast<DeviceSlot*>(arg);
  Instance& self = *slot->owner;
  bool first = false;
  {
    platform::Lock lock(self.inbox_mutex_);
    first = self.inbox_.empty();
    self.inbox_.push_back({slot, std::move(completion)});
  }
  if (first) napi_call_threadsafe_function(self.wake_, nullptr, napi_tsfn_nonblocking);
}

void Instance::settle_all() {
  {
    platform::Lock lock(inbox_mutex_);
    settling_.swap(inbox_);
  }
  for (const Arrived& arrived : settling_) {
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env_, &scope);
    finish(*arrived.slot, arrived.completion);
    napi_close_handle_scope(env_, scope);
  }
  settling_.clear();
}

void Instance::finish(DeviceSlot& slot, const Completion& completion) {
  const auto found = slot.promises.find(completion.ticket);
  if (found == slot.promises.end()) return;
  Promised promised = found->second;
  slot.promises.erase(found);
  if (completion.ticket == 0) {
    slot.closer.join();
    slot.device.reset();
  }
  settle(promised, completion.ticket, completion.error.get());
  if (promised.buffer) napi_delete_reference(env_, promised.buffer);
  if (--pending_ == 0) napi_unref_threadsafe_function(env_, wake_);
}

void Instance::settle(Promised& promised, uint64_t ticket, const ErrorInfo* error) {
  if (!promised.deferred) return;
  napi_value value = nullptr;
  if (error) {
    napi_create_object(env_, &value);
    napi_set_named_property(env_, value, "code", number(env_, static_cast<double>(error->code)));
    set(env_, value, "message", error->message);
    set(env_, value, "op", error->op);
    napi_set_named_property(env_, value, "ticket", number(env_, static_cast<double>(ticket)));
  } else {
    napi_get_undefined(env_, &value);
  }
  napi_resolve_deferred(env_, promised.deferred, value);
  promised.deferred = nullptr;
}

void Instance::shutdown() {
  for (auto& slot : slots_) {
    if (slot->device && !slot->closing) slot->device->stop();  // all at once, so that their last ops end side by side
  }
  handles_.release_all(nullptr);
  for (auto& slot : slots_) {
    slot->closer.join();
    slot->device.reset();
  }
}

}  // namespace hn::addon
