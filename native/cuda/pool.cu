// Pooling over windows of [B, T, H, W, C]: max and mean of each channel.
//   max: y = the largest value of the window (a NaN wins, the first of several); padding never wins
//        dx[u] = Σ dy over the windows whose first maximum is u
//   avg: y = Σ of the window / number of its places (with or without those in the padding)
//        dx[u] = Σ over the windows around u of dy / that number
//
// Tensors of any strides, f32, bf16 or f16; sums are f32, rounded once when stored. A thread has one pack of channels
// (16 bytes, or one element where packs do not fit) of one voxel of what is written, and gathers what that needs: no
// atomics, the same bytes each time.
// Bytes: forward size(x) + size(y), backward the same the other way round; windows that overlap are read again from
// cache. FLOPs: one an element of x. Bound by memory.
//
// The gradient of max: a first kernel writes down which place of each window won (1 byte while a window has up to 256
// places, else 4), and the inputs collect from the windows that chose them.
#include <algorithm>

#include "core/generated/pool.h"
#include "cuda/device/voxels.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;

/// Positions [begin, end) along one axis.
struct Range {
  int begin, end;

  HN_DEVICE int size() const { return end - begin; }
};

/// The windows of one axis. A window may be far longer than the axis, most of it padding.
class Windows {
 public:
  Windows(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t before)
      : in_(static_cast<int>(in)),
        out_(static_cast<int>(out)),
        kernel_(static_cast<int>(kernel)),
        before_(static_cast<int>(before)),
        stride_(stride) {}

  /// Places of window v within the tensor; never none.
  HN_DEVICE Range places(int v) const {
    const int begin = v * stride() - before_;
    return {max(begin, 0), min(begin + kernel_, in_)};
  }
  /// Places of window v including the padding.
  HN_DEVICE int padded_count(int v) const { return min(kernel_, in_ + 2 * before_ - v * stride()); }
  /// The windows around input u.
  HN_DEVICE Range around(int u) const {
    const int first = u + before_ - kernel_ + 1;
    return {first <= 0 ? 0 : over_stride(first + stride() - 1), min(over_stride(u + before_) + 1, out_)};
  }

 private:
  HN_DEVICE int stride() const { return static_cast<int>(stride_.divisor()); }
  HN_DEVICE int over_stride(int n) const { return static_cast<int>(stride_.quotient(n)); }

  int in_, out_, kernel_, before_;
  Divider stride_;
};

/// A box of voxels of one clip.
struct Box {
  Range t, h, w;

  /// Calls fn(voxel, its number within the box) in order.
  template <class Fn>
  HN_DEVICE void each(int b, Fn&& fn) const {
    int place = 0;
    for (int i = t.begin; i < t.end; ++i)
      for (int j = h.begin; j < h.end; ++j)
        for (int k = w.begin; k < w.end; ++k) fn(Voxel{b, i, j, k}, place++);
  }
  HN_DEVICE int number(const Voxel& v) const {
    return ((v.t - t.begin) * h.size() + (v.h - h.begin)) * w.size() + (v.w - w.begin);
  }
};

struct Pooling {
  Windows t, h, w;

  Pooling(const TensorView& in, const TensorView& out, const IntList& kernel, const IntList& stride,
          const IntList& padding)
      : t(in.dim(1), out.dim(1), kernel[0], stride[0], padding[0]),
        h(in.dim(2), out.dim(2), kernel[1], stride[1], padding[1]),
        w(in.dim(3), out.dim(3), kernel[2], stride[2], padding[2]) {}

  /// The places of a window, and the windows around a place.
  HN_DEVICE Box places(const Voxel& v) const { return {t.places(v.t), h.places(v.h), w.places(v.w)}; }
  HN_DEVICE Box around(const Voxel& u) const { return {t.around(u.t), h.around(u.h), w.around(u.w)}; }

  /// 1 / number of places that a mean divides by; a product of floats, since a window may be larger than integers say.
  HN_DEVICE float share(const Voxel& v, bool count_padding) const {
    const auto count = [&](const Windows& axis, int at) {
      return static_cast<float>(count_padding ? axis.padded_count(at) : axis.places(at).size());
    };
    return 1.0f / (count(t, v.t) * count(h, v.h) * count(w, v.w));
  }
};

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads, 1)
    avg_forward_kernel(VoxelPacks work, Pooling pooling, Voxels<T> x, Voxels<T> y, bool count_padding) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  float sum[kPackSize] = {};
  pooling.places(at).each(at.b, [&](const Voxel& place, int) {
    float v[kPackSize];
    x.load(place, channel, v);
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) sum[i] += v[i];
  });
  const float share = pooling.share(at, count_padding);
