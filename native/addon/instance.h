// What one loading of the addon owns: one for the main thread, one for each worker thread that loads it. Everything
// here is touched by that JavaScript thread only, except the inbox.
//
// Promises: the devices' threads put completions into the inbox and call one thread-safe function, which settles all
// that have gathered. It is referenced only while a promise is pending: a pending read keeps the process alive, a
// forgotten device does not.
#pragma once

#include <node_api.h>

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "addon/status_codes.h"
#include "core/device.h"

namespace hn::addon {

constexpr size_t kMailboxLeast = 16;

class Instance;

struct Promised {
  napi_deferred deferred = nullptr;  // null when settled already, by an abort
  napi_ref buffer = nullptr;         // where a read goes: must not be collected before its record has ended
};

/// A device and the promises that wait for it. Slots stay when their device is closed, so ids are never used twice.
struct DeviceSlot {
  Instance* owner = nullptr;
  std::string backend;
  std::unique_ptr<Device> device;  // null when closed
  bool closing = false;
  platform::Thread closer;                          // waits for the running ops, which the event loop must not
  std::unordered_map<uint64_t, Promised> promises;  // by ticket; 0 is the close
};

class Instance {
 public:
  /// nullptr with a pending exception when Node refuses.
  static Instance* create(napi_env env);
  ~Instance() { shutdown(); }

  HandleTable& handles() { return handles_; }
  /// nullptr for anything that is no open device.
  DeviceSlot* device(napi_value id);
  /// Empty when no mailbox is set or its buffer was detached.
  std::span<double> mailbox();
  bool set_mailbox(napi_value array);

  /// The new device's id, or a negative number and the reason.
  int32_t open(const std::string& backend, int32_t index, uint64_t limit, std::string* reason, Code* code);
  napi_value close(DeviceSlot& slot);

  /// A promise that the completion of `ticket` settles. `buffer`, a read's reference, may be nullptr; it is made before
  /// the read is queued, because from a terminated worker no promise can be had any more, and the read goes on.
  napi_value promise(DeviceSlot& slot, uint64_t ticket, napi_ref buffer);
  void abort(DeviceSlot& slot, uint64_t ticket);
  /// Settles what has completed.
  void settle_all();

 private:
  struct Arrived {
    DeviceSlot* slot;
    Completion completion;
  };

  explicit Instance(napi_env env) : env_(env) {}

  static void deliver(void* slot, Completion&& completion);
  void settle(Promised& promised, uint64_t ticket, const ErrorInfo* error);
  void finish(DeviceSlot& slot, const Completion& completion);
  /// Joins every thread. Runs in the environment's cleanup hook too, where no JavaScript may run: pending promises are
  /// left alone.
  void shutdown();

  const napi_env env_;
  napi_ref mailbox_ = nullptr;
  HandleTable handles_;
  std::vector<std::unique_ptr<DeviceSlot>> slots_;
  napi_threadsafe_function wake_ = nullptr;
  size_t pending_ = 0;

  platform::Mutex inbox_mutex_;
  std::vector<Arrived> inbox_;
  std::vector<Arrived> settling_;  // the inbox's other half, so that neither grows anew each time
};

// The exported functions: queue_wrap.cc and device_wrap.cc. The callback's data is the Instance.
void export_queue(napi_env env, napi_value exports, Instance* self);
void export_devices(napi_env env, napi_value exports, Instance* self);

// What they share (addon.cc).
napi_value number(napi_env env, double value);
void export_function(napi_env env, napi_value exports, const char* name, napi_callback function, Instance* self);
/// Reads the arguments, missing ones as undefined, and answers the instance.
Instance* arguments(napi_env env, napi_callback_info info, std::span<napi_value> args);
/// A whole number in [0, 2^53).
bool whole_number(napi_env env, napi_value value, uint64_t* out);
bool text(napi_env env, napi_value value, std::string* out);

constexpr int status_of(Answer answer) { return -static_cast<int>(answer); }

}  // namespace hn::addon
