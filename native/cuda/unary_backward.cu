// Gradients of the functions of one element, dx = dy · fn'. v is y where the gradient is cheaper from it (sqrt, rsqrt,
// exp, tanh, sigmoid, relu), else x.
//
// dy and v of any strides and one type, f32, bf16 or f16, computed in f32 and rounded once. See unary.cu.
// Bytes: 3 · size(x). FLOPs: 1 to 40 an element. Bound by memory.
#include "core/generated/unary.h"
#include "cuda/device/activation.cuh"
#include "cuda/device/map.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

using Fn = UnaryBackwardArgs::Fn;

template <class T>
struct Slopes {
  using Result = float;
  Fn fn;
  float slope, low, high;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[2][kCount], float (&out)[kCount]) const {
    constexpr bool kApprox = kRounded<T>;
    const auto run = [&](auto each) { for_each(in, out, each); };
    switch (fn) {
      // From y.
      case Fn::sqrt:
        return run([](float g, float y) { return g / (2.0f * y); });
      case Fn::rsqrt:
        return run([](float g, float y) { return -0.5f * g * (y * y * y); });
      case Fn::exp:
        return run([](float g, float y) { return g * y; });
      case Fn::tanh:
        return run([](float g, float y) { return g * (1.0f - y * y); });
      case Fn::sigmoid:
        return run([](float g, float y) { return g * (1.0f - y) * y; });
      case Fn::relu:
        return run([](float g, float y) { return y <= 0.0f ? 0.0f : g; });
      // From x.
      case Fn::abs:
        return run([](float g, float x) { return x > 0.0f ? g : x < 0.0f ? -g : g * x; });
      case Fn::square:
        return run([](float g, float x) { return g * (2.0f * x); });
      case Fn::log:
        return run([](float g, float x) { return g / x; });
      case Fn::silu:
        return run([](float g, float x) { return g * gated_slope<kApprox>(x, x, 1.0f); });
      case Fn::quick_gelu:
        return run([](float g, float x) { return g * gated_slope<kApprox>(x, kQuickGelu * x, kQuickGelu); });
      case Fn::gelu_tanh:
        return run([](float g, float x) {
          const float dt = kTwoSqrt2OverPi * (1.0f + 3.0f * kGeluCubic * (x * x));
          return g * gated_slope<kApprox>(x, twice_gelu_u(x), dt);
        });
      case Fn::gelu:
        return run([](float g, float x) {
          const float density = kInvSqrt2Pi * exp_of<kApprox>(-0.5f * x * x);
          return g * (normal_cdf(x) + x * density);
        });
      case Fn::leaky_relu:
        return run([&](float g, float x) { return x > 0.0f ? g : g * slope; });
      default:
        return run([&](float g, float x) { return x >= low && x <= high ? g : 0.0f; });
    }
  }
};

/// Of sin (a cosine) or of cos.
struct Waves {
  using Result = float;
  static constexpr int kMostAtOnce = 4;  // the reduction takes registers
  bool cosine;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[2][kCount], float (&out)[kCount]) const {
    for_each(in, out, [&](float g, float x) { return cosine ? g * cosf(x) : -g * sinf(x); });
  }
};

}  // namespace

// --- launchers ------------------------------------------------------------------------------------------------------

HN_SUPPORTS(unary_backward, kFloats);

Status unary_backward(const Context& ctx, const UnaryBackwardArgs& a) {
  return with_storage(a.dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    if (a.fn == Fn::sin || a.fn == Fn::cos) return map_elements<T, T>(ctx, Waves{a.fn == Fn::sin}, a.dx, {&a.dy, &a.v});
    const Slopes<T> fn{a.fn, static_cast<float>(a.slope), static_cast<float>(a.low), static_cast<float>(a.high)};
    return map_elements<T, T>(ctx, fn, a.dx, {&a.dy, &a.v});
  });
}

}  // namespace hn::cuda
