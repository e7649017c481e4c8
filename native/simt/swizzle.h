// Where 16 bytes of a tile lie when TMA or wgmma swizzles it: bits 4 to 6 of the address are mixed with bits 7 to 9.
#pragma once

#include <cstdint>

namespace hn::simt {

/// `span` is 0 (as it is), 32, 64 or 128 bytes. The pattern repeats every 8 · span bytes, counted from address 0.
inline uint32_t swizzled(uint32_t address, int span) {
  const uint32_t mixed = span == 0 ? 0u : static_cast<uint32_t>(span) - 16u;
  return address ^ (address >> 3 & mixed);
}

}  // namespace hn::simt
