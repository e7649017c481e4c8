// Comparisons, which give bools, and selection by bools. Operands broadcast; a number stands for one that is missing.
// Anything compared with NaN is false, but for not_equal. Bound by memory.
#include "core/generated/pointwise.h"
#include "cpu/kernels/elementwise.h"

namespace hn::cpu::HN_ISA {

Status compare(const Context& ctx, const CompareArgs& a) {
  using Fn = CompareArgs::Fn;
  return with_acc(a.a ? a.a.dtype : a.b.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Operand<Acc> x(a.a, static_cast<Acc>(a.scalar)), y(a.b, static_cast<Acc>(a.scalar));
    const auto run = [&](auto test) {
      return map<Acc>(
          ctx, a.y, [=](Acc u, Acc v) { return test(u, v) ? Acc(1) : Acc(0); }, x, y);
    };
    switch (a.fn) {
      case Fn::equal:
        return run([](Acc u, Acc v) { return u == v; });
      case Fn::not_equal:
        return run([](Acc u, Acc v) { return u != v; });
      case Fn::less:
        return run([](Acc u, Acc v) { return u < v; });
      case Fn::less_equal:
        return run([](Acc u, Acc v) { return u <= v; });
      case Fn::greater:
        return run([](Acc u, Acc v) { return u > v; });
      case Fn::greater_equal:
        return run([](Acc u, Acc v) { return u >= v; });
    }
    return Status::invalid("unknown function");
  });
}

Status where(const Context& ctx, const WhereArgs& a) {
  // Every type goes through its compute type and back without loss.
  return with_acc(a.y.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Operand<Acc> x(a.a, static_cast<Acc>(a.scalar)), y(a.b, static_cast<Acc>(a.scalar));
    return map<Acc>(
        ctx, a.y, [](Acc c, Acc u, Acc v) { return c != Acc(0) ? u : v; }, Operand<Acc>(a.cond), x, y);
  });
}

}  // namespace hn::cpu::HN_ISA
