// A block's shared memory: dynamic part, then static variables in the order they are met. What is handed out starts as
// 0xFF, a NaN in every float type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hn::simt {

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void start(size_t dynamic_bytes);

  unsigned char* dynamic() { return arena_ + kDynamicAt; }
  /// nullptr when there is no room.
  void* variable(const void* place, size_t bytes, size_t align);
  /// False when what has been carved is more than the launch asked for.
  bool add_red_zone(const void* at, size_t bytes, size_t carved);
  /// "" or which part was written beyond its end.
  std::string check_red_zones() const;

  /// UINT32_MAX for what is no address of shared memory.
  uint32_t address(const void* p) const;
  /// nullptr when [address, address + bytes) is not inside.
  void* at(uint32_t address, size_t bytes) const;

 private:
  static constexpr size_t kArenaBytes = size_t{384} << 10;
  static constexpr size_t kDynamicAt = 1024;  // so that address 0 is never right
  static constexpr size_t kZonesBytes = size_t{16}
                                        << 10;  // what a carver's red zones may take beyond the launch's bytes
  static constexpr size_t kStaticBytes = size_t{48} << 10;

  struct Variable {
    const void* place;
    size_t at;
  };
  struct RedZone {
    size_t at, bytes;
  };

  unsigned char* arena_;
  size_t dynamic_bytes_ = 0, static_at_ = 0, used_ = 0;
  std::vector<Variable> variables_;
  std::vector<RedZone> zones_;
};

}  // namespace hn::simt
