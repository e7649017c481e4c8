#include "core/handle_table.h"

#include "core/device.h"

namespace hn {

double HandleTable::add(Storage* storage) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  slots_[index].storage = storage;
  storage->device->count_handles(+1);
  return static_cast<double>(slots_[index].generation * kSlots + index);
}

Storage* HandleTable::find(double handle) const {
  if (!(handle >= static_cast<double>(kSlots) && handle < 0x1p53)) return nullptr;  // also NaN
  const auto packed = static_cast<uint64_t>(handle);
  if (static_cast<double>(packed) != handle) return nullptr;
  const uint64_t index = packed % kSlots;
  if (index >= slots_.size() || slots_[index].generation != packed / kSlots) return nullptr;
  return slots_[index].storage;
}

bool HandleTable::release(double handle) {
  if (!find(handle)) return false;
  release_slot(static_cast<uint32_t>(static_cast<uint64_t>(handle) % kSlots));
  return true;
}

void HandleTable::release_slot(uint32_t index) {
  Slot& slot = slots_[index];
  slot.storage->device->count_handles(-1);
  hn::release(slot.storage);
  slot.storage = nullptr;
  // A slot that has used up its generations is never used again: no stale handle can ever match.
  if (slot.generation++ < kLastGeneration) free_.push_back(index);
}

void HandleTable::release_all(const Device* device) {
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    const Storage* storage = slots_[index].storage;
    if (storage && (!device || storage->device == device)) release_slot(index);
  }
}

}  // namespace hn
