// Element types as they lie in memory, and the way to and from the type that kernels compute in: float for every float
// type but f64 (double), int64_t for integers and bool. The main operand's type is a template parameter of the kernel;
// see any_ptr.cuh for the others.
#pragma once

#include "core/dtype.h"
#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/device/ptx_math.cuh"

namespace hn::cuda {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
struct f8e4m3 {
  uint8_t bits;
};
/// One byte, 0 or 1 when we wrote it; any other value is true.
struct boolean {
  uint8_t bits;
};

template <class T>
struct Compute {
  using type = int64_t;
};
template <>
struct Compute<float> {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <>
struct Compute<bf16> {
  using type = float;
};
template <>
struct Compute<f16> {
  using type = float;
};
template <>
struct Compute<f8e4m3> {
  using type = float;
};
template <class T>
using compute_t = typename Compute<T>::type;

// --- to the compute type: exact
// -----------------------------------------------------------------------------------------

HN_DEVICE float widen(float x) { return x; }
HN_DEVICE double widen(double x) { return x; }
HN_DEVICE float widen(bf16 x) { return ptx::bf16_to_float(x.bits); }
HN_DEVICE float widen(f16 x) { return ptx::f16_to_float(x.bits); }
HN_DEVICE float widen(f8e4m3 x) { return ptx::f8e4m3_to_float(x.bits); }
HN_DEVICE int64_t widen(int32_t x) { return x; }
HN_DEVICE int64_t widen(int64_t x) { return x; }
HN_DEVICE int64_t widen(uint8_t x) { return x; }
HN_DEVICE int64_t widen(boolean x) { return x.bits != 0; }

// --- from it: rounded once, as the CPU backend rounds
// -------------------------------------------------------------------

/// What f32 keeps of a double so that rounding it again to a narrower type gives the double's own rounding: truncated,
/// with the last bit set when anything was cut off (round to odd).
HN_DEVICE float to_odd_float(double x) {
  const float near = static_cast<float>(x);
  const double back = near;
  if (back == x || x != x || back - back != 0) return near;
  uint32_t u = ptx::float_bits(near);
  const bool too_far = x > 0 ? back > x : back < x;
  if (too_far) --u;
  return ptx::bits_float(u | 1u);
}

/// Truncates and saturates; NaN gives 0.
template <class Int, class Float>
HN_DEVICE Int to_int(Float x, Int low, Int high) {
  if (x != x) return 0;
  if (x <= static_cast<Float>(low)) return low;
  if (x >= static_cast<Float>(high)) return high;
  return static_cast<Int>(x);
}

/// narrow<T>(v) for v of type float, double or int64_t: v as a T.
template <class T>
struct Narrow;
template <>
struct Narrow<float> {
  template <class V>
  HN_DEVICE static float from(V v) {
    return static_cast<float>(v);
  }
};
template <>
struct Narrow<double> {
  template <class V>
  HN_DEVICE static double from(V v) {
    return static_cast<double>(v);
  }
};
template <>
struct Narrow<bf16> {
  HN_DEVICE static bf16 from(float v) { return {ptx::float_to_bf16(v)}; }
  HN_DEVICE static bf16 from(double v) { return {ptx::float_to_bf16(to_odd_float(v))}; }
  HN_DEVICE static bf16 from(int64_t v) { return from(static_cast<double>(v)); }
};
template <>
struct Narrow<f16> {
  HN_DEVICE static f16 from(float v) { return {ptx::float_to_f16(v)}; }
  HN_DEVICE static f16 from(double v) { return {ptx::float_to_f16(to_odd_float(v))}; }
  HN_DEVICE static f16 from(int64_t v) { return from(static_cast<double>(v)); }
};
template <>
struct Narrow<f8e4m3> {
  HN_DEVICE static f8e4m3 from(float v) { return {ptx::float_to_f8e4m3(v)}; }
  HN_DEVICE static f8e4m3 from(double v) { return {ptx::float_to_f8e4m3(to_odd_float(v))}; }
  HN_DEVICE static f8e4m3 from(int64_t v) { return from(static_cast<double>(v)); }
};
template <>
struct Narrow<int32_t> {
  HN_DEVICE static int32_t from(float v) { return to_int<int32_t>(v, INT32_MIN, INT32_MAX); }
  HN_DEVICE static int32_t from(double v) { return to_int<int32_t>(v, INT32_MIN, INT32_MAX); }
  HN_DEVICE static int32_t from(int64_t v) { return static_cast<int32_t>(v); }
};
template <>
struct Narrow<int64_t> {
  HN_DEVICE static int64_t from(float v) { return to_int<int64_t>(v, INT64_MIN, INT64_MAX); }
  HN_DEVICE static int64_t from(double v) { return to_int<int64_t>(v, INT64_MIN, INT64_MAX); }
  HN_DEVICE static int64_t from(int64_t v) { return v; }
};
template <>
struct Narrow<uint8_t> {
  HN_DEVICE static uint8_t from(float v) { return to_int<uint8_t>(v, 0, UINT8_MAX); }
  HN_DEVICE static uint8_t from(double v) { return to_int<uint8_t>(v, 0, UINT8_MAX); }
  HN_DEVICE static uint8_t from(int64_t v) { return static_cast<uint8_t>(v); }
};
template <>
struct Narrow<boolean> {
  template <class V>
  HN_DEVICE static boolean from(V v) {
    return {static_cast<uint8_t>(v != 0)};
  }
};
template <class T, class V>
HN_DEVICE T narrow(V v) {
  return Narrow<T>::from(v);
}

// --- one element, and packs of 16 bytes
// ---------------------------------------------------------------------------------

template <class T>
HN_DEVICE compute_t<T> load(const T* p) {
  return widen(*p);
}
template <class T, class V>
HN_DEVICE void store(T* p, V v) {
  *p = narrow<T>(v);
}

/// Elements of T in 16 bytes, the widest access of a thread.
template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T items[kCount];
};

/// kCount neighbours at once (a power of two, up to 16 bytes); p is aligned to all of them.
template <int kCount, class T>
HN_DEVICE void load_pack(const T* p, compute_t<T> (&v)[kCount]) {
  const Pack<T, kCount> pack = *reinterpret_cast<const Pack<T, kCount>*>(p);
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = widen(pack.items[i]);
}
template <int kCount, class T, class V>
HN_DEVICE void store_pack(T* p, const V (&v)[kCount]) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.items[i] = narrow<T>(v[i]);
  *reinterpret_cast<Pack<T, kCount>*>(p) = pack;
}

