// Sums, means, norms, extremes, variances and argmax over any axes, and their gradients.
//   sum      dx = dy              mean   dx = dy / n           norm   y = √Σx², dx = x · dy / y (0 where y is 0)
//   max, min dx = dy / (number of elements equal to y) at those elements, 0 elsewhere
//   variance y = Σ(x − mean)² / max(0, n − correction), in a second pass over x; dx = dy · scale · (x − mean)
//
// x of any strides: f32, bf16, f16, and i32, i64, u8 (sums also of bool) where the op takes them; y dense. Sums run in
// f64, those of integers in 64 bits with wrap-around. NaN wins every comparison. How axes are walked: fold.cuh.
// Bytes: size(x) forward (variance twice), 2 · size(x) or 3 · size(x) backward. FLOPs: 1 to 3 an element. Bound by
// memory: the column sums of [118800, 3072] in bf16 read 730 MB.
#include "core/generated/reduce.h"
#include "cuda/device/fold_kinds.cuh"
#include "cuda/device/map.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

using Fn = ReduceArgs::Fn;

/// The axes of an op as a set of bits.
unsigned axis_bits(const IntList& axes) {
  unsigned bits = 0;
  for (int32_t i = 0; i < axes.count; ++i) bits |= 1u << axes[i];
  return bits;
}

/// Folds a float tensor, in packs where its layout allows.
template <class Fold>
Status fold_floats(const Context& ctx, const TensorView& x, const FoldPlan& plan, const Fold& fold) {
  return with_storage(x.dtype, [&](auto storage) {
    using T = decltype(storage);
    if (plan.packs(x, kPack<T>)) return fold_axes(ctx, PackSource<T>{x.as<const T>()}, plan, fold);
    return fold_axes(ctx, FloatSource{AnyPtr(x)}, plan, fold);
  });
}

/// A tensor that is walked as if it had x's shape, by outputs.
PerOutput per_output(const TensorView& t, unsigned axes) {
  PerOutput values;
  values.tensor = AnyPtr(t);
  values.map = AxisGroup(t, ~axes).map();
  return values;
}

IntOut int_out(const TensorView& t) { return {t.data, t.dtype}; }

Status floats(const Context& ctx, const ReduceArgs& a) {
  const FoldPlan plan(a.x, axis_bits(a.axes));
  if (a.fn == Fn::max || a.fn == Fn::min) {
    return fold_floats(ctx, a.x, plan, ExtremeFold<float>{a.fn == Fn::min, AnyOut(a.y)});
  }
  SumFold fold;
  fold.y = AnyOut(a.y);
  if (a.fn == Fn::mean) {
    fold.result = SumFold::Result::share;
    fold.n = static_cast<double>(plan.count());
  } else if (a.fn == Fn::norm) {
    fold.term = SumFold::Term::square;
    fold.result = SumFold::Result::root;
  }
  return fold_floats(ctx, a.x, plan, fold);
}

Status integers(const Context& ctx, const ReduceArgs& a) {
  const FoldPlan plan(a.x, axis_bits(a.axes));
  const IntSource x{a.x.data, a.x.dtype};
  if (a.fn == Fn::sum) return fold_axes(ctx, x, plan, IntSumFold{int_out(a.y)});
  if (a.fn == Fn::mean || a.fn == Fn::norm) return Status::invalid("integers have no mean and no norm");
  return fold_axes(ctx, x, plan, ExtremeFold<int64_t>{a.fn == Fn::min, int_out(a.y)});
}

// --- gradients ------------------------------------------------------------------------------------------------------

/// in: dy, x, y; for extremes dy has been divided among the equal ones already.
struct Gradient {
  using Result = float;
  using Fn = ReduceBackwardArgs::Fn;
  Fn fn;
  float n;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[3][kCount], float (&out)[kCount]) const {
    switch (fn) {
      case Fn::sum:
        return for_each(in, out, [](float g, float, float) { return g; });
      case Fn::mean:
        return for_each(in, out, [&](float g, float, float) { return g / n; });
      case Fn::norm:
        return for_each(in, out, [](float g, float x, float y) { return y == 0.0f ? 0.0f : x * (g / y); });
      default:
        // No element equals a NaN: then 0 / 0, as in PyTorch.
        return for_each(in, out, [](float g, float x, float y) { return x == y ? g : y != y ? y : 0.0f; });
    }
  }
};

/// Row-major view of `values`, one for each output, walked as if it had x's shape: strides of 0 along what is reduced.
TensorView spread_outputs(const TensorView& x, unsigned axes, void* values) {
  TensorView view = x;
  view.data = values;
  int64_t step = 1;
  for (int i = x.rank - 1; i >= 0; --i) {
    const bool kept = (axes >> i & 1u) == 0;
    view.strides[i] = kept ? step : 0;
    if (kept) step *= x.shape[i];
  }
  return view;
}

/// dy / (number of elements equal to y), rounded to T as dx will be.
template <class T>
Status split_among_equals(const Context& ctx, const ReduceBackwardArgs& a, T* shares) {
  const unsigned axes = axis_bits(a.axes);
  SumFold fold;
  fold.term = SumFold::Term::equal;
  fold.result = SumFold::Result::split;
  fold.center = per_output(a.y, axes);
  fold.divided = per_output(a.dy, axes);
  fold.y.data = shares;
  fold.y.dtype = a.x.dtype;
  return fold_floats(ctx, a.x, FoldPlan(a.x, axes), fold);
}

