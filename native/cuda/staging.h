// Page-locked memory that copies between the host and one lane of a GPU go through, in one direction. The memory of
// tensors on the host is pageable: CUDA would make the lane's thread wait for it.
//
// A ring of slots. Small copies share a slot; each goes behind the one before. A slot is used again when the stream has
// passed the last copy in it, so that no more than the ring is ever page-locked, and a large copy waits for itself.
// For the thread of its lane alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <deque>

#include "core/platform/threads.h"

namespace hn::cuda {

/// The second half of a download: from page-locked memory to where the reader wants the bytes. Runs on a thread of
/// CUDA's, when the stream has come to it, and does nothing once the device is lost: the reader has been told then, and
/// the memory may be gone.
struct HostCopy {
  platform::Mutex* mutex;
  const bool* lost;
  void* to;
  const void* from;
  size_t bytes;

  static void CUDART_CB run(void* self);
};

class Staging {
 public:
  static constexpr size_t kSlotBytes = size_t{4} << 20;
  static constexpr int kSlots = 4;

  /// Room for up to `bytes` > 0 of them: a part, when the slot ends before. cudaErrorMemoryAllocation: the host has no
  /// more page-locked memory.
  cudaError_t take(size_t bytes, char** room, size_t* part);
  /// Keeps it as long as the slot's copies are under way.
  HostCopy* keep(const HostCopy& copy) { return &slots_[current_].host_copies.emplace_back(copy); }
  /// All work on the room taken last is on the stream.
  cudaError_t mark(cudaStream_t stream);
  /// When the stream is at rest.
  void free_slots();

 private:
  struct Slot {
    char* memory = nullptr;
    cudaEvent_t passed = nullptr;
    size_t used = 0;
    std::deque<HostCopy> host_copies;
  };

  Slot slots_[kSlots];
  int current_ = 0;
};

}  // namespace hn::cuda
