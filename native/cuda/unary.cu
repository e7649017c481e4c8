// Functions of one element, y = fn(x).
//   silu x σ(x) · quick_gelu x σ(1.702 x) · gelu_tanh x/2 (1 + tanh u), u = √(2/π) (x + 0.044715 x³) · gelu x Φ(x)
//   leaky_relu x, or slope · x below 0 · clamp min(max(x, low), high)
// NaN stays NaN everywhere. Integers (i32, i64, u8) wrap around like C's unsigned types.
//
// x of any strides, f32, bf16 or f16, computed in f32 and rounded once. The function is a branch that all threads take
// alike: one kernel a type, not one a function. sin and cos have their own: reducing a large argument takes a stack.
// Bytes: 2 · size(x). FLOPs: 1 to 30 an element. Bound by memory: [118800, 12288] in bf16 moves 5.8 GB; there the
// activations' arithmetic is expected to come close to it.
#include "core/generated/unary.h"
#include "cuda/device/activation.cuh"
#include "cuda/device/convert.cuh"
#include "cuda/device/map.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

using Fn = UnaryArgs::Fn;

template <class T>
struct Floats {
  using Result = float;
  Fn fn;
  float slope, low, high;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[1][kCount], float (&out)[kCount]) const {
    constexpr bool kApprox = kRounded<T>;
    const auto run = [&](auto each) { for_each(in, out, each); };
    switch (fn) {
      case Fn::neg:
        return run([](float v) { return -v; });
      case Fn::abs:
        return run([](float v) { return fabsf(v); });
      case Fn::square:
        return run([](float v) { return v * v; });
      case Fn::sqrt:
        return run([](float v) { return sqrtf(v); });
      case Fn::rsqrt:
        return run([](float v) { return rsqrtf(v); });
      case Fn::exp:
        return run([](float v) { return exp_of<kApprox>(v); });
      case Fn::log:
        return run([](float v) { return logf(v); });
      case Fn::tanh:
        return run([](float v) { return tanhf(v); });
      case Fn::sigmoid:
        return run([](float v) { return sigmoid<kApprox>(v); });
      case Fn::silu:
        return run([](float v) { return v * sigmoid<kApprox>(v); });
      case Fn::gelu:
        return run([](float v) { return v * normal_cdf(v); });
      case Fn::gelu_tanh:
        return run([](float v) { return v * sigmoid<kApprox>(twice_gelu_u(v)); });
      case Fn::quick_gelu:
        return run([](float v) { return v * sigmoid<kApprox>(kQuickGelu * v); });
      case Fn::relu:
        return run([](float v) { return v < 0.0f ? 0.0f : v; });
      case Fn::leaky_relu:
        return run([&](float v) { return v > 0.0f ? v : v * slope; });
      default:
        return run([&](float v) { return clamped(v, low, high); });
    }
  }
};

struct Waves {
  using Result = float;
  static constexpr int kMostAtOnce = 4;  // the reduction takes registers
  bool cosine;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[1][kCount], float (&out)[kCount]) const {
    for_each(in, out, [&](float v) { return cosine ? cosf(v) : sinf(v); });
  }
};

template <class T>
struct Ints {
  using Result = int64_t;
  Fn fn;
  int64_t low, high;

  template <int kCount>
  HN_DEVICE void operator()(const int64_t (&in)[1][kCount], int64_t (&out)[kCount]) const {
    const auto run = [&](auto each) { for_each(in, out, each); };
    // Unsigned inside, where overflow is defined: the lowest number has no opposite.
    const auto negated = [](int64_t v) { return static_cast<int64_t>(-static_cast<uint64_t>(v)); };
    switch (fn) {
      case Fn::neg:
        return run(negated);
      case Fn::abs:
        return run([&](int64_t v) { return v < 0 ? negated(v) : v; });
      case Fn::square:
        return run([](int64_t v) { return static_cast<int64_t>(static_cast<uint64_t>(v) * static_cast<uint64_t>(v)); });
      case Fn::relu:
        return run([](int64_t v) { return v < 0 ? int64_t{0} : v; });
      default:
        return run([&](int64_t v) { return static_cast<int64_t>(convert<T>(clamped(v, low, high))); });
    }
  }
};

// --- launchers ------------------------------------------------------------------------------------------------------

/// Bounds may be infinite; whole numbers otherwise.
int64_t bound(double v) {
  return v >= 9223372036854775808.0 ? INT64_MAX : v <= -9223372036854775808.0 ? INT64_MIN : static_cast<int64_t>(v);
}

bool takes_ints(Fn fn) {
  return fn == Fn::neg || fn == Fn::abs || fn == Fn::square || fn == Fn::relu || fn == Fn::clamp;
}

Status integers(const Context& ctx, const UnaryArgs& a) {
  if (!takes_ints(a.fn)) return Status::invalid("this function takes floats only");
  return with_types<int32_t, int64_t, uint8_t>(a.x.dtype, [&](auto storage) {
    using T = decltype(storage);
    return map_elements<T, T>(ctx, Ints<T>{a.fn, bound(a.low), bound(a.high)}, a.y, {&a.x});
  });
}

}  // namespace

HN_SUPPORTS(unary, kFloats | kInts);

Status unary(const Context& ctx, const UnaryArgs& a) {
  if (!is_float(a.x.dtype)) return integers(ctx, a);
  return with_storage(a.x.dtype, [&](auto storage) {
    using T = decltype(storage);
    if (a.fn == Fn::sin || a.fn == Fn::cos) return map_elements<T, T>(ctx, Waves{a.fn == Fn::cos}, a.y, {&a.x});
    const Floats<T> fn{a.fn, static_cast<float>(a.slope), static_cast<float>(a.low), static_cast<float>(a.high)};
    return map_elements<T, T>(ctx, fn, a.y, {&a.x});
  });
}

}  // namespace hn::cuda
