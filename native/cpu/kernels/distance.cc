// Mean squared and mean absolute difference of two tensors, rounded once at the end, and their gradient for a.
//   y = Σ (a − b)² / n,   da = dy · 2 (a − b) / n
//   y = Σ |a − b| / n,    da = dy · sign(a − b) / n
// Bound by memory: one read of each.
#include "core/generated/ops.h"
#include "cpu/kernels/reduction.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc, bool kSquared>
struct DistanceFold {
  using State = double;
  static State identity() { return 0; }
  static State join(State a, State b) { return a + b; }
  static State term(Acc u, Acc v) {
    const double d = static_cast<double>(u) - static_cast<double>(v);
    return kSquared ? d * d : __builtin_fabs(d);
  }
  static State elements(const Acc* u, const Acc* v, int64_t n, int64_t) {
    return sum_of<State>(n, [=](int64_t i) { return term(u[i], v[i]); });
  }
  static void row(State* states, const Acc* u, const Acc* v, int64_t n, int64_t) {
    for (int64_t i = 0; i < n; ++i) states[i] += term(u[i], v[i]);
  }
};

}  // namespace

Status distance(const Context& ctx, const DistanceArgs& a) {
  return with_float_acc(a.a.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Reduction<Acc> reduction(a.a, a.b, ~0u);
    const auto finish = [&](int64_t, int64_t, const double* sum) {
      const double mean = *sum / static_cast<double>(reduction.count());
      store_row<double>(a.y.dtype)(a.y.data, 1, 1, &mean);
    };
    if (a.fn == DistanceArgs::Fn::mse) return reduction.template run<DistanceFold<Acc, true>>(ctx, finish);
    return reduction.template run<DistanceFold<Acc, false>>(ctx, finish);
  });
}

Status distance_backward(const Context& ctx, const DistanceBackwardArgs& a) {
  return with_float_acc(a.a.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Acc n = static_cast<Acc>(a.a.elements());
    const Operand<Acc> dy(a.dy), x(a.a), y(a.b);
    if (a.fn == DistanceBackwardArgs::Fn::mse)
      return map<Acc>(ctx, a.da, [=](Acc g, Acc u, Acc v) { return g * (Acc(2) * (u - v) / n); }, dy, x, y);
    const auto sign = [=](Acc g, Acc u, Acc v) { return u > v ? g / n : u < v ? -g / n : g * (u - v); };
    return map<Acc>(ctx, a.da, sign, dy, x, y);
  });
}

}  // namespace hn::cpu::HN_ISA
