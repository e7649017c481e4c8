// Gradient of conv3d for its input:
//   dx[u, ci] = sum over tap, co of weight[co, tap, ci] * (sum of dy[v, co] over the v that read u through this tap)
// The inner sum is what conv3d_taps.h gathers: without padding at most one v; at an edge with replicate padding
// several, since the rim is a copy of the edge. So the rim is folded back while rows are gathered, and no padded
// gradient exists.
//
// A stride leaves most (u, tap) pairs without any v. Along each axis the positions are therefore sorted into classes
// that share their taps (one for each phase of the stride, one for the edges, which see every tap), and each
// combination of classes is a product of its own: M = its voxels, N = Cin, K = its taps * Cout.
#include "core/generated/conv3d.h"
#include "cpu/context.h"
#include "cpu/kernels/conv3d_gemm.h"
#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/reused_workspace.h"

namespace hn::cpu::HN_ISA {
namespace {

/// One axis of the convolution.
struct Axis {
  int64_t in, out, taps, stride, before, after;
  bool replicate;

  bool front_edge() const { return replicate && before > 0 && in > 0; }
  bool back_edge() const { return replicate && after > 0 && in > 0; }

  /// The outputs that read input u through a tap: those v with v * stride + tap in [low, high] of the padded axis.
  Span readers(int64_t u, int64_t tap) const {
    const int64_t low = front_edge() && u == 0 ? 0 : u + before;
    const int64_t high = back_edge() && u == in - 1 ? in - 1 + before + after : u + before;
    int64_t first = low <= tap ? 0 : ceil_div(low - tap, stride);
    int64_t last = high < tap ? -1 : (high - tap) / stride;
    if (last >= out) last = out - 1;
    return {first, last >= first ? last - first + 1 : 0};
  }
};

/// Positions of one axis that see the same taps: `first_tap`, `first_tap` - step, ... (descending, so that the outputs
/// they name ascend and lie side by side in memory).
struct Class {
  GridAxis positions;
  int64_t first_tap = 0, tap_step = 1, taps = 0;
};

constexpr int kMostClasses = 8;
struct Classes {
  Class items[kMostClasses];
  int count = 0;
};

Classes classes_of(const Axis& axis) {
  Classes classes;
  const auto add = [&](GridAxis positions, int64_t phase, int64_t step) {
    if (positions.count <= 0) return;
    const int64_t taps = phase < axis.taps ? (axis.taps - 1 - phase) / step + 1 : 0;
    classes.items[classes.count++] = {positions, phase + (taps - 1) * step, step, taps};
  };
  if (axis.stride == 1) {
    add({0, 1, axis.in}, 0, 1);
    return classes;
  }
  const int64_t begin = axis.front_edge() ? 1 : 0;
  const bool back_apart = axis.back_edge() && axis.in - 1 >= begin;
  const int64_t end = back_apart ? axis.in - 1 : axis.in;
  if (begin == 1) add({0, 1, 1}, 0, 1);
  if (back_apart) add({axis.in - 1, 1, 1}, 0, 1);
  for (int64_t phase = 0; phase < axis.stride; ++phase) {
    // The first u >= begin with (u + before) % stride == phase.
    const int64_t start = begin + ((phase - begin - axis.before) % axis.stride + axis.stride) % axis.stride;
    if (start < end) add({start, axis.stride, (end - 1 - start) / axis.stride + 1}, phase, axis.stride);
  }
  return classes;
}

/// B[(tap, co)][ci] of the taps of one class: rows of weight [Cout, kt, kh, kw, Cin].
template <class Acc>
struct TapWeights final : BSource<Acc> {
  TapWeights(const TensorView& weight, const Class* const (&classes)[3])
      : weight(weight), load(load_row<Acc>(weight.dtype)) {
    for (int i = 0; i < 3; ++i) axes[i] = *classes[i];
  }
  void panel(Acc* dst, int64_t, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const override {
    const int64_t channels = weight.dim(0);
    for (int64_t k = k0; k < k0 + k_count; ++k, dst += NR<Acc>) {
      load(weight.at(tap_offset(k / channels) + k % channels * weight.strides[0] + n0), 1, n_count, dst);
      for (int64_t j = n_count; j < NR<Acc>; ++j) dst[j] = 0;
    }
  }
  int64_t tap_offset(int64_t tap) const {
    int64_t sum = 0;
    for (int i = 2; i >= 0; --i) {
      sum += (axes[i].first_tap - tap % axes[i].taps * axes[i].tap_step) * weight.strides[i + 1];
      tap /= axes[i].taps;
    }
    return sum;
  }
  TensorView weight;
  Class axes[3];
  LoadRow<Acc> load;
};

template <class Acc>
Status product(const Context& ctx, const TensorView& dy, const TensorView& weight, const TensorView& dx,
               const Axis (&axes)[3], const Class* const (&classes)[3]) {
  TapAxis tap_axes[3];
  GridAxis grid[3];
  for (int i = 0; i < 3; ++i) {
    const Axis& axis = axes[i];
    const Class& c = *classes[i];
    grid[i] = c.positions;
    const auto span_of = [&](int64_t position, int64_t tap) {
      return axis.readers(c.positions.start + position * c.positions.step, c.first_tap - tap * c.tap_step);
    };
    if (!tap_axes[i].fill(ctx, c.positions.count, c.taps, span_of)) return Status::no_memory();
  }
  const TapRows<Acc> taps(ctx, dy, tap_axes);
  if (!taps.ok()) return Status::no_memory();
  return gemm<Acc>(ctx, {1, taps.rows(), weight.dim(4), taps.columns()}, GatheredA<Acc>(taps),
                   TapWeights<Acc>(weight, classes), VoxelSink<Acc>(dx, grid, nullptr));
}

template <class Acc>
Status backward(const Context& ctx, const Conv3dBackwardInputArgs& a) {
  if (a.dx.elements() == 0) return {};
  const TensorView dy = with_frames(a.dy), weight = with_frames(a.weight), dx = with_frames(a.dx);
  const bool replicate = a.pad_mode == Conv3dBackwardInputArgs::PadMode::replicate;
  Axis axes[3];
  Classes classes[3];
  for (int i = 0; i < 3; ++i) {
    axes[i] = {dx.dim(i + 1), dy.dim(i + 1), weight.dim(i + 1), a.stride[i], a.before[i], a.after[i], replicate};
    if (axes[i].stride + 2 > kMostClasses) return Status::invalid("a stride above 6");
    classes[i] = classes_of(axes[i]);
  }
  Reused workspace(ctx);
  for (int t = classes[0].count - 1; t >= 0; --t)
    for (int h = classes[1].count - 1; h >= 0; --h)
      for (int w = classes[2].count - 1; w >= 0; --w) {
        const Class* const chosen[3] = {&classes[0].items[t], &classes[1].items[h], &classes[2].items[w]};
        HN_RETURN_IF_ERROR(product<Acc>(workspace.next(), dy, weight, dx, axes, chosen));
      }
  return {};
}

}  // namespace

Status conv3d_backward_input(const Context& ctx, const Conv3dBackwardInputArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
