// CUDA's own words for the host compiler: the build puts this file before each kernel source (-include), as nvcc puts
// cuda_runtime.h. What they do is in kernel_api.h. Only what our kernels use is here; what a kernel may not use on a
// GPU that we support must not be added.
#pragma once

#define HN_SIMT_WORDS 1

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simt/kernel_api.h"

// --- keywords
// -----------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(n) alignas(n)

#define threadIdx (::hn::simt::here->thread)
#define blockIdx (::hn::simt::here->block)
#define blockDim (::hn::simt::here->block_dim)
#define gridDim (::hn::simt::here->grid_dim)

using dim3 = hn::simt::Dim3;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// --- barriers and fences
// ------------------------------------------------------------------------------------------------

inline void __syncthreads() { hn::simt::barrier_sync(0, hn::simt::kAllThreads); }
inline int __syncthreads_count(int predicate) { return hn::simt::barrier_count(predicate != 0); }
inline int __syncthreads_or(int predicate) { return hn::simt::barrier_count(predicate != 0) != 0; }
inline int __syncthreads_and(int predicate) { return hn::simt::barrier_count(predicate == 0) == 0; }
inline void __syncwarp(uint32_t mask = 0xffffffffu) { hn::simt::warp_sync(mask); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}

// --- warps
// --------------------------------------------------------------------------------------------------------------

namespace hn::simt {

template <class T>
T shuffle_value(uint32_t mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_arithmetic_v<T>, "as in CUDA");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace hn::simt

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const int lane = hn::simt::lane();
  return hn::simt::shuffle_value(mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes, int width = 32) {
  const int lane = hn::simt::lane(), source = lane ^ lanes;
  return hn::simt::shuffle_value(mask, value, (source & ~(width - 1)) > lane ? lane : source);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned distance, int width = 32) {
  const int lane = hn::simt::lane(), d = static_cast<int>(distance);
  return hn::simt::shuffle_value(mask, value, (lane & (width - 1)) + d < width ? lane + d : lane);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned distance, int width = 32) {
  const int lane = hn::simt::lane(), d = static_cast<int>(distance);
  return hn::simt::shuffle_value(mask, value, (lane & (width - 1)) >= d ? lane - d : lane);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) { return hn::simt::ballot(mask, predicate != 0); }
inline int __any_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(uint32_t mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

// --- atomics: blocks run on several threads of the host
// -----------------------------------------------------------------

inline int atomicAdd(int* p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long v) {
  return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

namespace hn::simt {

/// Replaces *p by next(*p) and answers what was there.
template <class T, class Next>
T atomic_update(T* p, Next&& next) {
  T old, wanted;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do {
    wanted = next(old);
  } while (!__atomic_compare_exchange(p, &old, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace hn::simt

inline float atomicAdd(float* p, float v) {
  return hn::simt::atomic_update(p, [v](float old) { return old + v; });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T>, "as in CUDA");
  return hn::simt::atomic_update(p, [v](T old) { return old > v ? old : v; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T>, "as in CUDA");
  return hn::simt::atomic_update(p, [v](T old) { return old < v ? old : v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> wanted) {
  static_assert(std::is_integral_v<T>, "as in CUDA");
  __atomic_compare_exchange(p, &expected, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// --- arithmetic
// ---------------------------------------------------------------------------------------------------------

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }
inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline uint32_t __float_as_uint(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float __uint_as_float(uint32_t u) { return __builtin_bit_cast(float, u); }

template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stcs(T* p, T v) {
  *p = v;
}