// --- on the host
// --------------------------------------------------------------------------------------------------------

/// Whether every row of t can be read in packs of `bytes`: neighbours lie together, base, pitches and width are whole
/// packs. Ask for each operand of a kernel; where one says no, the kernel's version for single elements runs.
inline bool packs(const TensorView& t, int bytes = 16) {
  const int64_t size = info(t.dtype).block_bytes;
  if (t.rank == 0 || (t.dim(-1) != 1 && t.stride(-1) != 1)) return false;
  if (reinterpret_cast<uintptr_t>(t.data) % bytes != 0 || t.dim(-1) * size % bytes != 0) return false;
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] != 1 && t.strides[i] * size % bytes != 0) return false;
  }
  return true;
}

template <class T>
struct DTypeOf;
template <DType kValue>
struct DTypeIs {
  static constexpr DType value = kValue;
};
// clang-format off
template <> struct DTypeOf<float> : DTypeIs<DType::f32> {};
template <> struct DTypeOf<double> : DTypeIs<DType::f64> {};
template <> struct DTypeOf<f16> : DTypeIs<DType::f16> {};
template <> struct DTypeOf<bf16> : DTypeIs<DType::bf16> {};
template <> struct DTypeOf<f8e4m3> : DTypeIs<DType::f8e4m3> {};
template <> struct DTypeOf<int32_t> : DTypeIs<DType::i32> {};
template <> struct DTypeOf<int64_t> : DTypeIs<DType::i64> {};
template <> struct DTypeOf<uint8_t> : DTypeIs<DType::u8> {};
template <> struct DTypeOf<boolean> : DTypeIs<DType::boolean> {};
// clang-format on

/// Calls fn(T{}) for the listed type that is `dtype`'s; Status::missing when none is.
template <class... Types, class Fn>
Status with_types(DType dtype, Fn&& fn) {
  Status status = Status::missing("there is no CUDA kernel for tensors of this type");
  (void)((dtype == DTypeOf<Types>::value ? (status = fn(Types{}), true) : false) || ...);
  return status;
}

/// The types that models compute in.
template <class Fn>
Status with_storage(DType dtype, Fn&& fn) {
  return with_types<float, bf16, f16>(dtype, fn);
}

}  // namespace hn::cuda
