// Changing the size of [B, T, H, W, C] or [B, H, W, C].
//   upsample_nearest: y[t, h, w] = x[frame(t), ⌊h / fh⌋, ⌊w / fw⌋]; frame(t) = ⌊t / ft⌋, or with first_frame (the
//     causal autoencoder's first frame is not repeated in time) frame(0) = 0 and frame(t) = 1 + ⌊(t − 1) / ft⌋.
//     Backward: each x sums the dy of its copies.
//   resize_bilinear: y[h, w] = Σ_i Σ_j wh[h, i] ww[w, j] x[i, j]. Backward: the same sum with the tables transposed.
//
// Tensors of any strides; upsample_nearest of any type, since it copies, the rest in f32, bf16 and f16 with f32 sums,
// rounded once when stored. Rows that are whole packs of 16 bytes are read and written in packs. Everything gathers,
// nothing is scattered: the same bytes each time.
// Bytes: size(x) + size(y) each way. FLOPs: none; 1 an element of dy; 2 an element and weight. Bound by memory:
// [1, 33, 128, 128, 256] in bf16 by (2, 2, 2) moves 2.4 GB.
//
// A thread of upsample_nearest has one pack of x and stores all of its copies: the index is decoded once for up to
// eight stores. The weights of an axis are worked out once, in f64 as the CPU backend does, by a small kernel of their
// own; the transposed table is not stored, only which outputs read a source.
#include "core/generated/resample.h"
#include "cuda/device/voxels.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;

// --- nearest
// ------------------------------------------------------------------------------------------------------------

struct Upsampling {
  int ft, fh, fw;
  bool first_frame;

  Upsampling(const IntList& factors, bool first)
      : ft(static_cast<int>(factors[0])),
        fh(static_cast<int>(factors[1])),
        fw(static_cast<int>(factors[2])),
        first_frame(first) {}

  /// Calls fn(copy) for each copy of a voxel, in order.
  template <class Fn>
  HN_DEVICE void each_copy(const Voxel& v, Fn&& fn) const {
    const int begin = !first_frame ? v.t * ft : v.t == 0 ? 0 : 1 + (v.t - 1) * ft;
    const int end = begin + (first_frame && v.t == 0 ? 1 : ft);
    for (int t = begin; t < end; ++t)
      for (int h = v.h * fh; h < (v.h + 1) * fh; ++h)
        for (int w = v.w * fw; w < (v.w + 1) * fw; ++w) fn(Voxel{v.b, t, h, w});
  }
};

/// Unit is what a thread moves: an element, or 16 bytes of them.
template <class Unit>
__global__ void __launch_bounds__(kThreads, 1)
    upsample_kernel(VoxelPacks work, Upsampling up, Voxels<Unit> x, Voxels<Unit> y) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  const Unit value = *x.at(at, channel);
  up.each_copy(at, [&](const Voxel& copy) { *y.at(copy, channel) = value; });
}

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads, 1)
    upsample_backward_kernel(VoxelPacks work, Upsampling up, Voxels<T> dy, Voxels<T> dx) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  float sum[kPackSize] = {};
  up.each_copy(at, [&](const Voxel& copy) {
    float g[kPackSize];
    dy.load(copy, channel, g);
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) sum[i] += g[i];
  });
  dx.store(at, channel, sum);
}

// --- bilinear
// -----------------------------------------------------------------------------------------------------------

/// Positions [first, first + count) along one axis.
struct Span {
  int first, count;
};

/// How one axis of size `from` is read to make one of size `to`.
struct AxisRule {
  int from, to;
  double scale;
  bool align_corners, antialias;

  AxisRule(int64_t from_, int64_t to_, bool align, bool filter)
      : from(static_cast<int>(from_)), to(static_cast<int>(to_)), align_corners(align), antialias(filter) {
    if (!align_corners)
      scale = static_cast<double>(from) / static_cast<double>(to);
    else
      scale = to > 1 ? static_cast<double>(from - 1) / static_cast<double>(to - 1) : 0.0;
  }

  HN_HOST_DEVICE double reach() const { return scale >= 1 ? scale : 1; }
  /// No span is longer.
  int most() const {
    const double width = antialias ? 2 * reach() + 2 : 2;
    return width < from ? static_cast<int>(width) : from;
  }

