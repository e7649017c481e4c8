// Pooling over windows of [B, T, H, W, C]: max and mean of each channel.
//   max: y = the largest value of the window (a NaN wins, the first of several); padding never wins.
//        dx[u] = sum of dy over the windows whose first maximum is u
//   avg: y = sum of the window / number of its places (with or without those in the padding)
//        dx[u] = sum over the windows around u of dy / that number
// Bound by memory: with windows that do not overlap, one read of x and one write of y forward, the reverse backward.
#include "core/generated/pool.h"
#include "cpu/context.h"
#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

/// The windows of one axis.
struct Windows {
  int64_t in, out, kernel, stride, before;

  int64_t begin(int64_t v) const { return v * stride - before < 0 ? 0 : v * stride - before; }
  int64_t end(int64_t v) const {
    const int64_t stop = v * stride - before + kernel;
    return stop < in ? stop : in;
  }
  /// Places of a window including the padding.
  int64_t padded_count(int64_t v) const {
    const int64_t stop = v * stride - before + kernel, most = in + before;
    return (stop < most ? stop : most) - (v * stride - before);
  }
  /// The windows around input u are [first_around, last_around].
  int64_t first_around(int64_t u) const {
    const int64_t at = u + before - kernel + 1;
    return at <= 0 ? 0 : ceil_div(at, stride);
  }
  int64_t last_around(int64_t u) const {
    const int64_t v = (u + before) / stride;
    return v < out ? v : out - 1;
  }
};

struct Grid {
  Windows axis[3];
  int64_t batch, channels;

  Grid(const TensorView& in, const TensorView& out, const IntList& kernel, const IntList& stride,
       const IntList& padding)
      : batch(in.dim(0)), channels(in.dim(4)) {
    for (int i = 0; i < 3; ++i) axis[i] = {in.dim(i + 1), out.dim(i + 1), kernel[i], stride[i], padding[i]};
  }
  int64_t in_lines() const { return batch * axis[0].in * axis[1].in; }
  int64_t out_lines() const { return batch * axis[0].out * axis[1].out; }
  int64_t in_row(int64_t b, int64_t t, int64_t h, int64_t w) const {
    return ((b * axis[0].in + t) * axis[1].in + h) * axis[2].in + w;
  }
  int64_t out_row(int64_t b, int64_t t, int64_t h, int64_t w) const {
    return ((b * axis[0].out + t) * axis[1].out + h) * axis[2].out + w;
  }
  /// Calls fn(input row) for each place of the window of an output voxel, in order.
  template <class Fn>
  void each_place(const Voxel& v, const Fn& fn) const {
    for (int64_t t = axis[0].begin(v.t); t < axis[0].end(v.t); ++t)
      for (int64_t h = axis[1].begin(v.h); h < axis[1].end(v.h); ++h)
        for (int64_t w = axis[2].begin(v.w); w < axis[2].end(v.w); ++w) fn(in_row(v.b, t, h, w));
  }
  /// Calls fn(output voxel) for each window around an input voxel, in order.
  template <class Fn>
  void each_window(const Voxel& u, const Fn& fn) const {
    for (int64_t t = axis[0].first_around(u.t); t <= axis[0].last_around(u.t); ++t)
      for (int64_t h = axis[1].first_around(u.h); h <= axis[1].last_around(u.h); ++h)
        for (int64_t w = axis[2].first_around(u.w); w <= axis[2].last_around(u.w); ++w) fn(Voxel{u.b, t, h, w});
  }
  /// 1 / number of places that a mean divides by.
  double share(const Voxel& v, bool count_padding) const {
    double count = 1;  // a window may be larger than any integer says
    for (int i = 0; i < 3; ++i) {
      const int64_t at = i == 0 ? v.t : i == 1 ? v.h : v.w;
      count *= static_cast<double>(count_padding ? axis[i].padded_count(at) : axis[i].end(at) - axis[i].begin(at));
    }
    return 1.0 / count;
  }
};

/// Calls body(voxel, row, scratch of `vectors` rows) for each voxel of a grid of lines of `width`, on all threads.
template <class Acc, class Body>
Status each_voxel(const Context& ctx, int64_t lines, int64_t frames, int64_t height, int64_t width, int64_t channels,
                  int vectors, const Body& body) {
  const Scratch<Acc> scratch(ctx, vectors * channels);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(width * channels);
  ctx.parallel_for(ceil_div(lines, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    for (int64_t line = c * chunk; line < lines && line < (c + 1) * chunk; ++line) {
      Voxel v{line / height / frames, line / height % frames, line % height, 0};
      for (; v.w < width; ++v.w) body(v, line * width + v.w, lease.data());
    }
  });
  return {};
}

/// Whether x takes the place of `best`: larger, or the first NaN.
template <class Acc>
bool beats(Acc x, Acc best) {
  return x > best || (x != x && best == best);
}

