// Mean squared and mean absolute difference of two tensors, rounded once at the end, and their gradient for a.
//   y = Σ (a − b)² / n,   da = dy · 2 (a − b) / n
//   y = Σ |a − b| / n,    da = dy · sign(a − b) / n
// Bound by memory: one read of each.
#include "core/generated/loss.h"
#include "cpu/kernels/reduction.h"

namespace hn::cpu::HN_ISA {
Status distance(const Context& ctx, const DistanceArgs& a) {
  return with_float_acc(a.a.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Reduction<Acc> reduction(a.a, a.b, ~0u);
    const auto finish = [&](int64_t, int64_t, const double* sum) {
      const double mean = *sum / static_cast<double>(reduction.count());
      store_row<double>(a.y.dtype)(a.y.data, 1, 1, &mean);
    };
    if (a.fn == DistanceArgs::Fn::mse) return reduction.template run<SumFold<Acc, SquaredDistance>>(ctx, finish);
    return reduction.template run<SumFold<Acc, Distance>>(ctx, finish);
  });
}

Status distance_backward(const Context& ctx, const DistanceBackwardArgs& a) {
  return with_float_acc(a.a.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Acc n = static_cast<Acc>(a.a.elements());
    const Operand<Acc> dy(a.dy), x(a.a), y(a.b);
    if (a.fn == DistanceBackwardArgs::Fn::mse)
      return map<Acc>(
          ctx, a.da, [=](Acc g, Acc u, Acc v) { return g * (Acc(2) * (u - v) / n); }, dy, x, y);
    const auto sign = [=](Acc g, Acc u, Acc v) { return u > v ? g / n : u < v ? -g / n : g * (u - v); };
    return map<Acc>(ctx, a.da, sign, dy, x, y);
  });
}

}  // namespace hn::cpu::HN_ISA
