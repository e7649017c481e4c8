// Tensors as JavaScript knows them: a slot and its generation in one number that a double holds exactly. A handle that
// was released, or any garbage, is found out here and nowhere else. Used by one thread only, the submitting one.
#pragma once

#include <cstdint>
#include <vector>

#include "core/storage.h"

namespace hn {

class HandleTable {
 public:
  static constexpr uint64_t kSlots = uint64_t{1} << 24;
  static constexpr uint32_t kLastGeneration = 1u << 28;

  HandleTable() = default;
  ~HandleTable() { release_all(nullptr); }
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  /// Whether `count` more handles can be had.
  bool has_room(size_t count) const { return free_.size() + (kSlots - slots_.size()) >= count; }
  /// Takes over the caller's reference. Needs room.
  double add(Storage* storage);
  /// nullptr for a number that is no live handle.
  Storage* find(double handle) const;
  /// Drops the handle and its reference; false for a number that is no live handle.
  bool release(double handle);
  /// Drops all handles of a device (of any device when nullptr); they are disposed of from here on.
  void release_all(const Device* device);

 private:
  struct Slot {
    Storage* storage = nullptr;
    uint32_t generation = 1;
  };

  void release_slot(uint32_t index);

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace hn
