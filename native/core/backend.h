// The table that every backend fills in: the one thing that crosses between the addon and a backend's
// shared library. Plain C types, a version and a hash of the generated op header; a table whose version or
// hash differs is refused by name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/status.h"
#include "core/tensor_view.h"

namespace hn {

constexpr uint32_t kBackendVersion = 2;
constexpr const char* kBackendSymbol = "hn_backend_table";

/// Ordered streams of work. Records of different lanes may overlap; core inserts the waits.
enum Lane : int32_t { kComputeLane = 0, kTransferLane = 1, kLaneCount = 2 };

/// One op call, as the generated decoders read it: arguments in declared order (inputs, then outputs),
/// each with 0 (not given), 1, or (lists) any number of tensors; attributes as doubles.
struct OpCall {
  uint32_t op;
  uint32_t arg_count;
  const int32_t* arg_counts;
  const TensorView* tensors;
  const double* attrs;
  uint32_t attr_count;
};

/// What a launch may ask of the host while it runs. Workspace lives until the launch returns on the CPU,
/// until the lane has passed it on a GPU; it counts against the device's memory limit; nullptr = no memory.
struct LaunchHost {
  void* self;
  void* (*workspace)(void* self, size_t bytes);
  /// The launch's place among all records of the device, from 1: what a fault names it by.
  uint64_t order;
  /// To be called by a launch that may find bad data after it has returned (take_fault).
  void (*checks_data)(void* self);
};

/// A launch that answered ok, and whose kernel then found data that it refuses.
struct DataFault {
  uint64_t order;  // LaunchHost::order of the launch
  uint32_t op;
  Status status;
};

/// For people, all of it; texts may be empty and numbers 0 where there is nothing to say.
struct DeviceInfo {
  char name[128];
  char detail[128];            // "avx512, 2 threads" or "compute capability 9.0, 132 multiprocessors"
  char driver[128];            // "580.65.06, CUDA 13.0; this build needs 580 or newer"
  int32_t compute_capability;  // 10 · major + minor
  uint64_t memory_bytes;
  uint64_t free_bytes;  // when the device was opened, others' use taken off
  uint64_t default_limit_bytes;
  char limit_reason[128];  // why the limit is not all memory
};

struct BackendTable {
  uint32_t version;
  uint32_t size;  // sizeof(BackendTable), a second guard against a stale build
  uint64_t ops_hash;
  const char* name;

  /// Number of devices; when 0, `reason` says why in words that `doctor` prints.
  int32_t (*device_count)(const char** reason);
  Status (*open)(int32_t index, void** device);
  void (*close)(void* device);
  void (*describe)(void* device, DeviceInfo* out);

  Status (*alloc)(void* device, size_t bytes, void** out);
  void (*free)(void* device, void* data, size_t bytes);
  Status (*upload)(void* device, Lane lane, void* dst, const void* src, size_t bytes);
  Status (*download)(void* device, Lane lane, void* dst, const void* src, size_t bytes);
  Status (*launch)(void* device, Lane lane, const LaunchHost* host, const OpCall* call);
  /// Whether this backend has a kernel for the op at the dtype of its first tensor.
  bool (*supports)(uint32_t op, DType dtype);

  /// Events: `record` marks the lane's present end; `wait` blocks the calling thread until it is reached;
  /// `lane_wait` makes a lane wait without blocking anyone. All thread-safe.
  Status (*event_record)(void* device, Lane lane, void** event);
  Status (*event_wait)(void* device, void* event);
  Status (*lane_wait)(void* device, Lane lane, void* event);
  void (*event_free)(void* device, void* event);

  /// The next fault that no call has told yet; false when there is none. A fault can be seen as soon as an event behind
  /// its launch is reached. Of several on a lane the first is told; later ones may be dropped until this call returns.
  bool (*take_fault)(void* device, DataFault* out);

  /// Whether blocks are memory of this process and a launch is done when it returns: then core can look at what a
  /// kernel read and wrote (guard.h, recorder.h).
  bool host_memory;
};

using BackendTableFn = const BackendTable* (*)();

}  // namespace hn
