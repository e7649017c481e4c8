#include "cpu/kernels/convert.h"

#include <cstring>

#include "cpu/kernels/simd.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace hn::cpu::HN_ISA {
namespace {

// --- one element: bits to float
// -----------------------------------------------------------------------------------------

float bf16_to_float(uint16_t h) { return bits_as<float>(static_cast<uint32_t>(h) << 16); }

// Subnormals are made by a conversion from integer and a product, not by a float subnormal scaled up: the pool's
// threads count float subnormals as zero.
float f16_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t rest = h & 0x7fffu;
  const uint32_t small = bits_as<uint32_t>(static_cast<float>(static_cast<int32_t>(rest)) * 5.9604644775390625e-8f);
  const uint32_t normal = (rest << 13) + (112u << 23);
  const uint32_t special = (rest << 13) + (224u << 23);
  const uint32_t bits = rest < 0x400 ? small : rest < 0x7c00 ? normal : special;
  return bits_as<float>(bits | sign);
}

float f8_to_float(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80) << 24;
  const uint32_t rest = b & 0x7fu;
  const uint32_t small = bits_as<uint32_t>(static_cast<float>(static_cast<int32_t>(rest)) * 0.001953125f);  // 2^-9
  const uint32_t normal = (rest << 20) + (120u << 23);
  const uint32_t bits = rest < 8 ? small : rest == 0x7f ? 0x7fc00000u : normal;
  return bits_as<float>(bits | sign);
}

// --- one element: float to bits, to nearest even
// ------------------------------------------------------------------------

