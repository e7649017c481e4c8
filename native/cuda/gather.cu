// Slices picked along one axis by a list of indices, and the gradient.
//   y[o, j, i] = x[o, ids[j], i]                          x [O, V, I], ids [N], y [O, N, I], all dense
//   dx[o, v, i] = Σ_j dy[o, j, i] over the j with ids[j] = v, in the order of j
//
// Forward every type, in units of up to 16 bytes; backward f32, bf16, f16 to f32, and f64. An id outside the axis is
// refused; the slice it picks has all bits set (NaN in every float type), and backward it is passed over.
//
// Backward each thread owns a column (o, i) of a range of v, and its block reads all ids: those that fall into the
// range are listed in their order, and the slices they picked are added one after another. Nothing is added by two
// threads, so the sums are the same each time.
// Bytes: forward 2 · size(y); backward size(dy) + size(dx), and N ids a block. Bound by memory; backward by latency
// where a few v are picked very often.
#include "core/generated/layout.h"
#include "cuda/copy_view.h"
#include "cuda/device/any_ptr.cuh"
#include "cuda/device/refuse.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/device/walk.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// The tensor that is picked from as [outer, size, inner].
struct Extents {
  int64_t outer = 1, size = 1, inner = 1;
  Extents(const TensorView& t, int64_t axis) : size(t.shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= t.shape[i];
    for (int i = static_cast<int>(axis) + 1; i < t.rank; ++i) inner *= t.shape[i];
  }
};

constexpr int kThreads = 256;
constexpr int kItems = 4;

template <class U>
HN_DEVICE U all_bits() {
  if constexpr (sizeof(U) == 16)
    return make_uint4(~0u, ~0u, ~0u, ~0u);
  else
    return static_cast<U>(~U{0});
}

/// The walk has the axes [O, N, I], each of them even where it has one element.
template <class U>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(Walk<1> walk, int64_t elements, Extents from, AnyIndex ids, const U* x, U* y, FaultWord fault) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kItems), left = elements - first;
  const auto place = walk.place(first);
  U value[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    int64_t o = 0, j = 0, i = 0;
    walk.each(place, step, [&](int axis, int64_t at) { (axis == 0 ? i : axis == 1 ? j : o) = at; });
    const int64_t id = ids.load(j);
    const bool inside = id >= 0 && id < from.size;
    value[item] = inside ? x[(o * from.size + id) * from.inner + i] : all_bits<U>();
    if (!inside) refuse(fault, DataError::index);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step < left) y[first + step] = value[item];
  }
}

constexpr int kBackwardThreads = 128;
constexpr int kAhead = 8;  // slices that are loaded before the first of them is added

/// This step's ids that fall into the block's range, in their order.
struct Picked {
  int64_t (&v)[kBackwardThreads];
  int (&at)[kBackwardThreads];  // of kBackwardThreads ids
};

/// Lists what the threads hold, in the order of threads; answers how many. Begins and ends with a barrier.
HN_DEVICE int list_matches(bool match, int64_t v, const Picked& picked) {
  constexpr int kWarps = kBackwardThreads / kWarp;
  HN_SHARED(int, warp_counts, [kWarps]);
  if (__syncthreads_or(match) == 0) return 0;
  const uint32_t matches = __ballot_sync(kFullMask, match);
  if (lane_id() == 0) warp_counts[warp_id()] = __popc(matches);
  __syncthreads();
  int before = __popc(matches & ((1u << lane_id()) - 1)), all = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    before += warp < warp_id() ? warp_counts[warp] : 0;
    all += warp_counts[warp];
  }
  if (match) {
    picked.v[before] = v;
    picked.at[before] = static_cast<int>(threadIdx.x);
  }
  __syncthreads();
  return all;
}

