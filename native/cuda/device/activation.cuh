// Functions of one element that forward and backward kernels share. Float is computed as exactly as the device's own
// library does it (one or two units in the last place). Where results are rounded to bf16 or f16 anyway (kRounded), exp
// and division may be the hardware's approximations, off by less than a hundredth of what that rounding is off by:
// arithmetic would take longer than the memory otherwise.
#pragma once

#include "cuda/device/storage.cuh"

namespace hn::cuda {

constexpr float kSqrtHalf = 0.70710678f;
constexpr float kInvSqrt2Pi = 0.39894228f;
constexpr float kTwoSqrt2OverPi = 1.59576912f;
constexpr float kGeluCubic = 0.044715f;
constexpr float kQuickGelu = 1.702f;

/// Whether T has fewer digits than float.
template <class T>
constexpr bool kRounded = sizeof(T) < sizeof(float);

template <bool kApproximate>
HN_DEVICE float exp_of(float x) {
  if constexpr (kApproximate) return __expf(x);
  return expf(x);
}
/// 1 / x for x ≥ 1; beyond 2^126 the approximation is 0.
template <bool kApproximate>
HN_DEVICE float reciprocal(float x) {
  if constexpr (kApproximate) return __fdividef(1.0f, x);
  return 1.0f / x;
}
template <bool kApproximate>
HN_DEVICE float sigmoid(float x) {
  return reciprocal<kApproximate>(1.0f + exp_of<kApproximate>(-x));
}
/// 2u of gelu_tanh: (1 + tanh u) / 2 = σ(2u), which is exact also where tanh u comes close to −1.
HN_DEVICE float twice_gelu_u(float x) { return kTwoSqrt2OverPi * (x + kGeluCubic * (x * x * x)); }

/// Φ(x).
HN_DEVICE float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * kSqrtHalf)); }

/// d/dx of x · σ(t), where t' = dt. 1 − σ is not formed by subtraction: it would lose the digits that dt then
/// magnifies.
template <bool kApproximate>
HN_DEVICE float gated_slope(float x, float t, float dt) {
  const float e = exp_of<kApproximate>(-fabsf(t)), larger = reciprocal<kApproximate>(1.0f + e), smaller = e * larger;
  const float s = t > 0.0f ? larger : smaller, rest = t > 0.0f ? smaller : larger;
  return s + x * s * rest * dt;
}

/// min(max(x, low), high); NaN stays.
template <class V>
HN_DEVICE V clamped(V x, V low, V high) {
  const V above = x < low ? low : x;
  return above > high ? high : above;
}

}  // namespace hn::cuda
