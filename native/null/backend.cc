// A backend whose kernels do nothing and whose memory is not there: measures the host side alone, lets tests queue
// terabytes, and is the first client of the table that CUDA's library fills in too.

#include <cstdio>
#include <cstring>

#include "core/backend.h"
#include "core/generated/ops.h"

namespace hn::null {
namespace {

int32_t device_count(const char** reason) {
  *reason = "";
  return 1;
}

Status open(int32_t index, void** device) {
  static char the_device;
  if (index != 0) return Status::invalid("there is only one null device");
  *device = &the_device;
  return {};
}

void close(void*) {}

void describe(void*, DeviceInfo* out) {
  std::snprintf(out->name, sizeof out->name, "null");
  std::snprintf(out->detail, sizeof out->detail, "does nothing, for tests and host-side benchmarks");
  out->memory_bytes = out->default_limit_bytes = uint64_t{1} << 50;
}

// Never touched: any address that is not null will do.
Status alloc(void*, size_t, void** out) {
  alignas(64) static char nothing[64];
  *out = nothing;
  return {};
}

void free(void*, void*, size_t) {}

Status upload(void*, Lane, void*, const void*, size_t) { return {}; }

Status download(void*, Lane, void* dst, const void*, size_t bytes) {
  std::memset(dst, 0, bytes);
  return {};
}

Status launch(void*, Lane, const LaunchHost*, const OpCall*) { return {}; }

bool supports(uint32_t op, DType) { return op < kOpCount; }

Status event_record(void*, Lane, void** event) {
  *event = nullptr;
  return {};
}

Status event_wait(void*, void*) { return {}; }
Status lane_wait(void*, Lane, void*) { return {}; }
void event_free(void*, void*) {}
bool take_fault(void*, DataFault*) { return false; }

constexpr BackendTable kTable = {kBackendVersion,
                                 sizeof(BackendTable),
                                 kOpsHash,
                                 "null",
                                 device_count,
                                 open,
                                 close,
                                 describe,
                                 alloc,
                                 free,
                                 upload,
                                 download,
                                 launch,
                                 supports,
                                 event_record,
                                 event_wait,
                                 lane_wait,
                                 event_free,
                                 take_fault,
                                 /*host_memory=*/false};

}  // namespace
}  // namespace hn::null

extern "C" __attribute__((visibility("default"))) const hn::BackendTable* hn_backend_table() {
  return &hn::null::kTable;
}