#pragma unroll
  for (int i = 0; i < kPackSize; ++i) sum[i] *= share;
  y.store(at, channel, sum);
}

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads, 1)
    avg_backward_kernel(VoxelPacks work, Pooling pooling, Voxels<T> dy, Voxels<T> dx, bool count_padding) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  float sum[kPackSize] = {};
  pooling.around(at).each(at.b, [&](const Voxel& window, int) {
    float g[kPackSize];
    dy.load(window, channel, g);
    const float share = pooling.share(window, count_padding);
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) sum[i] += g[i] * share;
  });
  dx.store(at, channel, sum);
}

/// Whether x takes the place of `best`: larger, or the first NaN.
HN_DEVICE bool beats(float x, float best) { return x > best || (x != x && best == best); }

/// The largest value of a window in each channel, and the number of its place.
template <int kPackSize>
struct Best {
  float value[kPackSize];
  int place[kPackSize];

  HN_DEVICE Best() {
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) {
      value[i] = ptx::bits_float(0xff800000u);  // −∞: a window of nothing else leaves the first place the winner
      place[i] = 0;
    }
  }
  HN_DEVICE void offer(const float (&v)[kPackSize], int number) {
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) {
      const bool wins = beats(v[i], value[i]);
      value[i] = wins ? v[i] : value[i];
      place[i] = wins ? number : place[i];
    }
  }
};

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads, 1)
    max_forward_kernel(VoxelPacks work, Pooling pooling, Voxels<T> x, Voxels<T> y) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  Best<kPackSize> best;
  pooling.places(at).each(at.b, [&](const Voxel& place, int number) {
    float v[kPackSize];
    x.load(place, channel, v);
    best.offer(v, number);
  });
  y.store(at, channel, best.value);
}

/// winners: one for each element of dy, in the order of a dense tensor.
template <class T, int kPackSize, class Place>
__global__ void __launch_bounds__(kThreads, 1)
    max_winners_kernel(VoxelPacks work, Pooling pooling, Voxels<T> x, Pack<Place, kPackSize>* winners) {
  Voxel at;
  int64_t channel, pack;
  if (!work.find(kThreads, at, channel, pack)) return;
  Best<kPackSize> best;
  pooling.places(at).each(at.b, [&](const Voxel& place, int number) {
    float v[kPackSize];
    x.load(place, channel, v);
    best.offer(v, number);
  });
  Pack<Place, kPackSize> chosen;
#pragma unroll
  for (int i = 0; i < kPackSize; ++i) chosen.items[i] = static_cast<Place>(best.place[i]);
  winners[pack] = chosen;
}

template <class T, int kPackSize, class Place>
__global__ void __launch_bounds__(kThreads, 1)
    max_backward_kernel(VoxelPacks work, Pooling pooling, Voxels<T> dy, VoxelGrid windows, int64_t packs,
                        const Pack<Place, kPackSize>* winners, Voxels<T> dx) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  float sum[kPackSize] = {};
  pooling.around(at).each(at.b, [&](const Voxel& window, int) {
    const auto own = static_cast<Place>(pooling.places(window).number(at));
    const Pack<Place, kPackSize> chosen = winners[windows.number(window) * packs + channel / kPackSize];
    float g[kPackSize];
    dy.load(window, channel, g);
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) sum[i] += chosen.items[i] == own ? g[i] : 0.0f;
  });
  dx.store(at, channel, sum);
}

// --- launchers
// ----------------------------------------------------------------------------------------------------------

/// Positions are counted in 32 bits, a window's begin and end among them.
Status check_windows(const TensorView& in, const IntList& kernel, const IntList& stride, const IntList& padding) {
  for (int i = 0; i < 3; ++i) {
    if (std::max({in.dim(i + 1), kernel[i], stride[i], padding[i]}) > INT32_MAX / 4) {
      return Status::missing("pooling windows of more than 2^29 places along an axis");
    }
  }
  return {};
}

