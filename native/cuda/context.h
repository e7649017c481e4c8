// What a launcher gets besides its arguments: the stream, workspace, a word for bad data, and what is worth knowing of
// the device. Includes nothing of CUDA, so that plain C++ can hold one too.
#pragma once

#include <cstdint>

#include "core/backend.h"
#include "core/data_error.h"

struct CUstream_st;  // what cudaStream_t points to

namespace hn::cuda {

using Stream = CUstream_st*;

/// What configurations are chosen by. Read once when a device is opened; plausible constants under the emulator.
struct DeviceProperties {
  int sm_count;
  int max_shared_bytes;    // dynamic shared memory a block may ask for: 166,912 on 8.0, 101,376 on 8.6, 232,448 on 9.0
  int compute_capability;  // 10 · major + minor: 80, 90, …
};

/// Where a kernel leaves word that it refuses its data (device/refuse.cuh): a lane's own 64 bits, 0 while all is well,
/// which the device and the host can see. The launch's order stands from bit 20 on, its op from bit 8 on, the DataError
/// below.
struct FaultWord {
  unsigned long long* word = nullptr;
  unsigned long long launch = 0;

  FaultWord() = default;
  FaultWord(unsigned long long* at, uint64_t order, uint32_t op) : word(at), launch(order << 20 | op << 8) {}
};
static_assert(sizeof(unsigned long long) == sizeof(uint64_t));

inline DataFault fault_of(uint64_t word) {
  return {word >> 20, static_cast<uint32_t>(word >> 8) & 0xfffu, status_of(static_cast<DataError>(word & 0xffu))};
}

class Context {
 public:
  Context(Stream stream, const LaunchHost& host, const DeviceProperties& device, const FaultWord& fault)
      : stream_(stream), host_(host), device_(device), fault_(fault) {}

  Stream stream() const { return stream_; }
  const DeviceProperties& device() const { return device_; }

  /// For kernels that look at their data. Asking for it marks the launch as one whose fault may be told later.
  const FaultWord& fault() const {
    host_.checks_data(host_.self);
    return fault_;
  }

  /// Device memory, 256-byte aligned on a GPU and at least 64-byte aligned anywhere, that holds until the lane has
  /// passed this launch. Its contents are undefined (NaN in tests). nullptr when the limit is reached: answer
  /// Status::no_memory(). How much is asked for may depend on shapes, never on sm_count where sums are cut by it:
  /// results must be the same on every device of one architecture.
  template <class T>
  T* workspace(int64_t count) const {
    return static_cast<T*>(host_.workspace(host_.self, static_cast<size_t>(count > 0 ? count : 1) * sizeof(T)));
  }

 private:
  Stream stream_;
  const LaunchHost& host_;
  const DeviceProperties& device_;
  const FaultWord fault_;
};

}  // namespace hn::cuda