/// dx is zero already. Block: range r of `range` slices, and columns.
template <class T>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_kernel(const T* dy, AnyIndex ids, compute_t<T>* dx, int64_t count, Extents to, int64_t range,
                    Divider ranges, Divider inner, FaultWord fault) {
  using Acc = compute_t<T>;
  HN_SHARED(int64_t, picked_v, [kBackwardThreads]);
  HN_SHARED(int, picked_at, [kBackwardThreads]);
  const Picked picked{picked_v, picked_at};

  int64_t block = blockIdx.x;
  const int64_t begin = ranges.split(block) * range, end = min(begin + range, to.size);
  int64_t o = block * kBackwardThreads + threadIdx.x;
  const bool active = o < to.outer * to.inner;
  const int64_t i = inner.split(o);
  const T* const column = dy + o * count * to.inner + i;
  Acc* const sums = dx + o * to.size * to.inner + i;

  int64_t current = -1;  // whose sum is held
  Acc sum = 0;
  for (int64_t first = 0; first < count; first += kBackwardThreads) {
    const int64_t j = first + threadIdx.x, id = j < count ? ids.load(j) : -1;
    if (j < count && (id < 0 || id >= to.size)) refuse(fault, DataError::index);
    const int found = list_matches(id >= begin && id < end, id, picked);
    if (!active) continue;
    for (int m = 0; m < found; m += kAhead) {
      T slice[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (m + k < found) slice[k] = column[(first + picked.at[m + k]) * to.inner];
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (m + k >= found) continue;
        const int64_t v = picked.v[m + k];
        if (v != current) {
          if (current >= 0) sums[current * to.inner] = sum;
          sum = sums[v * to.inner];
          current = v;
        }
        sum += widen(slice[k]);
      }
    }
  }
  if (active && current >= 0) sums[current * to.inner] = sum;
}

// --- launchers ------------------------------------------------------------------------------------------------------

template <class U>
Status gather_units(const Context& ctx, const GatherArgs& a, Extents from, int count) {
  from.inner /= count;
  Axes<1> axes;
  axes.rank = 3;
  axes.sizes[0] = from.outer;
  axes.sizes[1] = a.ids.elements();
  axes.sizes[2] = from.inner;
  if (!axes.walkable()) return kTooLong;
  const int64_t elements = axes.elements();
  return HN_LAUNCH((gather_kernel<U>), ceil_div(elements, kThreads * kItems), kThreads, 0, ctx, Walk<1>(axes), elements,
                   from, AnyIndex(a.ids), a.x.as<const U>(), a.y.as<U>(), ctx.fault());
}

/// As many blocks as keep a GPU busy. More would read the ids more often; sums do not depend on it.
constexpr int64_t kWantedBlocks = 1024;

}  // namespace

HN_SUPPORTS(gather, kAllTypes);
HN_SUPPORTS(gather_backward, kFloats | kFloat64);

Status gather(const Context& ctx, const GatherArgs& a) {
  if (a.y.elements() == 0) return {};
  const Extents from(a.x, a.axis);
  const int bytes = info(a.x.dtype).block_bytes;
  const auto addresses = reinterpret_cast<uintptr_t>(a.x.data) | reinterpret_cast<uintptr_t>(a.y.data);
  int count = 16 / bytes;
  while (count > 1 && (from.inner % count != 0 || addresses % static_cast<size_t>(count * bytes) != 0)) count /= 2;
  switch (count * bytes) {
    case 1:
      return gather_units<uint8_t>(ctx, a, from, count);
    case 2:
      return gather_units<uint16_t>(ctx, a, from, count);
    case 4:
      return gather_units<uint32_t>(ctx, a, from, count);
    case 8:
      return gather_units<uint64_t>(ctx, a, from, count);
    default:
      return gather_units<uint4>(ctx, a, from, count);
  }
}

Status gather_backward(const Context& ctx, const GatherBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  const Extents to(a.dx, a.axis);
  const int64_t count = a.ids.elements();
  HN_RETURN_IF_ERROR(fill_view(ctx, 0, a.dx));
  if (count == 0) return {};
  return with_types<float, bf16, f16, double>(a.dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    using Acc = compute_t<T>;
    if (a.dx.dtype != DTypeOf<Acc>::value) return Status::missing("gather_backward: sums of this type");
    const int64_t blocks = ceil_div(to.outer * to.inner, kBackwardThreads);
    const int64_t range = ceil_div(to.size, std::clamp<int64_t>(kWantedBlocks / blocks, 1, to.size));
    const int64_t ranges = ceil_div(to.size, range);
    return HN_LAUNCH((backward_kernel<T>), blocks * ranges, kBackwardThreads, 0, ctx, a.dy.as<const T>(),
                     AnyIndex(a.ids), a.dx.as<Acc>(), count, to, range, Divider(ranges), Divider(to.inner),
                     ctx.fault());
  });
}

}  // namespace hn::cuda
