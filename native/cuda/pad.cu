// Padding of every axis, with zeros or by repeating the edge, and the gradient of the latter.
//   y[i] = x[clamp(i − before, 0, n − 1)]      (replicate)
//   dx[i] = Σ dy[j] over all j that y copies from i, in the order of j
//
// x and dy of any strides, y and dx dense. Forward every type, in units of up to 16 bytes where the innermost axis has
// no rim (channels); backward the float types, sums in f32 (f64 for f64).
// Bytes: size(x) + size(y). Bound by memory: a rim of one pixel round [1, 33, 720, 1280, 128] in bf16 moves 16 GB.
#include "core/generated/layout.h"
#include "cuda/device/storage.cuh"
#include "cuda/device/walk.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 4;
constexpr int kOutermost = kMaxRank - 1;

/// The axes of the side without a rim, and what the rim adds; outermost first, neighbours without one merged.
struct Rims {
  int rank = 0;
  int64_t sizes[kMaxRank] = {}, before[kMaxRank] = {}, after[kMaxRank] = {};
  int64_t strides[kMaxRank] = {};  // of the operand that is read

  /// `inside` is the shape without the rim, `read` the operand that is read.
  Rims(const TensorView& inside, const TensorView& read, const IntList& rim_before, const IntList& rim_after) {
    for (int i = 0; i < inside.rank; ++i) {
      const int64_t n = inside.shape[i], b = rim_before[i], a = rim_after[i], stride = read.strides[i];
      if (n == 1 && b + a == 0) continue;
      const int last = rank - 1;
      const bool plain = b + a == 0 && rank > 0 && before[last] + after[last] == 0;
      if (plain && strides[last] == n * stride && (rank == 1 || sizes[last] * n <= Axes<1>::kLongest)) {
        sizes[last] *= n;
        strides[last] = stride;
      } else {
        sizes[rank] = n;
        before[rank] = b;
        after[rank] = a;
        strides[rank++] = stride;
      }
    }
    if (rank == 0) sizes[0] = strides[0] = rank = 1;
  }

  /// The most neighbours, up to `most`, that can be moved at once: there is no rim along the innermost axis.
  int widest_pack(const void* read, const void* written, int64_t element_bytes, int most) const {
    const int last = rank - 1;
    if (before[last] + after[last] > 0 || strides[last] != 1) return 1;
    const auto fits = [&](int count) {
      const auto bytes = static_cast<size_t>(count * element_bytes);
      bool yes = sizes[last] % count == 0 && reinterpret_cast<uintptr_t>(read) % bytes == 0 &&
                 reinterpret_cast<uintptr_t>(written) % bytes == 0;
      for (int i = 0; i < last; ++i) yes = yes && strides[i] % count == 0;
      return yes;
    };
    int count = most;
    while (count > 1 && !fits(count)) count /= 2;
    return count;
  }
  /// Packs become the elements.
  void rescale(int count) {
    sizes[rank - 1] /= count;
    for (int i = 0; i + 1 < rank; ++i) strides[i] /= count;
  }
};

/// The same for a kernel, which walks the side that is written.
struct RimWalk {
  Walk<1> walk;
  int64_t elements;
  int64_t sizes[kMaxRank], before[kMaxRank], after[kMaxRank], strides[kMaxRank];  // innermost first, as Walk counts

  /// `rims`: what is written has them.
  RimWalk(const Rims& from, bool rims) : walk(axes_of(from, rims)), elements(axes_of(from, rims).elements()) {
    for (int i = 0; i < kMaxRank; ++i) {
      const int axis = i == kOutermost ? 0 : from.rank - 1 - i;
      const bool there = i == kOutermost || axis > 0;
      sizes[i] = there ? from.sizes[axis] : 1;
      before[i] = there ? from.before[axis] : 0;
      after[i] = there ? from.after[axis] : 0;
      strides[i] = there ? from.strides[axis] : 0;
    }
  }

  static Axes<1> axes_of(const Rims& from, bool rims) {
    Axes<1> axes;
    axes.rank = from.rank;
    for (int i = 0; i < from.rank; ++i) axes.sizes[i] = from.sizes[i] + (rims ? from.before[i] + from.after[i] : 0);
    return axes;
  }
};

/// U: any type of the size of an element, or of several.
template <class U>
__global__ void __launch_bounds__(kThreads) pad_kernel(RimWalk to, bool zero, const U* x, U* y) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kItems), left = to.elements - first;
  const auto place = to.walk.place(first);
  U value[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    int64_t from = 0;
    bool inside = true;
    to.walk.each(place, step, [&](int axis, int64_t i) {
      const int64_t n = to.sizes[axis], at = i - to.before[axis], nearest = max(min(at, n - 1), int64_t{0});
      inside = inside && at >= 0 && at < n;
      from += nearest * to.strides[axis];
    });
    value[item] = zero && !inside ? U{} : x[from];
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step < left) y[first + step] = value[item];
  }
}

