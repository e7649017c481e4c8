// Comparisons, which give bools, and selection by bools. Operands broadcast; a number stands for one that is missing.
// Anything compared with NaN is false, but for not_equal.
//
// Operands of any strides (0 along what is broadcast) and one type: every one but f8e4m3 to compare; every one to
// choose from, whose elements are only moved. Bytes: size(a) + size(b) + size(y), and cond. Bound by memory.
#include "core/generated/pointwise.h"
#include "cuda/device/convert.cuh"
#include "cuda/device/map.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

template <class Value>
struct Test {
  using Result = bool;
  using Fn = CompareArgs::Fn;
  Fn fn;

  template <int kCount>
  HN_DEVICE void operator()(const Value (&in)[2][kCount], bool (&out)[kCount]) const {
    const auto run = [&](auto each) { for_each(in, out, each); };
    switch (fn) {
      case Fn::equal:
        return run([](Value u, Value v) { return u == v; });
      case Fn::not_equal:
        return run([](Value u, Value v) { return u != v; });
      case Fn::less:
        return run([](Value u, Value v) { return u < v; });
      case Fn::less_equal:
        return run([](Value u, Value v) { return u <= v; });
      case Fn::greater:
        return run([](Value u, Value v) { return u > v; });
      default:
        return run([](Value u, Value v) { return u >= v; });
    }
  }
};

/// One of the sides of `where`; no data stands for the number.
template <class U>
struct Side {
  const U* data;
  bool repeats;  // along the innermost axis
};

/// U: any type of the size of an element. Operands of the walk: y, cond, a, b.
template <class U, int kCount>
__global__ void __launch_bounds__(kMapThreads) where_kernel(Walk<4> walk, int64_t units, int rest, Side<boolean> cond,
                                                            Side<U> a, Side<U> b, DType type, double number, U* y) {
  constexpr int kItems = kMapItems<kCount>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMapThreads * kItems), left = units - first;
  const auto place = walk.place(first);
  const bool lacks = a.data == nullptr || b.data == nullptr;
  const U constant = lacks ? static_cast<U>(element_bits(type, number)) : U{};
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kMapThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    const int count = step == left - 1 ? rest : kCount;
    int64_t at[4];
    walk.offsets(place, step, at);
    const auto chosen = fetch<kCount>(cond.data + at[1], cond.repeats, count);
    Pack<U, kCount> u, v, out;
    if (a.data != nullptr) u = fetch<kCount>(a.data + at[2], a.repeats, count);
    if (b.data != nullptr) v = fetch<kCount>(b.data + at[3], b.repeats, count);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const U mine = a.data != nullptr ? u.items[i] : constant, other = b.data != nullptr ? v.items[i] : constant;
      out.items[i] = chosen.items[i].bits != 0 ? mine : other;
    }
    put(y + at[0], out, count);
  }
}

// --- launchers ------------------------------------------------------------------------------------------------------

template <class U>
Status choose(const Context& ctx, const WhereArgs& a) {
  const TensorView* views[] = {&a.y, &a.cond, &a.a, &a.b};
  Axes<4> axes(views);
  if (!axes.walkable()) return kTooLong;
  const Side<boolean> cond{a.cond.as<const boolean>(), axes.step(1) == 0};
  const Side<U> left{a.a.as<const U>(), axes.step(2) == 0}, right{a.b.as<const U>(), axes.step(3) == 0};
  const auto launch = [&](auto pack) {
    constexpr int kCount = decltype(pack)::value;
    const MapUnits work(axes, kCount);
    return HN_LAUNCH((where_kernel<U, kCount>), ceil_div(work.units, kMapThreads * kMapItems<kCount>), kMapThreads, 0,
                     ctx, Walk<4>(axes), work.units, work.rest, cond, left, right, a.y.dtype, a.scalar, a.y.as<U>());
  };
  if (axes.packs(views, kMapPack<U>, true)) return launch(std::integral_constant<int, kMapPack<U>>{});
  return launch(std::integral_constant<int, 1>{});
}

}  // namespace

HN_SUPPORTS(compare, kFloats | kFloat64 | kInts | kBool);
HN_SUPPORTS(where, kAllTypes);

Status compare(const Context& ctx, const CompareArgs& a) {
  const DType type = a.a ? a.a.dtype : a.b.dtype;
  return with_types<float, bf16, f16, double, int32_t, int64_t, uint8_t, boolean>(type, [&](auto storage) {
    using T = decltype(storage);
    return map_elements<T, boolean>(ctx, Test<compute_t<T>>{a.fn}, a.y, {&a.a, &a.b}, a.scalar);
  });
}

Status where(const Context& ctx, const WhereArgs& a) {
  if (a.y.elements() == 0) return {};
  if ((a.a && a.a.dtype != a.y.dtype) || (a.b && a.b.dtype != a.y.dtype)) {
    return Status::missing("where: a and b are of different types");
  }
  switch (info(a.y.dtype).block_bytes) {
    case 1:
      return choose<uint8_t>(ctx, a);
    case 2:
      return choose<uint16_t>(ctx, a);
    case 4:
      return choose<uint32_t>(ctx, a);
    default:
      return choose<uint64_t>(ctx, a);
  }
}

}  // namespace hn::cuda
