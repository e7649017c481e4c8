// Element by element: out[i] = fn(in_0[i], in_1[i], …), any strides, operands of one type broadcast against each other.
//
// Where the innermost axis allows, a thread takes packs of 16 bytes, of which an operand that is repeated along that
// axis gives one element. All loads of a thread are issued before its first store: the compiler could not move them
// past it, since the output may be one of the inputs. Bound by memory.
#pragma once

#include "cuda/device/storage.cuh"
#include "cuda/device/walk.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

constexpr int kMapThreads = 256;
/// Elements of a thread at a time; more than 8 would fill the registers with values.
template <class T>
constexpr int kMapPack = sizeof(T) == 1 ? 8 : kPack<T>;
/// The same for a functor, which may name fewer as kMostAtOnce.
template <class Fn, class T>
constexpr int map_pack() {
  if constexpr (requires { Fn::kMostAtOnce; }) return Fn::kMostAtOnce < kMapPack<T> ? Fn::kMostAtOnce : kMapPack<T>;
  return kMapPack<T>;
}
/// Packs of a thread; single elements are many, so that the place of the first is found once for more of them.
template <int kCount>
constexpr int kMapItems = kCount > 1 ? 2 : 4;

/// `count` elements (kCount but for the last pack of a tensor) at p, or the first of them alone.
template <int kCount, class T>
HN_DEVICE Pack<T, kCount> fetch(const T* p, bool repeats, int count) {
  Pack<T, kCount> pack;
  if (!repeats && count == kCount) return *reinterpret_cast<const Pack<T, kCount>*>(p);
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.items[i] = i < count && !repeats ? p[i] : p[0];
  return pack;
}
template <int kCount, class T>
HN_DEVICE void put(T* p, const Pack<T, kCount>& pack, int count) {
  if (count == kCount) {
    *reinterpret_cast<Pack<T, kCount>*>(p) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) p[i] = pack.items[i];
  }
}

/// For the functors of map_elements: out[i] = fn(in[0][i], …).
template <int kCount, class In, class Out, class Fn>
HN_DEVICE void for_each(const In (&in)[1][kCount], Out (&out)[kCount], Fn&& fn) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = fn(in[0][i]);
}
template <int kCount, class In, class Out, class Fn>
HN_DEVICE void for_each(const In (&in)[2][kCount], Out (&out)[kCount], Fn&& fn) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = fn(in[0][i], in[1][i]);
}
template <int kCount, class In, class Out, class Fn>
HN_DEVICE void for_each(const In (&in)[3][kCount], Out (&out)[kCount], Fn&& fn) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = fn(in[0][i], in[1][i], in[2][i]);
}

/// A tensor, or a number where none was given.
template <class T>
struct MapInput {
  const T* data;
  bool repeats;  // along the innermost axis
  compute_t<T> number;
};
template <class T, int kIn>
struct MapInputs {
  MapInput<T> items[kIn];
};

/// Fn::operator()(in, out): in[k][i] of compute_t<T>, out[i] of Fn::Result. `units` packs, of which the last has `rest`
/// elements.
template <class Fn, class T, class Out, int kIn, int kCount>
__global__ void __launch_bounds__(kMapThreads)
    map_kernel(Walk<kIn + 1> walk, int64_t units, int rest, Fn fn, MapInputs<T, kIn> in, Out* out) {
  constexpr int kItems = kMapItems<kCount>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMapThreads * kItems), left = units - first;
  const auto place = walk.place(first);

  Pack<T, kCount> raw[kItems][kIn];
  Out* to[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kMapThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    const int count = step == left - 1 ? rest : kCount;
    int64_t at[kIn + 1];
    walk.offsets(place, step, at);
    to[item] = out + at[0];
#pragma unroll
    for (int k = 0; k < kIn; ++k) {
      const MapInput<T>& operand = in.items[k];
      if (operand.data != nullptr) raw[item][k] = fetch<kCount>(operand.data + at[k + 1], operand.repeats, count);
    }
  }

#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kMapThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    compute_t<T> v[kIn][kCount];
#pragma unroll
    for (int k = 0; k < kIn; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        v[k][i] = in.items[k].data != nullptr ? widen(raw[item][k].items[i]) : in.items[k].number;
      }
    }
    typename Fn::Result result[kCount];
    fn(v, result);
    Pack<Out, kCount> pack;
#pragma unroll
    for (int i = 0; i < kCount; ++i) pack.items[i] = narrow<Out>(result[i]);
    put(to[item], pack, step == left - 1 ? rest : kCount);
  }
}

// --- on the host ----------------------------------------------------------------------------------------------------

/// Packs a launch deals out, and the elements of the last.
struct MapUnits {
  int64_t units;
  int rest;

  /// Groups the axes, which allow it.
  template <int kOperands>
  MapUnits(Axes<kOperands>& axes, int count) {
    const int over = axes.rank == 1 ? static_cast<int>(axes.width() % count) : 0;
    axes.group(count);
    units = axes.elements();
    rest = over > 0 ? over : count;
  }
};

/// Launches fn over tensors of type T; `number` stands for those that were not given.
template <class T, class Out, int kIn, class Fn>
Status map_elements(const Context& ctx, const Fn& fn, const TensorView& out, const TensorView* const (&in)[kIn],
                    double number = 0) {
  if (out.elements() == 0) return {};
  const TensorView* views[kIn + 1] = {&out};
  for (int k = 0; k < kIn; ++k) {
    if (*in[k] && in[k]->dtype != DTypeOf<T>::value) return Status::missing("the operands are of different types");
    views[k + 1] = in[k];
  }
  Axes<kIn + 1> axes(views);
  if (!axes.walkable()) return kTooLong;
  MapInputs<T, kIn> inputs;
  for (int k = 0; k < kIn; ++k) {
    inputs.items[k] = {in[k]->template as<const T>(), axes.step(k + 1) == 0, static_cast<compute_t<T>>(number)};
  }
  const auto launch = [&](auto pack) {
    constexpr int kCount = decltype(pack)::value;
    const MapUnits work(axes, kCount);
    return HN_LAUNCH((map_kernel<Fn, T, Out, kIn, kCount>), ceil_div(work.units, kMapThreads * kMapItems<kCount>),
                     kMapThreads, 0, ctx, Walk<kIn + 1>(axes), work.units, work.rest, fn, inputs, out.as<Out>());
  };
  constexpr int kPacked = map_pack<Fn, T>();
  if (axes.packs(views, kPacked, true)) return launch(std::integral_constant<int, kPacked>{});
  return launch(std::integral_constant<int, 1>{});
}

}  // namespace hn::cuda
