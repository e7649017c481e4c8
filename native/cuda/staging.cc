#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace hn::cuda {
namespace {

constexpr size_t kStep = 64;  // small copies begin on cache lines of their own

}  // namespace

void CUDART_CB HostCopy::run(void* self) {
  const auto& copy = *static_cast<const HostCopy*>(self);
  platform::Lock lock(*copy.mutex);
  if (!*copy.lost) std::memcpy(copy.to, copy.from, copy.bytes);
}

cudaError_t Staging::take(size_t bytes, char** room, size_t* part) {
  if (slots_[current_].used == kSlotBytes) {
    const int next = (current_ + 1) % kSlots;
    if (slots_[next].memory != nullptr) {
      if (const cudaError_t error = cudaEventSynchronize(slots_[next].passed); error != cudaSuccess) return error;
    }
    slots_[next].used = 0;
    slots_[next].host_copies.clear();
    current_ = next;
  }
  Slot& slot = slots_[current_];
  if (slot.passed == nullptr) {
    const cudaError_t error = cudaEventCreateWithFlags(&slot.passed, cudaEventDisableTiming | cudaEventBlockingSync);
    if (error != cudaSuccess) return error;
  }
  if (slot.memory == nullptr) {
    void* memory = nullptr;
    if (const cudaError_t error = cudaHostAlloc(&memory, kSlotBytes, cudaHostAllocPortable); error != cudaSuccess) {
      return error;
    }
    slot.memory = static_cast<char*>(memory);
  }
  *part = std::min(bytes, kSlotBytes - slot.used);
  *room = slot.memory + slot.used;
  slot.used = std::min(kSlotBytes, slot.used + (*part + kStep - 1) / kStep * kStep);
  return cudaSuccess;
}

cudaError_t Staging::mark(cudaStream_t stream) { return cudaEventRecord(slots_[current_].passed, stream); }

void Staging::free_slots() {
  for (Slot& slot : slots_) {
    if (slot.memory != nullptr) (void)cudaFreeHost(slot.memory);
    if (slot.passed != nullptr) (void)cudaEventDestroy(slot.passed);
    slot.memory = nullptr;
    slot.passed = nullptr;
    slot.used = 0;
    slot.host_copies.clear();
  }
}

}  // namespace hn::cuda