template <class Acc>
Status max_forward(const Context& ctx, const MaxPool3dArgs& a) {
  if (a.y.elements() == 0) return {};
  const TensorView in = with_frames(a.x), out = with_frames(a.y);
  const Grid grid(in, out, a.kernel, a.stride, a.padding);
  const Rows<Acc> x(in), y(out);
  const int64_t n = grid.channels;
  return each_voxel<Acc>(ctx, grid.out_lines(), grid.axis[0].out, grid.axis[1].out, grid.axis[2].out, n, 2,
                         [&](const Voxel& v, int64_t row, Acc* scratch) {
                           Acc* best = y.open(row, scratch);
                           bool first = true;
                           grid.each_place(v, [&](int64_t place) {
                             const Acc* value = x.load(place, scratch + n);
                             if (first)
                               for (int64_t i = 0; i < n; ++i) best[i] = value[i];
                             else
                               for (int64_t i = 0; i < n; ++i) best[i] = beats(value[i], best[i]) ? value[i] : best[i];
                             first = false;
                           });
                           y.finish(row, best);
                         });
}

template <class Acc>
Status max_backward(const Context& ctx, const MaxPool3dBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  const TensorView in = with_frames(a.x), out = with_frames(a.dy);
  const Grid grid(in, out, a.kernel, a.stride, a.padding);
  const Rows<Acc> x(in), dy(out), dx(with_frames(a.dx));
  const int64_t n = grid.channels, w_out = grid.axis[2].out;
  // Which place of each window won, as a row of x; then every input collects from the windows that chose it.
  int64_t* winners = ctx.workspace<int64_t>(grid.out_lines() * w_out * n + 1);
  if (winners == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(each_voxel<Acc>(ctx, grid.out_lines(), grid.axis[0].out, grid.axis[1].out, w_out, n, 2,
                                     [&](const Voxel& v, int64_t row, Acc* best) {
                                       int64_t* winner = winners + row * n;
                                       bool first = true;
                                       grid.each_place(v, [&](int64_t place) {
                                         const Acc* value = x.load(place, best + n);
                                         for (int64_t i = 0; i < n; ++i) {
                                           const bool wins = first || beats(value[i], best[i]);
                                           best[i] = wins ? value[i] : best[i];
                                           winner[i] = wins ? place : winner[i];
                                         }
                                         first = false;
                                       });
                                     }));
  return each_voxel<Acc>(ctx, grid.in_lines(), grid.axis[0].in, grid.axis[1].in, grid.axis[2].in, n, 2,
                         [&](const Voxel& u, int64_t place, Acc* scratch) {
                           Acc* sum = dx.open(place, scratch);
                           for (int64_t i = 0; i < n; ++i) sum[i] = 0;
                           grid.each_window(u, [&](const Voxel& v) {
                             const int64_t row = grid.out_row(v.b, v.t, v.h, v.w);
                             const int64_t* winner = winners + row * n;
                             const Acc* g = dy.load(row, scratch + n);
                             for (int64_t i = 0; i < n; ++i) sum[i] += winner[i] == place ? g[i] : Acc(0);
                           });
                           dx.finish(place, sum);
                         });
}

template <class Acc>
Status avg_forward(const Context& ctx, const AvgPool3dArgs& a) {
  if (a.y.elements() == 0) return {};
  const TensorView in = with_frames(a.x), out = with_frames(a.y);
  const Grid grid(in, out, a.kernel, a.stride, a.padding);
  const Rows<Acc> x(in), y(out);
  const int64_t n = grid.channels;
  return each_voxel<Acc>(ctx, grid.out_lines(), grid.axis[0].out, grid.axis[1].out, grid.axis[2].out, n, 2,
                         [&](const Voxel& v, int64_t row, Acc* scratch) {
                           Acc* sum = y.open(row, scratch);
                           for (int64_t i = 0; i < n; ++i) sum[i] = 0;
                           grid.each_place(v, [&](int64_t place) {
                             const Acc* value = x.load(place, scratch + n);
                             for (int64_t i = 0; i < n; ++i) sum[i] += value[i];
                           });
                           const Acc share = static_cast<Acc>(grid.share(v, a.count_padding));
                           for (int64_t i = 0; i < n; ++i) sum[i] *= share;
                           y.finish(row, sum);
                         });
}

template <class Acc>
Status avg_backward(const Context& ctx, const AvgPool3dBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  const TensorView in = with_frames(a.dx), out = with_frames(a.dy);
  const Grid grid(in, out, a.kernel, a.stride, a.padding);
  const Rows<Acc> dy(out), dx(in);
  const int64_t n = grid.channels;
  return each_voxel<Acc>(ctx, grid.in_lines(), grid.axis[0].in, grid.axis[1].in, grid.axis[2].in, n, 2,
                         [&](const Voxel& u, int64_t place, Acc* scratch) {
                           Acc* sum = dx.open(place, scratch);
                           for (int64_t i = 0; i < n; ++i) sum[i] = 0;
                           grid.each_window(u, [&](const Voxel& v) {
                             const Acc* g = dy.load(grid.out_row(v.b, v.t, v.h, v.w), scratch + n);
                             const Acc share = static_cast<Acc>(grid.share(v, a.count_padding));
                             for (int64_t i = 0; i < n; ++i) sum[i] += g[i] * share;
                           });
                           dx.finish(place, sum);
                         });
}

}  // namespace

Status max_pool3d(const Context& ctx, const MaxPool3dArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return max_forward<decltype(acc)>(ctx, a); });
}

Status max_pool3d_backward(const Context& ctx, const MaxPool3dBackwardArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return max_backward<decltype(acc)>(ctx, a); });
}

Status avg_pool3d(const Context& ctx, const AvgPool3dArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return avg_forward<decltype(acc)>(ctx, a); });
}

Status avg_pool3d_backward(const Context& ctx, const AvgPool3dBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return avg_backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
