// Eight neighbours at once of operands whose type is looked at in the kernel (any_ptr.cuh).
#pragma once

#include "cuda/device/any_ptr.cuh"

namespace hn::cuda {

/// Whether any eight neighbours that begin at a multiple of eight of a row can be read at once, in accesses of 16 bytes
/// (8 for f8e4m3). The width need not be a multiple of eight.
inline bool packs_of_eight(const TensorView& t) {
  const int64_t size = info(t.dtype).block_bytes, bytes = size == 1 ? 8 : 16;
  if (t.rank == 0 || (t.dim(-1) != 1 && t.stride(-1) != 1)) return false;
  if (reinterpret_cast<uintptr_t>(t.data) % bytes != 0) return false;
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] != 1 && t.strides[i] * size % bytes != 0) return false;
  }
  return true;
}

namespace detail {

template <class T>
HN_DEVICE void load_eight(const void* data, int64_t i, float (&v)[8]) {
  const T* const p = static_cast<const T*>(data) + i;
  if constexpr (sizeof(T) <= 2) {
    load_pack<8>(p, v);
  } else {
    constexpr int kCount = kPack<T>;
#pragma unroll
    for (int k = 0; k < 8; k += kCount) {
      compute_t<T> part[kCount];
      load_pack<kCount>(p + k, part);
#pragma unroll
      for (int c = 0; c < kCount; ++c) v[k + c] = static_cast<float>(part[c]);
    }
  }
}

template <class T>
HN_DEVICE void store_eight(void* data, int64_t i, const float (&v)[8]) {
  T* const p = static_cast<T*>(data) + i;
  if constexpr (sizeof(T) <= 2) {
    store_pack<8>(p, v);
  } else {
    constexpr int kCount = kPack<T>;
#pragma unroll
    for (int k = 0; k < 8; k += kCount) {
      float part[kCount];
#pragma unroll
      for (int c = 0; c < kCount; ++c) part[c] = v[k + c];
      store_pack<kCount>(p + k, part);
    }
  }
}

}  // namespace detail

/// Calls fn(T{}) for the float type that `dtype` names.
template <class Fn>
HN_DEVICE void with_any_float(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32:
      return fn(float{});
    case DType::bf16:
      return fn(bf16{});
    case DType::f16:
      return fn(f16{});
    case DType::f64:
      return fn(double{});
    default:
      return fn(f8e4m3{});
  }
}

/// Elements [i, i + 8); packs_of_eight has said yes.
HN_DEVICE void load_eight(const AnyPtr& p, int64_t i, float (&v)[8]) {
  with_any_float(p.dtype, [&](auto t) { detail::load_eight<decltype(t)>(p.data, i, v); });
}
HN_DEVICE void store_eight(const AnyOut& p, int64_t i, const float (&v)[8]) {
  with_any_float(p.dtype, [&](auto t) { detail::store_eight<decltype(t)>(p.data, i, v); });
}

/// The first `count` of eight elements `step` apart, from i on; the others are `otherwise`.
HN_DEVICE void load_some(const AnyPtr& p, int64_t i, int64_t step, int count, float otherwise, float (&v)[8]) {
  with_any_float(p.dtype, [&](auto t) {
    const auto* const from = static_cast<const decltype(t)*>(p.data) + i;
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = k < count ? static_cast<float>(widen(from[k * step])) : otherwise;
  });
}
HN_DEVICE void store_some(const AnyOut& p, int64_t i, int64_t step, int count, const float (&v)[8]) {
  with_any_float(p.dtype, [&](auto t) {
    auto* const to = static_cast<decltype(t)*>(p.data) + i;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (k < count) to[k * step] = narrow<decltype(t)>(v[k]);
    }
  });
}

}  // namespace hn::cuda