/// dx = dy · scale · (x − mean), the mean in f32 and most often the same for all of a pack.
template <class T, int kCount>
__global__ void __launch_bounds__(kMapThreads, 1)
    variance_backward_kernel(Walk<4> walk, int64_t units, int rest, const T* dy, const T* x, const float* mean, T* dx,
                             bool dy_repeats, int64_t mean_step, float scale) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kMapThreads, left = units - first;
  const int step = static_cast<int>(threadIdx.x);
  if (step >= left) return;
  const int count = step == left - 1 ? rest : kCount;
  int64_t at[4];
  walk.offsets(walk.place(first), step, at);
  const Pack<T, kCount> g = fetch<kCount>(dy + at[1], dy_repeats, count), v = fetch<kCount>(x + at[2], false, count);
  Pack<T, kCount> out;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float m = mean[at[3] + (i < count ? i * mean_step : 0)];
    out.items[i] = narrow<T>(widen(g.items[i]) * scale * (widen(v.items[i]) - m));
  }
  put(dx + at[0], out, count);
}

}  // namespace

// --- launchers ------------------------------------------------------------------------------------------------------

HN_SUPPORTS(reduce, kFloats | kInts | kBool);
HN_SUPPORTS(reduce_backward, kFloats);
HN_SUPPORTS(argmax, kFloats | kInts);
HN_SUPPORTS(variance, kFloats);
HN_SUPPORTS(variance_backward, kFloats);

Status reduce(const Context& ctx, const ReduceArgs& a) {
  return is_float(a.x.dtype) ? floats(ctx, a) : integers(ctx, a);
}

Status reduce_backward(const Context& ctx, const ReduceBackwardArgs& a) {
  if ((a.x && a.x.dtype != a.dy.dtype) || (a.y && a.y.dtype != a.dy.dtype)) {
    return Status::missing("reduce_backward: x or y is of another type than dy");
  }
  int64_t count = 1;
  for (int32_t i = 0; i < a.axes.count; ++i) count *= a.dx.shape[a.axes[i]];
  return with_storage(a.dy.dtype, [&](auto storage) -> Status {
    using T = decltype(storage);
    const Gradient fn{a.fn, static_cast<float>(count)};
    if (a.fn != Gradient::Fn::max && a.fn != Gradient::Fn::min)
      return map_elements<T, T>(ctx, fn, a.dx, {&a.dy, &a.x, &a.y});
    T* const shares = ctx.workspace<T>(FoldPlan(a.x, axis_bits(a.axes)).outputs());
    if (shares == nullptr) return Status::no_memory();
    HN_RETURN_IF_ERROR(split_among_equals(ctx, a, shares));
    const TensorView spread = spread_outputs(a.x, axis_bits(a.axes), shares);
    return map_elements<T, T>(ctx, fn, a.dx, {&spread, &a.x, &a.y});
  });
}

Status argmax(const Context& ctx, const ArgmaxArgs& a) {
  const FoldPlan plan(a.x, axis_bits(a.axes));
  int32_t* const y = a.y.as<int32_t>();
  if (is_float(a.x.dtype)) return fold_axes(ctx, FloatSource{AnyPtr(a.x)}, plan, ArgmaxFold<float>{y});
  return fold_axes(ctx, IntSource{a.x.data, a.x.dtype}, plan, ArgmaxFold<int64_t>{y});
}

Status variance(const Context& ctx, const VarianceArgs& a) {
  const FoldPlan plan(a.x, axis_bits(a.axes));
  double* const means = ctx.workspace<double>(plan.outputs());
  if (means == nullptr) return Status::no_memory();
  const double n = static_cast<double>(plan.count());
  SumFold first;
  first.result = SumFold::Result::share;
  first.n = n;
  first.y = AnyOut(a.mean);
  first.copy = means;
  HN_RETURN_IF_ERROR(fold_floats(ctx, a.x, plan, first));
  SumFold second;
  second.term = SumFold::Term::squared_distance;
  second.center.numbers = means;
  second.result = SumFold::Result::share;
  second.n = std::max(n - a.correction, 0.0);
  second.y = AnyOut(a.y);
  return fold_floats(ctx, a.x, plan, second);
}

Status variance_backward(const Context& ctx, const VarianceBackwardArgs& a) {
  if (a.dy.dtype != a.x.dtype || a.mean.dtype != DType::f32) {
    return Status::missing("variance_backward: dy is not of x's type, or the mean not f32");
  }
  if (a.dx.elements() == 0) return {};
  const TensorView none;
  Axes<4> axes({&a.dx, &a.dy, &a.x, &a.mean});
  if (!axes.walkable()) return kTooLong;
  const bool dy_repeats = axes.step(1) == 0;
  const int64_t mean_step = axes.step(3);
  return with_storage(a.x.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto launch = [&](auto pack) {
      constexpr int kCount = decltype(pack)::value;
      const MapUnits work(axes, kCount);
      return HN_LAUNCH((variance_backward_kernel<T, kCount>), ceil_div(work.units, kMapThreads), kMapThreads, 0, ctx,
                       Walk<4>(axes), work.units, work.rest, a.dy.as<const T>(), a.x.as<const T>(),
                       a.mean.as<const float>(), a.dx.as<T>(), dy_repeats, mean_step, static_cast<float>(a.scale));
    };
    // The mean is read element by element.
    const bool in_packs = axes.step(2) == 1 && axes.packs({&a.dx, &a.dy, &a.x, &none}, kPack<T>, true);
    if (in_packs) return launch(std::integral_constant<int, kPack<T>>{});
    return launch(std::integral_constant<int, 1>{});
  });
}

}  // namespace hn::cuda