template <class Place>
Status max_backward(const Context& ctx, const MaxPool3dBackwardArgs& a) {
  const TensorView x = with_frames(a.x), dy = with_frames(a.dy), dx = with_frames(a.dx);
  const Pooling pooling(x, dy, a.kernel, a.stride, a.padding);
  Place* const winners = ctx.workspace<Place>(dy.elements());
  if (winners == nullptr) return Status::no_memory();
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        auto* const packed = reinterpret_cast<Pack<Place, pack()>*>(winners);
        const VoxelGrid windows(dy);
        const VoxelPacks choices(windows, x.dim(4), pack()), work(VoxelGrid(dx), x.dim(4), pack());
        HN_RETURN_IF_ERROR(HN_LAUNCH((max_winners_kernel<T, pack(), Place>), ceil_div(choices.count(), kThreads),
                                     kThreads, 0, ctx, choices, pooling, Voxels<T>(x), packed));
        return HN_LAUNCH((max_backward_kernel<T, pack(), Place>), ceil_div(work.count(), kThreads), kThreads, 0, ctx,
                         work, pooling, Voxels<T>(dy), windows, x.dim(4) / pack(), packed, Voxels<T>(dx));
      },
      x, dy, dx);
}

}  // namespace

HN_SUPPORTS(avg_pool3d, kFloats);
HN_SUPPORTS(avg_pool3d_backward, kFloats);
HN_SUPPORTS(max_pool3d, kFloats);
HN_SUPPORTS(max_pool3d_backward, kFloats);

Status avg_pool3d(const Context& ctx, const AvgPool3dArgs& a) {
  const TensorView x = with_frames(a.x), y = with_frames(a.y);
  HN_RETURN_IF_ERROR(check_windows(x, a.kernel, a.stride, a.padding));
  const Pooling pooling(x, y, a.kernel, a.stride, a.padding);
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const VoxelPacks work(VoxelGrid(y), y.dim(4), pack());
        return HN_LAUNCH((avg_forward_kernel<T, pack()>), ceil_div(work.count(), kThreads), kThreads, 0, ctx, work,
                         pooling, Voxels<T>(x), Voxels<T>(y), a.count_padding);
      },
      x, y);
}

Status avg_pool3d_backward(const Context& ctx, const AvgPool3dBackwardArgs& a) {
  const TensorView dy = with_frames(a.dy), dx = with_frames(a.dx);
  HN_RETURN_IF_ERROR(check_windows(dx, a.kernel, a.stride, a.padding));
  const Pooling pooling(dx, dy, a.kernel, a.stride, a.padding);
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const VoxelPacks work(VoxelGrid(dx), dx.dim(4), pack());
        return HN_LAUNCH((avg_backward_kernel<T, pack()>), ceil_div(work.count(), kThreads), kThreads, 0, ctx, work,
                         pooling, Voxels<T>(dy), Voxels<T>(dx), a.count_padding);
      },
      dy, dx);
}

Status max_pool3d(const Context& ctx, const MaxPool3dArgs& a) {
  const TensorView x = with_frames(a.x), y = with_frames(a.y);
  HN_RETURN_IF_ERROR(check_windows(x, a.kernel, a.stride, a.padding));
  const Pooling pooling(x, y, a.kernel, a.stride, a.padding);
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const VoxelPacks work(VoxelGrid(y), y.dim(4), pack());
        return HN_LAUNCH((max_forward_kernel<T, pack()>), ceil_div(work.count(), kThreads), kThreads, 0, ctx, work,
                         pooling, Voxels<T>(x), Voxels<T>(y));
      },
      x, y);
}

Status max_pool3d_backward(const Context& ctx, const MaxPool3dBackwardArgs& a) {
  if (a.dy.dtype != a.x.dtype) return Status::missing("max_pool3d_backward: dy is of another type than x");
  const TensorView x = with_frames(a.x);
  HN_RETURN_IF_ERROR(check_windows(x, a.kernel, a.stride, a.padding));
  double places = 1;
  for (int i = 0; i < 3; ++i) places *= static_cast<double>(std::min(a.kernel[i], x.dim(i + 1)));
  if (places <= 256) return max_backward<uint8_t>(ctx, a);
  if (places <= INT32_MAX) return max_backward<int32_t>(ctx, a);
  return Status::missing("max_pool3d_backward: a window of more than 2^31 places");
}

}  // namespace hn::cuda
