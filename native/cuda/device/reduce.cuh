// Reductions over a warp and over a block, in a fixed order: the same bytes each time. Every thread gets the result.
#pragma once

#include "cuda/device/shared.cuh"

namespace hn::cuda {

struct Sum {
  template <class T>
  HN_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
/// NaN wins, as in the CPU backend.
struct Max {
  template <class T>
  HN_DEVICE T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Min {
  template <class T>
  HN_DEVICE T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};

/// The value of the lane whose number differs by `mask`: for any plain type of whole 32-bit words.
template <class T>
HN_DEVICE T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) % sizeof(uint32_t) == 0);
  constexpr int kWords = sizeof(T) / sizeof(uint32_t);
  uint32_t words[kWords];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = __shfl_xor_sync(kFullMask, words[i], mask);
  memcpy(&value, words, sizeof(T));
  return value;
}

/// Over kLanes neighbouring lanes (a power of two up to 32). `op` must be commutative: both sides of a pair combine
/// their values in opposite orders and must get the same. All 32 lanes of the warp call it.
template <int kLanes = kWarp, class T, class Op>
HN_DEVICE T warp_reduce(T value, Op op) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) value = op(value, shuffle_xor(value, mask));
  return value;
}
template <int kLanes = kWarp, class T>
HN_DEVICE T warp_sum(T value) {
  return warp_reduce<kLanes>(value, Sum{});
}
template <int kLanes = kWarp, class T>
HN_DEVICE T warp_max(T value) {
  return warp_reduce<kLanes>(value, Max{});
}

/// Over the block, of kThreads threads (a multiple of 32, at most 1024). `identity` is what op leaves alone. All
/// threads of the block call it. It synchronises the block twice, before and after its own shared memory is written, so
/// that calls may follow one another; it is no barrier for what the caller does after it.
template <int kThreads, class T, class Op>
HN_DEVICE T block_reduce(T value, Op op, T identity) {
  static_assert(kThreads % kWarp == 0 && kThreads <= 1024);
  value = warp_reduce(value, op);
  if constexpr (kThreads > kWarp) {
    constexpr int kWarps = kThreads / kWarp;
    HN_SHARED(T, partial, [kWarps]);
    __syncthreads();  // the last call's readers are done
    if (lane_id() == 0) partial[warp_id()] = value;
    __syncthreads();
    value = warp_reduce(lane_id() < kWarps ? partial[lane_id()] : identity, op);
  }
  return value;
}
template <int kThreads, class T>
HN_DEVICE T block_sum(T value) {
  return block_reduce<kThreads>(value, Sum{}, T(0));
}

}  // namespace hn::cuda
