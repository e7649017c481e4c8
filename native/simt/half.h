// 16-bit floats, as the tensor cores read them.
#pragma once

#include <cstdint>

#include "simt/kernel_api.h"

namespace hn::simt {

inline float widen(uint32_t half, Half type) {
  if (type == Half::bf16) return __builtin_bit_cast(float, half << 16);
  const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) return __builtin_bit_cast(float, sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  const float scaled = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, scaled));
}

}  // namespace hn::simt