uint16_t float_to_bf16(float f) {
  const uint32_t u = bits_as<uint32_t>(f);
  const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  const uint32_t nan =
      (u >> 16) | 0x40;  // the set bit keeps a NaN whose payload lies in the low half from becoming inf
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

uint16_t float_to_f16(float f) {
  const uint32_t u = bits_as<uint32_t>(f);
  const uint32_t sign = (u >> 16) & 0x8000;
  const uint32_t a = u & 0x7fffffffu;
  const uint32_t normal = (a - (112u << 23) + 0xfff + ((a >> 13) & 1)) >> 13;
  // Below 2^-14: adding 0.5 puts the last bit of f16 subnormals, 2^-24, at the last bit of the float; the adder rounds.
  const uint32_t small = bits_as<uint32_t>(bits_as<float>(a) + 0.5f) - bits_as<uint32_t>(0.5f);
  const uint32_t nan = 0x7e00u | ((a >> 13) & 0x3ff);
  const uint32_t bits = a > 0x7f800000u ? nan : a >= 0x477ff000u ? 0x7c00u : a < 0x38800000u ? small : normal;
  return static_cast<uint16_t>(bits | sign);
}

uint8_t float_to_f8(float f) {
  const uint32_t u = bits_as<uint32_t>(f);
  const uint32_t sign = (u >> 24) & 0x80;
  const uint32_t a = u & 0x7fffffffu;
  const uint32_t normal = (a - (120u << 23) + 0x7ffff + ((a >> 20) & 1)) >> 20;
  // Below 2^-6, as for f16: the last bit of subnormals is 2^-9, that of floats at 2^14 also.
  const uint32_t small = bits_as<uint32_t>(bits_as<float>(a) + 16384.0f) - bits_as<uint32_t>(16384.0f);
  const uint32_t bits = a >= 0x43e80001u ? 0x7fu : a < 0x3c800000u ? small : normal;  // above 464: NaN
  return static_cast<uint8_t>(bits | sign);
}

/// A float that rounds on to any narrower type as the double itself would: inexact values get an odd last bit, so that
/// a second rounding can neither see a false tie nor lose a real one.
float to_odd(double d) {
  const float f = static_cast<float>(d);
  const double back = f;
  const double abs_d = d < 0 ? -d : d, abs_back = back < 0 ? -back : back;
  const uint32_t u = bits_as<uint32_t>(f);
  const uint32_t even = ~u & 1;
  return bits_as<float>(abs_back < abs_d ? u + even : abs_back > abs_d ? u - even : u);
}

/// The same for integers beyond a double's 53 bits.
double to_odd(int64_t v) {
  const bool exact = v > -(int64_t{1} << 53) && v < (int64_t{1} << 53);
  const int64_t sticky = (v & 0x7ff) != 0 ? 0x800 : 0;
  return static_cast<double>(exact ? v : (v & ~int64_t{0x7ff}) | sticky);
}

// --- storage types: how each is read and written
// --------------------------------------------------------------------------

template <class T, class F>
T saturate(F x) {
  // The bounds are powers of two, exact in both float types; 2^31 and 2^63 themselves do not fit.
  constexpr F kLow = sizeof(T) == 8 ? F(-9223372036854775808.0) : F(-2147483648.0);
  if (x >= -kLow) return sizeof(T) == 8 ? static_cast<T>(INT64_MAX) : static_cast<T>(INT32_MAX);
  if (!(x > kLow)) return x != x ? T(0) : static_cast<T>(kLow);
  return static_cast<T>(x);
}

struct F32 {
  using Bits = float;
  template <class Acc>
  static Acc get(float v) {
    if constexpr (kAccType<Acc> == DType::i64)
      return saturate<int64_t>(v);
    else
      return static_cast<Acc>(v);
  }
  template <class Acc>
  static float put(Acc v) {
    return static_cast<float>(v);
  }
};
struct F64 {
  using Bits = double;
  template <class Acc>
  static Acc get(double v) {
    if constexpr (kAccType<Acc> == DType::i64)
      return saturate<int64_t>(v);
    else
      return static_cast<Acc>(v);
  }
  template <class Acc>
  static double put(Acc v) {
    return static_cast<double>(v);
  }
};

/// f16, bf16 and f8e4m3: one function each way, through a float that any source reaches without a second rounding.
template <class B, float (*Decode)(B), B (*Encode)(float)>
struct Narrow {
  using Bits = B;
  template <class Acc>
  static Acc get(B v) {
    return F32::get<Acc>(Decode(v));
  }
  static B put(float v) { return Encode(v); }
  static B put(double v) { return Encode(to_odd(v)); }
  static B put(int64_t v) { return Encode(to_odd(to_odd(v))); }
};
using F16 = Narrow<uint16_t, f16_to_float, float_to_f16>;
using BF16 = Narrow<uint16_t, bf16_to_float, float_to_bf16>;
using F8 = Narrow<uint8_t, f8_to_float, float_to_f8>;

struct I32 {
  using Bits = int32_t;
  template <class Acc>
  static Acc get(int32_t v) {
    return static_cast<Acc>(v);
  }
  template <class F>
  static int32_t put(F v) {
    return saturate<int32_t>(v);
  }
  static int32_t put(int64_t v) {
    return static_cast<int32_t>(v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : v);
  }
};
struct I64 {
  using Bits = int64_t;
  template <class Acc>
  static Acc get(int64_t v) {
    return static_cast<Acc>(v);
  }
  template <class F>
  static int64_t put(F v) {
    return saturate<int64_t>(v);
  }
  static int64_t put(int64_t v) { return v; }
};
struct U8 {
  using Bits = uint8_t;
  template <class Acc>
  static Acc get(uint8_t v) {
    return static_cast<Acc>(v);
  }
  template <class Acc>
  static uint8_t put(Acc v) {
    return v > Acc(0) ? (v < Acc(255) ? static_cast<uint8_t>(v) : uint8_t{255}) : uint8_t{0};
  }
};
struct Bool {
  using Bits = uint8_t;
  template <class Acc>
  static Acc get(uint8_t v) {
    return static_cast<Acc>(v != 0);
  }
  template <class Acc>
  static uint8_t put(Acc v) {
    return v != Acc(0);
  }
};

// --- rows
// -----------------------------------------------------------------------------------------------------------------

template <class Type, class Acc>
void load_elements(const void* src, int64_t stride, int64_t n, Acc* __restrict dst) {
  using Bits = typename Type::Bits;
  const Bits* __restrict p = static_cast<const Bits*>(src);
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) dst[i] = Type::template get<Acc>(p[i]);
  else
    for (int64_t i = 0; i < n; ++i) dst[i] = Type::template get<Acc>(p[i * stride]);
}