/// Where the gradient of an element comes from, along each axis: `counts` neighbours in dy.
struct Sources {
  int counts[kMaxRank];
  int64_t first = 0;  // offset of the first of all
  int outer = 1;      // how many there are for each place along the innermost axis
};

/// kCount neighbours along the innermost axis, which then has no rim; offsets and strides are in packs of so many.
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads) pad_backward_kernel(RimWalk to, const T* dy, T* dx) {
  using Acc = compute_t<T>;
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kThreads;
  if (block + threadIdx.x >= to.elements) return;
  Sources from;
#pragma unroll
  for (int axis = 0; axis < kMaxRank; ++axis) from.counts[axis] = 1;
  to.walk.each(to.walk.place(block), static_cast<int>(threadIdx.x), [&](int axis, int64_t i) {
    const int64_t n = to.sizes[axis], begin = i == 0 ? 0 : i + to.before[axis];
    const int64_t end = i == n - 1 ? n + to.before[axis] + to.after[axis] : i + to.before[axis] + 1;
    from.counts[axis] = static_cast<int>(end - begin);
    from.first += begin * to.strides[axis];
    if (axis > 0) from.outer *= from.counts[axis];
  });

  Acc total[kCount] = {};
  for (int i = 0; i < from.counts[0]; ++i) {
    Acc sum[kCount] = {};
    for (int k = 0; k < from.outer; ++k) {
      int64_t offset = from.first + i * to.strides[0];
      int rest = k;
#pragma unroll
      for (int axis = 1; axis < kMaxRank; ++axis) {
        const int count = from.counts[axis];
        if (count == 1) continue;  // nearly always: only edges have more
        offset += rest % count * to.strides[axis];
        rest /= count;
      }
      Acc v[kCount];
      load_pack<kCount>(dy + offset * kCount, v);
#pragma unroll
      for (int c = 0; c < kCount; ++c) sum[c] += v[c];
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) total[c] += sum[c];
  }
  store_pack<kCount>(dx + (block + threadIdx.x) * kCount, total);
}

// --- launchers ------------------------------------------------------------------------------------------------------

template <class U>
Status pad_units(const Context& ctx, const PadArgs& a, Rims rims, int count) {
  rims.rescale(count);
  const RimWalk to(rims, true);
  return HN_LAUNCH((pad_kernel<U>), ceil_div(to.elements, kThreads * kItems), kThreads, 0, ctx, to,
                   a.mode == PadArgs::Mode::zero, a.x.as<const U>(), a.y.as<U>());
}

template <class T, int kCount>
Status backward(const Context& ctx, const PadBackwardArgs& a, Rims rims) {
  rims.rescale(kCount);
  const RimWalk to(rims, false);
  return HN_LAUNCH((pad_backward_kernel<T, kCount>), ceil_div(to.elements, kThreads), kThreads, 0, ctx, to,
                   a.dy.as<const T>(), a.dx.as<T>());
}

}  // namespace

HN_SUPPORTS(pad, kAllTypes);
HN_SUPPORTS(pad_backward, kFloats | kFloat64);

Status pad(const Context& ctx, const PadArgs& a) {
  if (a.y.elements() == 0) return {};
  const Rims rims(a.x, a.x, a.before, a.after);
  if (!RimWalk::axes_of(rims, true).walkable()) return kTooLong;
  const int bytes = info(a.y.dtype).block_bytes, count = rims.widest_pack(a.x.data, a.y.data, bytes, 16 / bytes);
  switch (count * bytes) {
    case 1:
      return pad_units<uint8_t>(ctx, a, rims, count);
    case 2:
      return pad_units<uint16_t>(ctx, a, rims, count);
    case 4:
      return pad_units<uint32_t>(ctx, a, rims, count);
    case 8:
      return pad_units<uint64_t>(ctx, a, rims, count);
    default:
      return pad_units<uint4>(ctx, a, rims, count);
  }
}

Status pad_backward(const Context& ctx, const PadBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  if (a.dx.dtype != a.dy.dtype) return Status::missing("pad_backward: dx is of another type than dy");
  const Rims rims(a.dx, a.dy, a.before, a.after);
  if (!RimWalk::axes_of(rims, false).walkable()) return kTooLong;
  return with_types<float, bf16, f16, double>(a.dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    const bool packs = rims.widest_pack(a.dy.data, a.dx.data, sizeof(T), kPack<T>) == kPack<T>;
    return packs ? backward<T, kPack<T>>(ctx, a, rims) : backward<T, 1>(ctx, a, rims);
  });
}

}  // namespace hn::cuda
