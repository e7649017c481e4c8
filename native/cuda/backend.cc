// The backend "cuda". So far it opens no device and says why; the kernels are linked in, and run under native/simt.
#include "core/backend.h"
#include "core/generated/ops.h"
#include "cuda/table.h"

namespace hn::cuda {
namespace {

int32_t device_count(const char** reason) {
  *reason = "this version's CUDA backend opens no devices yet";
  return 0;
}

Status no_device() { return Status::invalid("this version's CUDA backend opens no devices yet"); }

Status open(int32_t, void**) { return no_device(); }
void close(void*) {}
void describe(void*, DeviceInfo*) {}
Status alloc(void*, size_t, void**) { return no_device(); }
void free(void*, void*, size_t) {}
Status copy(void*, Lane, void*, const void*, size_t) { return no_device(); }

Status launch_call(void*, Lane, const LaunchHost* host, const OpCall* call) {
  constexpr DeviceProperties kNone{};
  return launch(Context(nullptr, *host, kNone), *call);
}

Status event_record(void*, Lane, void**) { return no_device(); }
Status event_wait(void*, void*) { return no_device(); }
Status lane_wait(void*, Lane, void*) { return no_device(); }
void event_free(void*, void*) {}

constexpr BackendTable kTable = {kBackendVersion,
                                 sizeof(BackendTable),
                                 kOpsHash,
                                 "cuda",
                                 device_count,
                                 open,
                                 close,
                                 describe,
                                 alloc,
                                 free,
                                 copy,
                                 copy,
                                 launch_call,
                                 supports,
                                 event_record,
                                 event_wait,
                                 lane_wait,
                                 event_free,
                                 /*host_memory=*/false};

}  // namespace
}  // namespace hn::cuda

extern "C" __attribute__((visibility("default"))) const hn::BackendTable* hn_backend_table() {
  return &hn::cuda::kTable;
}
