// The backend "simt": the CUDA kernels on host memory, for tests. Launches end when their work is done.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/backend.h"
#include "core/generated/ops.h"
#include "core/platform/memory.h"
#include "cuda/table.h"

namespace hn::simt {
namespace {

/// Compiled for the least processor, unlike the rest of this library: it is asked first.
bool runs_here() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
#else
  return true;
#endif
}

int32_t device_count(const char** reason) {
  *reason = runs_here() ? "" : "the emulator is built for processors with AVX2";
  return runs_here() ? 1 : 0;
}

/// Plausible, but few multiprocessors: a kernel that strides over its grid takes several strides even in small cases.
cuda::DeviceProperties properties() {
  const char* sm = std::getenv("HUNYUAN_SIMT_SM");  // "80" or "90": which kernels are chosen
  const bool ampere = sm != nullptr && std::strcmp(sm, "80") == 0;
  return {.sm_count = 3, .max_shared_bytes = ampere ? 166'912 : 232'448, .compute_capability = ampere ? 80 : 90};
}

struct Device {
  /// HUNYUAN_SIMT_FAIL_LAUNCH=n, for tests of what a failing kernel leaves behind: the device's n-th launch, counted
  /// from 1, runs nothing and is an error. Read when the device is opened, on the thread that may change it.
  const uint64_t failing;
  std::atomic<uint64_t> launches{0};

  bool is_to_fail() { return failing != 0 && ++launches == failing; }
};

Status open(int32_t index, void** device) {
  if (index != 0) return Status::invalid("there is only one simt device");
  const char* failing = std::getenv("HUNYUAN_SIMT_FAIL_LAUNCH");
  *device = new Device{failing == nullptr ? 0 : std::strtoull(failing, nullptr, 10)};
  return {};
}

void close(void* device) { delete static_cast<Device*>(device); }

void describe(void*, DeviceInfo* out) {
  std::snprintf(out->name, sizeof out->name, "simt");
  std::snprintf(out->detail, sizeof out->detail, "CUDA kernels executed on the CPU, for tests");
  out->memory_bytes = platform::memory_limit_bytes();
  out->default_limit_bytes = out->memory_bytes / 2;
}

Status alloc(void*, size_t bytes, void** out) {
  *out = platform::aligned_alloc(bytes);
  if (*out) return {};
  return {Code::out_of_memory, "the system has no memory left"};
}

void free(void*, void* data, size_t) { platform::aligned_free(data); }

Status copy(void*, Lane, void* dst, const void* src, size_t bytes) {
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

Status launch(void* opened, Lane, const LaunchHost* host, const OpCall* call) {
  static const cuda::DeviceProperties device = properties();
  if (static_cast<Device*>(opened)->is_to_fail()) {
    return {Code::device_error, "the launch that HUNYUAN_SIMT_FAIL_LAUNCH names"};
  }
  unsigned long long fault = 0;
  const cuda::FaultWord word(&fault, host->order, call->op);
  HN_RETURN_IF_ERROR(cuda::launch(cuda::Context(nullptr, *host, device, word), *call));
  return fault == 0 ? Status{} : cuda::fault_of(fault).status;
}

// Every call is done when it returns.
Status event_record(void*, Lane, void** event) {
  *event = nullptr;
  return {};
}
Status event_wait(void*, void*) { return {}; }
Status lane_wait(void*, Lane, void*) { return {}; }
void event_free(void*, void*) {}
// A kernel refuses its data in the launch's answer.
bool take_fault(void*, DataFault*) { return false; }

constexpr BackendTable kTable = {kBackendVersion,
                                 sizeof(BackendTable),
                                 kOpsHash,
                                 "simt",
                                 device_count,
                                 open,
                                 close,
                                 describe,
                                 alloc,
                                 free,
                                 copy,
                                 copy,
                                 launch,
                                 cuda::supports,
                                 event_record,
                                 event_wait,
                                 lane_wait,
                                 event_free,
                                 take_fault,
                                 /*host_memory=*/true};

}  // namespace
}  // namespace hn::simt

extern "C" __attribute__((visibility("default"))) const hn::BackendTable* hn_backend_table() {
  return &hn::simt::kTable;
}
