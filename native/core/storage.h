// The memory behind tensors. Handles and queued records hold references; the memory itself comes when the record that
// first writes it runs, and goes back to its lane's pool with the last reference, on whichever thread drops it.
#pragma once

#include <atomic>

#include "core/allocator.h"
#include "core/error.h"

namespace hn {

class Device;

struct Storage {
  Storage(Device* owner, Allocator* memory, uint64_t size, Lane lane)
      : device(owner), allocator(memory), bytes(size), home(lane) {}

  std::atomic<uint32_t> refs{1};
  Device* const device;
  Allocator* const allocator;
  const uint64_t bytes;  // as asked for; block.bytes is what it takes
  const Lane home;

  // Written by the lane that runs the record; other lanes read them after waiting for that record.
  Block block;
  ErrorPtr error;        // set: the contents were never computed, and why
  uint64_t checked = 0;  // fault_log.h

  // Touched by the submitting thread only. Sequence numbers are the lane's; 0 = never.
  unsigned used_lanes = 0;
  Lane write_lane = kComputeLane;
  uint64_t write_seq = 0;
  uint64_t use_seq[kLaneCount] = {};
};

inline void retain(Storage* storage) { storage->refs.fetch_add(1, std::memory_order_relaxed); }

inline void release(Storage* storage) {
  if (storage->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  storage->allocator->release(storage->home, storage->used_lanes, storage->block);
  delete storage;
}

}  // namespace hn
