// The backend "cuda": the table's entries on Gpu.
#include "core/backend.h"
#include "core/generated/ops.h"
#include "cuda/driver.h"
#include "cuda/gpu.h"
#include "cuda/table.h"

namespace hn::cuda {
namespace {

Gpu& gpu(void* device) { return *static_cast<Gpu*>(device); }

Status open(int32_t index, void** device) {
  Gpu* opened = nullptr;
  HN_RETURN_IF_ERROR(Gpu::open(index, &opened));
  *device = opened;
  return {};
}

void close(void* device) { delete &gpu(device); }

void describe(void* device, DeviceInfo* out) { *out = gpu(device).info(); }

Status alloc(void* device, size_t bytes, void** out) { return gpu(device).alloc(bytes, out); }

void free(void* device, void* data, size_t) { gpu(device).free(data); }

Status upload(void* device, Lane lane, void* dst, const void* src, size_t bytes) {
  return gpu(device).upload(lane, dst, src, bytes);
}

Status download(void* device, Lane lane, void* dst, const void* src, size_t bytes) {
  return gpu(device).download(lane, dst, src, bytes);
}

Status launch_call(void* device, Lane lane, const LaunchHost* host, const OpCall* call) {
  return gpu(device).launch(lane, *host, *call);
}

Status event_record(void* device, Lane lane, void** event) { return gpu(device).event_record(lane, event); }
Status event_wait(void* device, void* event) { return gpu(device).event_wait(event); }
Status lane_wait(void* device, Lane lane, void* event) { return gpu(device).lane_wait(lane, event); }
void event_free(void* device, void* event) { gpu(device).event_free(event); }
bool take_fault(void* device, DataFault* out) { return gpu(device).take_fault(out); }

constexpr BackendTable kTable = {kBackendVersion,
                                 sizeof(BackendTable),
                                 kOpsHash,
                                 "cuda",
                                 count_devices,
                                 open,
                                 close,
                                 describe,
                                 alloc,
                                 free,
                                 upload,
                                 download,
                                 launch_call,
                                 supports,
                                 event_record,
                                 event_wait,
                                 lane_wait,
                                 event_free,
                                 take_fault,
                                 /*host_memory=*/false};

}  // namespace
}  // namespace hn::cuda

extern "C" __attribute__((visibility("default"))) const hn::BackendTable* hn_backend_table() {
  return &hn::cuda::kTable;
}
