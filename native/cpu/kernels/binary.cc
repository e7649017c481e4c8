// Arithmetic on two tensors, or a tensor and a number, broadcast against each other.
//   minimum and maximum hand NaN on, from either side. Integers wrap around like C's unsigned types.
//   div:      db = −dy · a / b²
//   min, max: dy goes to the smaller (larger) side, half of it to each side where they are equal
// Bound by memory: one read of each operand, one write.
#include "core/generated/pointwise.h"
#include "cpu/kernels/elementwise.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class T>
inline T min_of(T u, T v) {
  return u < v || u != u ? u : v;
}
template <class T>
inline T max_of(T u, T v) {
  return u > v || u != u ? u : v;
}

template <class Acc>
Status floats(const Context& ctx, const BinaryArgs& a) {
  using Fn = BinaryArgs::Fn;
  const Operand<Acc> x(a.a, static_cast<Acc>(a.scalar)), y(a.b, static_cast<Acc>(a.scalar));
  switch (a.fn) {
    case Fn::add:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return u + v; }, x, y);
    case Fn::sub:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return u - v; }, x, y);
    case Fn::mul:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return u * v; }, x, y);
    case Fn::div:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return u / v; }, x, y);
    case Fn::minimum:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return min_of(u, v); }, x, y);
    case Fn::maximum:
      return map<Acc>(
          ctx, a.y, [](Acc u, Acc v) { return max_of(u, v); }, x, y);
  }
  return Status::invalid("unknown function");
}

Status integers(const Context& ctx, const BinaryArgs& a) {
  using Fn = BinaryArgs::Fn;
  using Int = int64_t;
  const Operand<Int> x(a.a, static_cast<Int>(a.scalar)), y(a.b, static_cast<Int>(a.scalar));
  const WrapTo wrap(a.y.dtype);
  // Unsigned inside, where overflow is defined.
  const auto run = [&](auto fn) {
    return map<Int>(
        ctx, a.y, [=](Int u, Int v) { return wrap(fn(static_cast<uint64_t>(u), static_cast<uint64_t>(v))); }, x, y);
  };
  switch (a.fn) {
    case Fn::add:
      return run([](uint64_t u, uint64_t v) { return u + v; });
    case Fn::sub:
      return run([](uint64_t u, uint64_t v) { return u - v; });
    case Fn::mul:
      return run([](uint64_t u, uint64_t v) { return u * v; });
    case Fn::div:
      break;
    case Fn::minimum:
      return map<Int>(
          ctx, a.y, [](Int u, Int v) { return min_of(u, v); }, x, y);
    case Fn::maximum:
      return map<Int>(
          ctx, a.y, [](Int u, Int v) { return max_of(u, v); }, x, y);
  }
  return Status::invalid("integers have no true division");
}

/// The gradient for one side: `mine` and `other` are the sides' values, whichever of a and b they are.
template <class Acc>
Status backward(const Context& ctx, const BinaryBackwardArgs& a) {
  using Fn = BinaryBackwardArgs::Fn;
  const Operand<Acc> dy(a.dy), x(a.a, static_cast<Acc>(a.scalar)), y(a.b, static_cast<Acc>(a.scalar));
  switch (a.fn) {
    case Fn::div:
      if (a.da)
        HN_RETURN_IF_ERROR(map<Acc>(
            ctx, a.da, [](Acc g, Acc v) { return g / v; }, dy, y));
      if (a.db)
        HN_RETURN_IF_ERROR(map<Acc>(
            ctx, a.db, [](Acc g, Acc u, Acc v) { return -g * ((u / v) / v); }, dy, x, y));
      return {};
    case Fn::minimum:
    case Fn::maximum: {
      // Share of the side whose value is u against v, as PyTorch deals it out: NaN compares unequal and gets all of dy.
      const bool larger = a.fn == Fn::maximum;
      const auto share = [=](Acc g, Acc u, Acc v) {
        const bool loses = larger ? u < v : u > v;
        return loses ? Acc(0) : u == v ? g / Acc(2) : g;
      };
      if (a.da) HN_RETURN_IF_ERROR(map<Acc>(ctx, a.da, share, dy, x, y));
      if (a.db) HN_RETURN_IF_ERROR(map<Acc>(ctx, a.db, share, dy, y, x));
      return {};
    }
  }
  return Status::invalid("unknown function");
}

}  // namespace

Status binary(const Context& ctx, const BinaryArgs& a) {
  if (!is_float(a.y.dtype)) return integers(ctx, a);
  return with_float_acc(a.y.dtype, [&](auto acc) { return floats<decltype(acc)>(ctx, a); });
}

Status binary_backward(const Context& ctx, const BinaryBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
