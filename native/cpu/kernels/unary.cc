// Functions of one element, and their gradients from x or from y, whichever is cheaper (v below).
//   silu x σ(x) · quick_gelu x σ(1.702 x) · gelu_tanh x/2 (1 + tanh u), u = √(2/π) (x + 0.044715 x³) · gelu x Φ(x)
//   leaky_relu x, or slope · x below 0 · clamp min(max(x, low), high)
// NaN stays NaN everywhere. Bound by memory for arithmetic; by the exp, 10 to 20 cycles a vector, for activations.
#include "core/generated/unary.h"
#include "cpu/kernels/elementwise.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {
namespace {

inline float sqrt1(float x) { return __builtin_sqrtf(x); }
inline double sqrt1(double x) { return __builtin_sqrt(x); }
inline float abs1(float x) { return __builtin_fabsf(x); }
inline double abs1(double x) { return __builtin_fabs(x); }
// From libm: exact to half an ulp for arguments of any size, at about 10 ns an element. No hot path of the model has
// them.
inline float log1(float x) { return __builtin_logf(x); }
inline double log1(double x) { return __builtin_log(x); }
inline float sin1(float x) { return __builtin_sinf(x); }
inline double sin1(double x) { return __builtin_sin(x); }
inline float cos1(float x) { return __builtin_cosf(x); }
inline double cos1(double x) { return __builtin_cos(x); }

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInvSqrt2Pi = 0.39894228040143267794;
constexpr double kSqrt2OverPi = 0.79788456080286535588;
constexpr double kGeluCubic = 0.044715;
constexpr double kQuickGelu = 1.702;

/// 2u of gelu_tanh: (1 + tanh u) / 2 = σ(2u), which is exact also where tanh u comes close to −1.
template <class T>
inline T twice_gelu_u(T x) {
  return T(2 * kSqrt2OverPi) * (x + T(kGeluCubic) * (x * x * x));
}
template <class T>
inline T normal_cdf(T x) {
  return T(0.5) * (T(1) + erf1(x * T(kSqrtHalf)));
}
/// d/dx of x · σ(t), where t' = dt. 1 − σ is not formed by subtraction: it would lose the digits that dt then
/// magnifies.
template <class T>
inline T gated_slope(T x, T t, T dt) {
  const T e = exp1(-abs1(t)), larger = T(1) / (T(1) + e), smaller = e * larger;
  const T s = t > T(0) ? larger : smaller, rest = t > T(0) ? smaller : larger;
  return s + x * s * rest * dt;
}
template <class T>
inline T clamped(T x, T low, T high) {
  const T above = x < low ? low : x;
  return above > high ? high : above;
}

template <class Acc>
Status floats(const Context& ctx, const UnaryArgs& a) {
  using Fn = UnaryArgs::Fn;
  const Operand<Acc> x(a.x);
  const Acc slope = static_cast<Acc>(a.slope), low = static_cast<Acc>(a.low), high = static_cast<Acc>(a.high);
  const auto run = [&](auto fn) { return map<Acc>(ctx, a.y, fn, x); };
  switch (a.fn) {
    case Fn::neg:
      return run([](Acc v) { return -v; });
    case Fn::abs:
      return run([](Acc v) { return abs1(v); });
    case Fn::square:
      return run([](Acc v) { return v * v; });
    case Fn::sqrt:
      return run([](Acc v) { return sqrt1(v); });
    case Fn::rsqrt:
      return run([](Acc v) { return Acc(1) / sqrt1(v); });
    case Fn::exp:
      return run([](Acc v) { return exp1(v); });
    case Fn::log:
      return run([](Acc v) { return log1(v); });
    case Fn::sin:
      return run([](Acc v) { return sin1(v); });
    case Fn::cos:
      return run([](Acc v) { return cos1(v); });
    case Fn::tanh:
      return run([](Acc v) { return tanh1(v); });
    case Fn::sigmoid:
      return run([](Acc v) { return sigmoid1(v); });
    case Fn::silu:
      return run([](Acc v) { return v * sigmoid1(v); });
    case Fn::gelu:
      return run([](Acc v) { return v * normal_cdf(v); });
    case Fn::gelu_tanh:
      return run([](Acc v) { return v * sigmoid1(twice_gelu_u(v)); });
    case Fn::quick_gelu:
      return run([](Acc v) { return v * sigmoid1(Acc(kQuickGelu) * v); });
    case Fn::relu:
      return run([](Acc v) { return v < Acc(0) ? Acc(0) : v; });
    case Fn::leaky_relu:
      return run([=](Acc v) { return v > Acc(0) ? v : v * slope; });
    case Fn::clamp:
      return run([=](Acc v) { return clamped(v, low, high); });
  }
  return Status::invalid("unknown function");
}

/// Bounds may be infinite; whole numbers otherwise.
inline int64_t bound(double v) {
  return v >= 9223372036854775808.0 ? INT64_MAX : v <= -9223372036854775808.0 ? INT64_MIN : static_cast<int64_t>(v);
}

Status integers(const Context& ctx, const UnaryArgs& a) {
  using Fn = UnaryArgs::Fn;
  using Int = int64_t;
  const Operand<Int> x(a.x);
  const Int low = bound(a.low), high = bound(a.high);
  const WrapTo wrap(a.y.dtype);
  const auto run = [&](auto fn) {
    return map<Int>(
        ctx, a.y, [=](Int v) { return wrap(fn(v)); }, x);
  };
  const auto negated = [](Int v) { return -static_cast<uint64_t>(v); };  // unsigned: the lowest has no opposite
  switch (a.fn) {
    case Fn::neg:
      return run(negated);
    case Fn::abs:
      return run([=](Int v) { return v < 0 ? negated(v) : static_cast<uint64_t>(v); });
    case Fn::square:
      return run([](Int v) { return static_cast<uint64_t>(v) * static_cast<uint64_t>(v); });
    case Fn::relu:
      return map<Int>(
          ctx, a.y, [](Int v) { return v < 0 ? Int(0) : v; }, x);
    case Fn::clamp:
      return map<Int>(
          ctx, a.y, [=](Int v) { return clamped(v, low, high); }, x);
    default:
      return Status::invalid("this function takes floats only");
  }
}

template <class Acc>
Status backward(const Context& ctx, const UnaryBackwardArgs& a) {
  using Fn = UnaryBackwardArgs::Fn;
  const Operand<Acc> dy(a.dy), v(a.v);
  const Acc slope = static_cast<Acc>(a.slope), low = static_cast<Acc>(a.low), high = static_cast<Acc>(a.high);
  const auto run = [&](auto fn) { return map<Acc>(ctx, a.dx, fn, dy, v); };
  switch (a.fn) {
    // From y.
    case Fn::sqrt:
      return run([](Acc g, Acc y) { return g / (Acc(2) * y); });
    case Fn::rsqrt:
      return run([](Acc g, Acc y) { return Acc(-0.5) * g * (y * y * y); });
    case Fn::exp:
      return run([](Acc g, Acc y) { return g * y; });
    case Fn::tanh:
      return run([](Acc g, Acc y) { return g * (Acc(1) - y * y); });
    case Fn::sigmoid:
      return run([](Acc g, Acc y) { return g * (Acc(1) - y) * y; });
    case Fn::relu:
      return run([](Acc g, Acc y) { return y <= Acc(0) ? Acc(0) : g; });
    // From x.
    case Fn::abs:
      return run([](Acc g, Acc x) { return x > Acc(0) ? g : x < Acc(0) ? -g : g * x; });
    case Fn::square:
      return run([](Acc g, Acc x) { return g * (Acc(2) * x); });
    case Fn::log:
      return run([](Acc g, Acc x) { return g / x; });
    case Fn::sin:
      return run([](Acc g, Acc x) { return g * cos1(x); });
    case Fn::cos:
      return run([](Acc g, Acc x) { return -g * sin1(x); });
    case Fn::silu:
      return run([](Acc g, Acc x) { return g * gated_slope(x, x, Acc(1)); });
    case Fn::quick_gelu:
      return run([](Acc g, Acc x) { return g * gated_slope(x, Acc(kQuickGelu) * x, Acc(kQuickGelu)); });
    case Fn::gelu_tanh:
      return run([](Acc g, Acc x) {
        const Acc dt = Acc(2 * kSqrt2OverPi) * (Acc(1) + Acc(3 * kGeluCubic) * (x * x));
        return g * gated_slope(x, twice_gelu_u(x), dt);
      });
    case Fn::gelu:
      return run([](Acc g, Acc x) {
        const Acc density = Acc(kInvSqrt2Pi) * exp1(Acc(-0.5) * x * x);
        return g * (normal_cdf(x) + x * density);
      });
    case Fn::leaky_relu:
      return run([=](Acc g, Acc x) { return x > Acc(0) ? g : g * slope; });
    case Fn::clamp:
      return run([=](Acc g, Acc x) { return x >= low && x <= high ? g : Acc(0); });
  }
  return Status::invalid("unknown function");
}

}  // namespace

Status unary(const Context& ctx, const UnaryArgs& a) {
  if (!is_float(a.x.dtype)) return integers(ctx, a);
  return with_float_acc(a.x.dtype, [&](auto acc) { return floats<decltype(acc)>(ctx, a); });
}

Status unary_backward(const Context& ctx, const UnaryBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
