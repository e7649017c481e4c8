// The emulator's own tests: small kernels that are right, and the same kernels with one mistake planted. A kernel gets
// the mistake as an argument; kNone is the right one.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/context.h"

namespace hn::simt::test {

enum Bug : int {
  kNone,
  // rows.cc
  kNoSyncAfterWrite,
  kNoSyncBeforeWrite,
  kNoSyncWarp,
  kStaticOutOfBounds,
  // tile.cc
  kNoCopyWait,
  kNoSyncAfterCopy,
  kNoTrailingSync,
  kDynamicOutOfBounds,
  // causal.cc
  kWrongMask,
  // pipeline.cc
  kWrongParity,
  kWrongExpect,
  kWrongArrivalCount,
  kNoFullWait,
  kNoEmptyWait,
  kArriveBeforeWgmmaWait,
  kNoWgmmaWait,
  kNoProxyFence,
  kWrongDescriptorStride,
  // rows.cc
  kGlobalOutOfBounds,
  kMisaligned,
};

/// What a test says: how the launch ended, and whether the values are right.
struct Outcome {
  Status status;
  bool equal;
};

Outcome rows(const cuda::Context& ctx, int bug);
Outcome tile(const cuda::Context& ctx, int bug);
Outcome causal(const cuda::Context& ctx, int bug);
Outcome pipeline(const cuda::Context& ctx, int bug);
Outcome tensor_maps(const cuda::Context& ctx, int bug);
Outcome products(const cuda::Context& ctx, int bug);

/// Small whole numbers, exact in bf16 and f16, whose sums of products are exact in f32.
inline int small_number(uint32_t i) { return static_cast<int>((i * 2654435761u >> 20) % 7) - 3; }
inline uint16_t bf16_of(int x) {
  return static_cast<uint16_t>(__builtin_bit_cast(uint32_t, static_cast<float>(x)) >> 16);
}
inline uint16_t f16_of(int x) { return __builtin_bit_cast(uint16_t, static_cast<_Float16>(x)); }

}  // namespace hn::simt::test