  /// The span that output i reads, and its weights.
  HN_DEVICE Span fill(int i, float* weights) const { return antialias ? filter(i, weights) : interpolate(i, weights); }

  /// Between the two nearest sources; the borders repeat.
  HN_DEVICE Span interpolate(int i, float* weights) const {
    double at = align_corners ? scale * i : scale * (i + 0.5) - 0.5;
    at = at < 0 ? 0 : at;
    const int first = min(static_cast<int>(at), from - 1);
    const double fraction = at - first;
    if (first + 1 == from) {
      weights[0] = 1;
      return {first, 1};
    }
    weights[0] = static_cast<float>(1 - fraction);
    weights[1] = static_cast<float>(fraction);
    return {first, 2};
  }

  /// A triangle as wide as the reduction, so that every source counts when shrinking.
  HN_DEVICE Span filter(int i, float* weights) const {
    const double centre = scale * (i + 0.5), low = centre - reach() + 0.5, high = centre + reach() + 0.5;
    const int first = low < 0 ? 0 : static_cast<int>(low), end = min(static_cast<int>(high), from);
    const auto height = [&](int j) {
      const double distance = fabs((j - centre + 0.5) / reach());
      return distance < 1 ? 1 - distance : 0;
    };
    double total = 0;
    for (int j = first; j < end; ++j) total += height(j);
    for (int j = first; j < end; ++j) weights[j - first] = static_cast<float>(height(j) / total);
    return {first, end - first};
  }
};

/// The weights of one axis, in workspace.
struct AxisTable {
  int to = 0, from = 0, most = 0;
  Span* spans = nullptr;     // [to]: what an output reads
  float* weights = nullptr;  // [to, most]
  Span* readers = nullptr;   // [from]: the outputs that read a source; for gradients only

  HN_DEVICE float weight(int output, int source) const {
    return weights[static_cast<int64_t>(output) * most + (source - spans[output].first)];
  }
};

__global__ void __launch_bounds__(kThreads, 1) axis_table_kernel(AxisRule rule, AxisTable table) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i < table.to) table.spans[i] = rule.fill(i, table.weights + static_cast<int64_t>(i) * table.most);
}

/// Spans move one way only, at both ends: the outputs that read a source are neighbours.
__global__ void __launch_bounds__(kThreads, 1) axis_readers_kernel(AxisTable table) {
  const int j = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (j >= table.from) return;
  // The first output whose span meets the condition; each holds from some output on.
  const auto search = [&](auto&& condition) {
    int low = 0, high = table.to;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if (condition(table.spans[middle]))
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  };
  const int begin = search([&](const Span& s) { return s.first + s.count > j; });
  const int end = search([&](const Span& s) { return s.first > j; });
  table.readers[j] = {begin, end - begin};
}

/// Forward `from` is x, backward it is dy. Rows and columns are the tables of the forward op both ways.
template <class T, int kPackSize, bool kBackward>
__global__ void __launch_bounds__(kThreads, 1)
    resize_kernel(VoxelPacks work, AxisTable rows, AxisTable columns, Voxels<T> from, Voxels<T> to) {
  Voxel at;
  int64_t channel;
  if (!work.find(kThreads, at, channel)) return;
  const Span row = kBackward ? rows.readers[at.h] : rows.spans[at.h];
  const Span column = kBackward ? columns.readers[at.w] : columns.spans[at.w];
  float sum[kPackSize] = {};
  for (int i = row.first; i < row.first + row.count; ++i) {
    float line[kPackSize] = {};
    for (int j = column.first; j < column.first + column.count; ++j) {
      const float weight = kBackward ? columns.weight(j, at.w) : columns.weight(at.w, j);
      float v[kPackSize];
      from.load(Voxel{at.b, at.t, i, j}, channel, v);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) line[k] += weight * v[k];
    }
    const float weight = kBackward ? rows.weight(i, at.h) : rows.weight(at.h, i);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) sum[k] += weight * line[k];
  }
  to.store(at, channel, sum);
}

// --- launchers
// ----------------------------------------------------------------------------------------------------------

/// The view in units of `count` elements.
TensorView in_units(TensorView t, int count) {
  t.shape[4] /= count;
  for (int i = 0; i < 4; ++i) t.strides[i] /= count;
  return t;
}

