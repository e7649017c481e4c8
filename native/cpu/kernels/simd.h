// Vectors as wide as this file's target allows, and exp, tanh, erf and sigmoid over rows of them.
//
// Every file in kernels/ is compiled once per instruction set with -DHN_ISA=portable|avx2|avx512, all of it inside
// hn::cpu::HN_ISA. Nothing here may leave a weak symbol outside that namespace (std::vector, std::function, ...): the
// linker keeps one copy of each, and a copy made with AVX-512 would then run on machines without it.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef HN_ISA
#error "compile with -DHN_ISA=portable, avx2 or avx512"
#endif

namespace hn::cpu::HN_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
};

/// A GCC vector: + - * / and comparisons work on all lanes; a * b + c becomes one fused operation where there is one.
template <class T>
using Vec = typename VecOf<T>::type;
/// What comparing two Vec<T> gives, and what __builtin_shuffle takes: integers of the same width.
template <class T>
using VecMask = typename VecOf<T>::mask;

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

/// Any address will do: memcpy of a whole vector is one unaligned load or store.
template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
inline Vec<T> broadcast(T x) {
  return x - Vec<T>{};  // x - 0 keeps the sign of a zero, which 0 + x would lose
}

template <class T>
inline T sum_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store<T>(lanes, v);
  for (int width = kLanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}
template <class T>
inline T max_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store<T>(lanes, v);
  T best = lanes[0];
  for (int i = 1; i < kLanes<T>; ++i) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

template <class To, class From>
inline To bits_as(From from) {
  return __builtin_bit_cast(To, from);
}

// --- one element, without branches: with -fno-trapping-math (CMakeLists.txt) loops over rows become vectors
// -----------

/// 1 ulp, 0 for -inf, inf from 88.73 on, NaN kept. Cody-Waite reduction, then a polynomial on [-ln2/2, ln2/2].
inline float exp1(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  x = x < -104.0f ? -104.0f : x;         // both ends still give exactly 0 and inf below
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  float r = x - n * 0.693145752f;  // ln 2 in two parts, the first with so few bits that n times it is exact
  r = r - n * 1.42860677e-6f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  // 2^n in two factors: n reaches 128 and -150, which one float exponent cannot hold.
  const int32_t whole = bits_as<int32_t>(shifted) - bits_as<int32_t>(kRound);
  const int32_t half = whole >> 1;
  const float scale_a = bits_as<float>((half + 127) << 23);
  const float scale_b = bits_as<float>((whole - half + 127) << 23);
  return (scale_a + scale_a * p) * scale_b;
}
inline double exp1(double x) { return __builtin_exp(x); }

/// 2 ulp. The odd polynomial near 0 keeps small arguments exact where 1 - 2 / (e^2x + 1) would cancel.
inline float tanh1(float x) {
  const uint32_t sign = bits_as<uint32_t>(x) & 0x80000000u;  // put back at the end: tanh(-0) is -0
  const float t = bits_as<float>(bits_as<uint32_t>(x) ^ sign);
  const float s = t * t;
  float p = -5.70498872745e-3f;  // Cephes tanhf
  p = p * s + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  const float small = (p * s) * t + t;
  const float large = 1.0f - 2.0f / (exp1(t + t) + 1.0f);
  return bits_as<float>(bits_as<uint32_t>(t < 0.625f ? small : large) | sign);
}
inline double tanh1(double x) { return __builtin_tanh(x); }

/// 2 ulp. Coefficients: N. Juffa's minimax fits (NVIDIA forum, 2018), one side of 0.9277 each.
inline float erf1(float x) {
  const uint32_t sign = bits_as<uint32_t>(x) & 0x80000000u;
  const float abs_x = bits_as<float>(bits_as<uint32_t>(x) ^ sign);
  const float t = abs_x > 4.0f ? 4.0f : abs_x;  // erf(4) is 1 in float
  const float s = t * t;
  float q = -1.72853470e-5f * t + 3.83197126e-4f;
  const float u = -3.88396438e-3f * t + 2.42546219e-2f;
  q = q * s + u;
  q = q * t - 1.06777877e-1f;
  q = q * t - 6.34846687e-1f;
  q = q * t - 1.28717512e-1f;
  q = q * t - t;
  const float large = 1.0f - exp1(q);
  float p = -5.96761703e-4f;
  p = p * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  const float small = p * abs_x + abs_x;
  return bits_as<float>(bits_as<uint32_t>(abs_x < 0.927734375f ? small : large) | sign);
}
inline double erf1(double x) { return __builtin_erf(x); }

template <class T>
inline T sigmoid1(T x) {
  return T(1) / (T(1) + exp1(-x));
}

// --- rows; dst may be src
// ---------------------------------------------------------------------------------------------

template <class T>
inline void vexp(T* dst, const T* src, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = exp1(src[i]);
}
template <class T>
inline void vtanh(T* dst, const T* src, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = tanh1(src[i]);
}
template <class T>
inline void verf(T* dst, const T* src, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = erf1(src[i]);
}
template <class T>
inline void vsigmoid(T* dst, const T* src, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = sigmoid1(src[i]);
}

}  // namespace hn::cpu::HN_ISA
