// Shared memory. Static: HN_SHARED(float, partial, [32]). Dynamic, in the kernel and for its size on the host:
//
//   struct Smem { bf16* a; float* scale; };
//   HN_HOST_DEVICE Smem layout(Carver& carve) { return {carve.take<bf16>(128 * 64, 128), carve.take<float>(64)}; }
//
//   kernel:  HN_DYN_SMEM(base);  Carver carve(base);  const Smem s = layout(carve);
//   host:    Carver carve;  layout(carve);  HN_LAUNCH((kernel), blocks, threads, carve.bytes(), ctx, …)
//
// Under the emulator shared memory starts as 0xFF (NaN), and red zones stand between what a carver hands out: what is
// read there is NaN, and what is written there is an error when the block ends.
#pragma once

#include "cuda/device/words.cuh"

#if defined(HN_SIMT)
#define HN_DYN_SMEM(name) unsigned char* const name = ::hn::simt::dynamic_shared()
#define HN_SHARED(T, name, dims)      \
  static const char name##_place = 0; \
  using name##_type = T dims;         \
  name##_type& name =                 \
      *static_cast<name##_type*>(::hn::simt::static_shared(&name##_place, sizeof(name##_type), alignof(name##_type)))
#else
#define HN_DYN_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]
#define HN_SHARED(T, name, dims) __shared__ T name dims
#endif

namespace hn::cuda {

/// Cuts dynamic shared memory into typed parts; without a base it only counts.
class Carver {
 public:
  HN_HOST_DEVICE explicit Carver(unsigned char* base = nullptr) : base_(base) {}

  /// `count` elements aligned to `align` bytes (a power of two up to 1024).
  template <class T>
  HN_HOST_DEVICE T* take(int count, int align = 16) {
    const int size = static_cast<int>(sizeof(T)) * count;
    bytes_ = (bytes_ + align - 1) / align * align + size;
#if defined(HN_SIMT)
    // Where it stands differs from the GPU by the zones before it; what is counted does not.
    place_ = (place_ + align - 1) / align * align;
    unsigned char* const part = base_ != nullptr ? base_ + place_ : nullptr;
    place_ += size;
    if (base_ != nullptr) simt::red_zone(base_ + place_, kRedZone, bytes_);
    place_ += kRedZone;
#else
    unsigned char* const part = base_ != nullptr ? base_ + bytes_ - size : nullptr;
#endif
    return reinterpret_cast<T*>(part);
  }

  /// What to ask for at launch.
  HN_HOST_DEVICE int bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  int bytes_ = 0;
#if defined(HN_SIMT)
  static constexpr int kRedZone = 64;
  int place_ = 0;
#endif
};

}  // namespace hn::cuda
