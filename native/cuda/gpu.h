// One opened GPU: a stream and staging memory for each lane, events, and what is known of its health.
//
// Every call sets the device of its thread first. An error that belongs to one call is that call's answer. One that the
// device itself has met (an illegal address, a fault of the memory) comes back from every later call in this process:
// the GPU is lost then, all that waits for it is told so, and other devices work on.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/platform/threads.h"
#include "cuda/context.h"
#include "cuda/staging.h"
#include "cuda/trail.h"

namespace hn::cuda {

class Gpu {
 public:
  static Status open(int32_t index, Gpu** out);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const DeviceInfo& info() const { return info_; }

  // cudaMalloc and cudaFree: the core's cache stands before them, and counts on a free to wait for work on the block.
  Status alloc(size_t bytes, void** out);
  void free(void* data);

  // For the lane's own thread. An upload has read its source when it returns; a download has filled its destination
  // when an event behind it is reached.
  Status upload(Lane lane, void* dst, const void* src, size_t bytes);
  Status download(Lane lane, void* dst, const void* src, size_t bytes);
  Status launch(Lane lane, const LaunchHost& host, const OpCall& call);

  // For any thread.
  Status event_record(Lane lane, void** event);
  Status event_wait(void* event);
  Status lane_wait(Lane lane, void* event);
  void event_free(void* event);
  bool take_fault(DataFault* out);

 private:
  struct Event {
    cudaEvent_t handle = nullptr;
    Lane lane = kComputeLane;
    uint64_t launches = 0;  // of the lane, before it
  };

  explicit Gpu(int32_t index);
  Status start();
  void describe(const cudaDeviceProp& device, size_t free_bytes);
  /// Makes this the device of the thread, or answers that it is lost.
  Status enter();
  Status check(cudaError_t error);
  /// The same for page-locked memory, which is the host's.
  Status check_staging(cudaError_t error);
  Status lose(cudaError_t error);
  Status new_event(Event** out);
  bool take_fault_of(Lane lane, DataFault* out);

  const int index_;
  DeviceInfo info_{};
  DeviceProperties properties_{};
  bool step_by_step_ = false;
  cudaStream_t streams_[kLaneCount] = {};
  Staging up_[kLaneCount], down_[kLaneCount];
  Trail trails_[kLaneCount];

  platform::Mutex events_mutex_;
  std::vector<Event*> idle_events_;

  platform::Mutex faults_mutex_;
  unsigned long long *faults_ = nullptr, *faults_on_device_ = nullptr;  // a word a lane, in the host's memory
  uint64_t told_[kLaneCount] = {};

  platform::Mutex lost_mutex_;  // held by host copies, too
  bool lost_ = false;
  std::atomic<const char*> why_lost_{nullptr};
};

}  // namespace hn::cuda