template <class Unit>
Status upsample(const Context& ctx, const UpsampleNearestArgs& a, int unit_elements) {
  const TensorView x = in_units(a.x, unit_elements), y = in_units(a.y, unit_elements);
  const VoxelPacks work(VoxelGrid(x), x.dim(4), 1);
  return HN_LAUNCH((upsample_kernel<Unit>), ceil_div(work.count(), kThreads), kThreads, 0, ctx, work,
                   Upsampling(a.factors, a.first_frame), Voxels<Unit>(x), Voxels<Unit>(y));
}

Status fill_table(const Context& ctx, const AxisRule& rule, bool backward, AxisTable& table) {
  table.to = rule.to;
  table.from = rule.from;
  table.most = rule.most();
  table.spans = ctx.workspace<Span>(rule.to);
  table.weights = ctx.workspace<float>(static_cast<int64_t>(rule.to) * table.most);
  if (backward) table.readers = ctx.workspace<Span>(rule.from);
  if (table.spans == nullptr || table.weights == nullptr || (backward && table.readers == nullptr)) {
    return Status::no_memory();
  }
  HN_RETURN_IF_ERROR(HN_LAUNCH((axis_table_kernel), ceil_div(rule.to, kThreads), kThreads, 0, ctx, rule, table));
  if (!backward) return {};
  return HN_LAUNCH((axis_readers_kernel), ceil_div(rule.from, kThreads), kThreads, 0, ctx, table);
}

template <bool kBackward>
Status resize(const Context& ctx, const TensorView& source, const TensorView& target, bool align_corners,
              bool antialias) {
  if (target.elements() == 0) return {};
  const TensorView from = with_frames(source), to = with_frames(target);
  AxisTable tables[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t small = (kBackward ? to : from).dim(2 + i), big = (kBackward ? from : to).dim(2 + i);
    HN_RETURN_IF_ERROR(fill_table(ctx, AxisRule(small, big, align_corners, antialias), kBackward, tables[i]));
  }
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const VoxelPacks work(VoxelGrid(to), to.dim(4), pack());
        return HN_LAUNCH((resize_kernel<T, pack(), kBackward>), ceil_div(work.count(), kThreads), kThreads, 0, ctx,
                         work, tables[0], tables[1], Voxels<T>(from), Voxels<T>(to));
      },
      from, to);
}

}  // namespace

HN_SUPPORTS(upsample_nearest, kFloats | kFloat64 | kFloat8 | kInts | kBool);
HN_SUPPORTS(upsample_nearest_backward, kFloats);
HN_SUPPORTS(resize_bilinear, kFloats);
HN_SUPPORTS(resize_bilinear_backward, kFloats);

Status upsample_nearest(const Context& ctx, const UpsampleNearestArgs& a) {
  const int element = info(a.x.dtype).block_bytes;
  if (packs(a.x) && packs(a.y)) return upsample<uint4>(ctx, a, 16 / element);
  switch (element) {
    case 1:
      return upsample<uint8_t>(ctx, a, 1);
    case 2:
      return upsample<uint16_t>(ctx, a, 1);
    case 4:
      return upsample<uint32_t>(ctx, a, 1);
    default:
      return upsample<uint64_t>(ctx, a, 1);
  }
}

Status upsample_nearest_backward(const Context& ctx, const UpsampleNearestBackwardArgs& a) {
  return with_voxel_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const VoxelPacks work(VoxelGrid(a.dx), a.dx.dim(4), pack());
        return HN_LAUNCH((upsample_backward_kernel<T, pack()>), ceil_div(work.count(), kThreads), kThreads, 0, ctx,
                         work, Upsampling(a.factors, a.first_frame), Voxels<T>(a.dy), Voxels<T>(a.dx));
      },
      a.dy, a.dx);
}

Status resize_bilinear(const Context& ctx, const ResizeBilinearArgs& a) {
  return resize<false>(ctx, a.x, a.y, a.align_corners, a.antialias);
}

Status resize_bilinear_backward(const Context& ctx, const ResizeBilinearBackwardArgs& a) {
  return resize<true>(ctx, a.dy, a.dx, a.align_corners, a.antialias);
}

}  // namespace hn::cuda
