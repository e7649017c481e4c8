// Sums, means, norms, extremes, variances and argmax over any axes, and their gradients.
//   sum      dx = dy              mean   dx = dy / n           norm   y = √Σx², dx = x · dy / y (0 where y is 0)
//   max, min dx = dy / (number of elements equal to y) at those elements, 0 elsewhere
//   variance y = Σ(x − mean)² / max(0, n − correction), in a second pass over x; dx = dy · 2 (x − mean) / (n −
//   correction)
// Sums run in double (int64 with wrap-around for integers): bound by memory all the same. NaN wins every comparison.
#include "core/generated/reduce.h"
#include "cpu/kernels/reduction.h"

namespace hn::cpu::HN_ISA {
namespace {

// --- folds ---

template <class Acc>
constexpr Acc kLowest = -static_cast<Acc>(__builtin_inf());
template <>
inline constexpr int64_t kLowest<int64_t> = INT64_MIN;
template <class Acc>
constexpr Acc kHighest = static_cast<Acc>(__builtin_inf());
template <>
inline constexpr int64_t kHighest<int64_t> = INT64_MAX;

/// The largest, or smallest, element; the first NaN stays.
template <class Acc, bool kLargest>
struct ExtremeFold {
  using State = Acc;
  static State identity() { return kLargest ? kLowest<Acc> : kHighest<Acc>; }
  static State join(State best, State next) {
    // | and not ||: without a branch the loops below become vectors.
    return (kLargest ? next > best : next < best) | (next != next) ? next : best;
  }
  static State elements(const Acc* u, const Acc*, int64_t n, int64_t) {
    // So many chains that the loop over them is one of several vectors.
    constexpr int kChains = 64;
    Acc chain[kChains];
    State best = identity();
    int64_t i = 0;
    if (n >= kChains) {
      for (int c = 0; c < kChains; ++c) chain[c] = u[c];
      for (i = kChains; i + kChains <= n; i += kChains)
        for (int c = 0; c < kChains; ++c) chain[c] = join(chain[c], u[i + c]);
      for (int c = 0; c < kChains; ++c) best = join(best, chain[c]);
    }
    for (; i < n; ++i) best = join(best, u[i]);
    return best;
  }
  template <int kRows>
  static void rows(State* states, const Four<Acc>& u, const Four<Acc>&, int64_t n, int64_t) {
    const Acc *a = u[0], *b = u[1], *c = u[2], *d = u[3];
    // States never overlap what is folded.
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      State best = join(states[i], a[i]);
      if constexpr (kRows == 4) {
        best = join(best, b[i]);
        best = join(best, c[i]);
        best = join(best, d[i]);
      }
      states[i] = best;
    }
  }
};

/// The first of the largest elements, or the first NaN, and its index.
template <class Acc>
struct ArgmaxFold {
  struct State {
    Acc value;
    int64_t index;
  };
  static bool beats(Acc next, Acc best) { return next > best || (next != next && best == best); }
  static State identity() { return {kLowest<Acc>, -1}; }
  static State join(State best, State next) {
    if (next.index < 0) return best;
    return best.index < 0 || beats(next.value, best.value) ? next : best;
  }
  static State elements(const Acc* u, const Acc*, int64_t n, int64_t start) {
    // The largest first, which vectorises, and then where it is.
    const Acc largest = ExtremeFold<Acc, true>::elements(u, nullptr, n, start);
    for (int64_t i = 0; i < n; ++i)
      if (u[i] == largest || u[i] != u[i]) return {u[i], start + i};
    return identity();
  }
  template <int kRows>
  static void rows(State* states, const Four<Acc>& u, const Four<Acc>&, int64_t n, int64_t index) {
    for (int r = 0; r < kRows; ++r)
      for (int64_t i = 0; i < n; ++i)
        if (states[i].index < 0 || beats(u[r][i], states[i].value)) states[i] = {u[r][i], index + r};
  }
};

// --- forward ---

/// Folds and stores, each state through `last`, as Out.
template <class Fold, class Out, class Acc, class Last>
Status fold_into(const Context& ctx, const Reduction<Acc>& reduction, const TensorView& y, const Last& last) {
  const Runs<Out> out(y);
  return reduction.template run<Fold>(ctx, [&](int64_t first, int64_t n, const typename Fold::State* states) {
    Out values[kStateTile];
    for (int64_t i = 0; i < n; ++i) values[i] = last(states[i]);
    out.finish(first, n, values);
  });
}

template <class Acc>
Status floats(const Context& ctx, const ReduceArgs& a) {
  using Fn = ReduceArgs::Fn;
  const Reduction<Acc> reduction(a.x, TensorView{}, axis_bits(a.axes));
  const double n = static_cast<double>(reduction.count());
  const auto same = [](auto state) { return state; };
  switch (a.fn) {
    case Fn::sum:
      return fold_into<SumFold<Acc, Value>, double>(ctx, reduction, a.y, same);
    case Fn::mean:
      return fold_into<SumFold<Acc, Value>, double>(ctx, reduction, a.y, [=](double s) { return s / n; });
    case Fn::norm:
      return fold_into<SumFold<Acc, Square>, double>(ctx, reduction, a.y, [](double s) { return __builtin_sqrt(s); });
    case Fn::max:
      return fold_into<ExtremeFold<Acc, true>, Acc>(ctx, reduction, a.y, same);
    case Fn::min:
      return fold_into<ExtremeFold<Acc, false>, Acc>(ctx, reduction, a.y, same);
  }
  return Status::invalid("unknown function");
}

Status integers(const Context& ctx, const ReduceArgs& a) {
  using Fn = ReduceArgs::Fn;
  const Reduction<int64_t> reduction(a.x, TensorView{}, axis_bits(a.axes));
  const auto as_int = [](auto state) { return static_cast<int64_t>(state); };
  switch (a.fn) {
    case Fn::sum:
      return fold_into<SumFold<int64_t, Value>, int64_t>(ctx, reduction, a.y, as_int);
    case Fn::max:
      return fold_into<ExtremeFold<int64_t, true>, int64_t>(ctx, reduction, a.y, as_int);
    case Fn::min:
      return fold_into<ExtremeFold<int64_t, false>, int64_t>(ctx, reduction, a.y, as_int);
    case Fn::mean:
    case Fn::norm:
      break;
  }
  return Status::invalid("integers have no mean and no norm");
}

template <class Acc>
Status variance_of(const Context& ctx, const VarianceArgs& a) {
  const unsigned axes = axis_bits(a.axes);
  const Reduction<Acc> first(a.x, TensorView{}, axes);
  double* means = ctx.workspace<double>(first.outputs() + 1);
  if (means == nullptr) return Status::no_memory();
  const double n = static_cast<double>(first.count());
  const Runs<double> mean_out(a.mean);
  HN_RETURN_IF_ERROR(
      (first.template run<SumFold<Acc, Value>>(ctx, [&](int64_t start, int64_t count, const double* sums) {
        for (int64_t i = 0; i < count; ++i) means[start + i] = sums[i] / n;
        mean_out.finish(start, count, means + start);
      })));
  const Reduction<Acc> second(a.x, spread_outputs(a.x, axes, means), axes);
  const double left = n - a.correction > 0 ? n - a.correction : 0;
  return fold_into<SumFold<Acc, SquaredDistance>, double>(ctx, second, a.y, [=](double s) { return s / left; });
}

// --- backward ---

/// dy goes to the elements equal to the extreme y, in equal parts. No element equals a NaN: then 0 / 0, as in PyTorch.
template <class Acc>
Status extreme_backward(const Context& ctx, const ReduceBackwardArgs& a) {
  const unsigned axes = axis_bits(a.axes);
  const Reduction<Acc> reduction(a.x, a.y, axes);
  double* ties = ctx.workspace<double>(reduction.outputs() + 1);
  if (ties == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(
      (reduction.template run<SumFold<Acc, Equal>>(ctx, [&](int64_t start, int64_t n, const double* counts) {
        for (int64_t i = 0; i < n; ++i) ties[start + i] = counts[i];
      })));
  const auto share = [](Acc g, Acc x, Acc y, Acc count) { return (x == y ? g : Acc(0)) / count; };
  return map<Acc>(ctx, a.dx, share, Operand<Acc>(a.dy), Operand<Acc>(a.x), Operand<Acc>(a.y),
                  Operand<Acc>(spread_outputs(a.x, axes, ties)));
}

template <class Acc>
Status backward(const Context& ctx, const ReduceBackwardArgs& a) {
  using Fn = ReduceBackwardArgs::Fn;
  int64_t count = 1;
  for (int32_t i = 0; i < a.axes.count; ++i) count *= a.dx.shape[a.axes[i]];
  const Acc n = static_cast<Acc>(count);
  const Operand<Acc> dy(a.dy);
  switch (a.fn) {
    case Fn::sum:
      return map<Acc>(
          ctx, a.dx, [](Acc g) { return g; }, dy);
    case Fn::mean:
      return map<Acc>(
          ctx, a.dx, [=](Acc g) { return g / n; }, dy);
    case Fn::norm: {
      const auto along = [](Acc g, Acc x, Acc y) { return y == Acc(0) ? Acc(0) : x * (g / y); };
      return map<Acc>(ctx, a.dx, along, dy, Operand<Acc>(a.x), Operand<Acc>(a.y));
    }
    case Fn::max:
    case Fn::min:
      return extreme_backward<Acc>(ctx, a);
  }
  return Status::invalid("unknown function");
}

}  // namespace

Status reduce(const Context& ctx, const ReduceArgs& a) {
  if (!is_float(a.x.dtype)) return integers(ctx, a);
  return with_float_acc(a.x.dtype, [&](auto acc) { return floats<decltype(acc)>(ctx, a); });
}

Status reduce_backward(const Context& ctx, const ReduceBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

Status variance(const Context& ctx, const VarianceArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return variance_of<decltype(acc)>(ctx, a); });
}

Status variance_backward(const Context& ctx, const VarianceBackwardArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Acc scale = static_cast<Acc>(a.scale);
    const auto pull = [=](Acc g, Acc x, Acc mean) { return g * scale * (x - mean); };
    return map<Acc>(ctx, a.dx, pull, Operand<Acc>(a.dy), Operand<Acc>(a.x), Operand<Acc>(a.mean));
  });
}

Status argmax(const Context& ctx, const ArgmaxArgs& a) {
  return with_acc(a.x.dtype, [&](auto acc) {
    using Acc = decltype(acc);
    const Reduction<Acc> reduction(a.x, TensorView{}, axis_bits(a.axes));
    return fold_into<ArgmaxFold<Acc>, int64_t>(ctx, reduction, a.y, [](auto state) { return state.index; });
  });
}

}  // namespace hn::cpu::HN_ISA
