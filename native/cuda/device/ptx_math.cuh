// Conversions, bit for bit the same on a GPU and under the emulator, and approximations that are not.
// Rounding is to nearest even; NaN becomes the type's canonical NaN. f8e4m3 is done in integers on both sides: the
// hardware's conversion needs sm_89 and saturates, and ours, like the CPU backend's, turns what is beyond 448 into NaN.
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda::ptx {

HN_DEVICE uint32_t float_bits(float x) {
#if defined(HN_SIMT)
  return __builtin_bit_cast(uint32_t, x);
#else
  return __float_as_uint(x);
#endif
}

HN_DEVICE float bits_float(uint32_t u) {
#if defined(HN_SIMT)
  return __builtin_bit_cast(float, u);
#else
  return __uint_as_float(u);
#endif
}

HN_DEVICE float bf16_to_float(uint16_t h) { return bits_float(static_cast<uint32_t>(h) << 16); }

HN_DEVICE uint16_t float_to_bf16(float x) {
#if defined(HN_SIMT)
  const uint32_t u = float_bits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#else
  uint16_t h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
#endif
}

HN_DEVICE float f16_to_float(uint16_t h) {
#if defined(HN_SIMT)
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00u) return bits_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // Shifted into place the exponent is too small by 112, also for subnormals: one exact product mends both.
  return bits_float(sign | float_bits(bits_float(magnitude << 13) * bits_float(0x77800000u)));
#else
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
#endif
}

HN_DEVICE uint16_t float_to_f16(float x) {
#if defined(HN_SIMT)
  const uint32_t u = float_bits(x), magnitude = u & 0x7fffffffu;
  const uint32_t sign = u >> 16 & 0x8000u;
  if (magnitude > 0x7f800000u) return 0x7fff;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 65,536 or more: infinity
  if (magnitude < 0x38800000u) {  // below 2^-14, steps of 2^-24: adding 0.5 rounds to just those
    return static_cast<uint16_t>(sign | (float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
#else
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
#endif
}

HN_DEVICE float f8e4m3_to_float(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80u) << 24;
  const uint32_t magnitude = b & 0x7fu;
  if (magnitude == 0x7fu) return bits_float(sign | 0x7fc00000u);
  return bits_float(sign | float_bits(bits_float(magnitude << 20) * bits_float(0x7b800000u)));  // times 2^120
}

HN_DEVICE uint8_t float_to_f8e4m3(float x) {
  const uint32_t u = float_bits(x), magnitude = u & 0x7fffffffu;
  const uint32_t sign = u >> 24 & 0x80u;
  if (magnitude > 0x43e80000u) return static_cast<uint8_t>(sign | 0x7fu);  // beyond 464, halfway to what would be 480
  if (magnitude < 0x3c800000u) {  // below 2^-6, steps of 2^-9: adding 2^14 rounds to just those
    return static_cast<uint8_t>(sign | (float_bits(bits_float(magnitude) + 16384.0f) - 0x46800000u));
  }
  return static_cast<uint8_t>(sign | (magnitude - 0x3c000000u + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20);
}

/// Two values in one register, the first in the low half: a fragment element of mma.sync.
HN_DEVICE uint32_t pack_bf16(float low, float high) {
#if defined(HN_SIMT)
  return float_to_bf16(low) | static_cast<uint32_t>(float_to_bf16(high)) << 16;
#else
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#endif
}

HN_DEVICE uint32_t pack_f16(float low, float high) {
#if defined(HN_SIMT)
  return float_to_f16(low) | static_cast<uint32_t>(float_to_f16(high)) << 16;
#else
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#endif
}

/// x rounded to TF32 (10 bits of mantissa, ties away from zero), as mma_tf32 wants its operands.
HN_DEVICE uint32_t float_to_tf32(float x) {
#if defined(HN_SIMT)
  const uint32_t u = float_bits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
  return (u + 0x1000u) & 0xffffe000u;
#else
  uint32_t u;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(u) : "f"(x));
  return u;
#endif
}

/// 2^x within two units in the last place; subnormal results are flushed on a GPU.
HN_DEVICE float exp2_approx(float x) {
#if defined(HN_SIMT)
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace hn::cuda::ptx