template <class Type, class Acc>
void store_elements(void* dst, int64_t stride, int64_t n, const Acc* __restrict src) {
  using Bits = typename Type::Bits;
  Bits* __restrict p = static_cast<Bits*>(dst);
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) p[i] = Type::put(src[i]);
  else
    for (int64_t i = 0; i < n; ++i) p[i * stride] = Type::put(src[i]);
}

#if defined(__F16C__)
// The hardware's f16 conversions: subnormals and NaN as above, whatever the thread's flush setting.
void load_f16(const void* src, int64_t stride, int64_t n, float* dst) {
  const uint16_t* p = static_cast<const uint16_t*>(src);
  int64_t i = 0;
  if (stride == 1)
    for (; i + 8 <= n; i += 8)
      _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i))));
  for (; i < n; ++i) dst[i] = f16_to_float(p[i * stride]);
}
void store_f16(void* dst, int64_t stride, int64_t n, const float* src) {
  uint16_t* p = static_cast<uint16_t*>(dst);
  int64_t i = 0;
  if (stride == 1)
    for (; i + 8 <= n; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  for (; i < n; ++i) p[i * stride] = float_to_f16(src[i]);
}
#endif

}  // namespace

template <class Acc>
LoadRow<Acc> load_row(DType type) {
  switch (type) {
    case DType::f32:
      return load_elements<F32, Acc>;
    case DType::f64:
      return load_elements<F64, Acc>;
    case DType::f16:
#if defined(__F16C__)
      if constexpr (kAccType<Acc> == DType::f32) return load_f16;
#endif
      return load_elements<F16, Acc>;
    case DType::bf16:
      return load_elements<BF16, Acc>;
    case DType::f8e4m3:
      return load_elements<F8, Acc>;
    case DType::i32:
      return load_elements<I32, Acc>;
    case DType::i64:
      return load_elements<I64, Acc>;
    case DType::u8:
      return load_elements<U8, Acc>;
    case DType::boolean:
      return load_elements<Bool, Acc>;
    case DType::count:
      break;
  }
  return nullptr;
}

template <class Acc>
StoreRow<Acc> store_row(DType type) {
  switch (type) {
    case DType::f32:
      return store_elements<F32, Acc>;
    case DType::f64:
      return store_elements<F64, Acc>;
    case DType::f16:
#if defined(__F16C__)
      if constexpr (kAccType<Acc> == DType::f32) return store_f16;
#endif
      return store_elements<F16, Acc>;
    case DType::bf16:
      return store_elements<BF16, Acc>;
    case DType::f8e4m3:
      return store_elements<F8, Acc>;
    case DType::i32:
      return store_elements<I32, Acc>;
    case DType::i64:
      return store_elements<I64, Acc>;
    case DType::u8:
      return store_elements<U8, Acc>;
    case DType::boolean:
      return store_elements<Bool, Acc>;
    case DType::count:
      break;
  }
  return nullptr;
}

template LoadRow<float> load_row<float>(DType);
template LoadRow<double> load_row<double>(DType);
template LoadRow<int64_t> load_row<int64_t>(DType);
template StoreRow<float> store_row<float>(DType);
template StoreRow<double> store_row<double>(DType);
template StoreRow<int64_t> store_row<int64_t>(DType);

}  // namespace hn::cpu::HN_ISA
